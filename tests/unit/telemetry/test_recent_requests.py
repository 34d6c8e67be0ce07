"""The last requests can be looked up by trace id, without what they said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.core.decision import Decision, Verdict
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind, RequestOutcome, RequestResult
from nexus.core.request import Constraints, Needs, Priority, Request, Surface, Task
from nexus.telemetry.recent import RecentRequests
from tests.unit.telemetry.records import ask, attempt, ended

DECISION = Decision(Verdict.ROUTE, "m", "m", "m", (), (), "only-candidate")
NUMBERS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(), max_size=8)  # lone surrogates, too
NEEDS = st.builds(
    Needs, st.booleans(), input_tokens=st.integers(), max_output_tokens=st.none() | st.integers()
)
REQUESTS = st.builds(
    Request,
    TEXTS,
    st.sampled_from(Surface),
    TEXTS,
    NEEDS,
    NUMBERS,
    st.builds(Constraints, st.booleans(), st.none() | st.booleans()),
    st.sampled_from(Task),
    st.sampled_from(Priority),
    st.none() | TEXTS,
    st.none() | TEXTS,
    TEXTS,
    st.lists(st.integers(), max_size=3).map(tuple),
)
ATTEMPTS = st.builds(
    AttemptOutcome,
    TEXTS,
    TEXTS,
    TEXTS,
    st.sampled_from(AttemptResult),
    NUMBERS,
    NUMBERS,
    st.none() | st.sampled_from(FailureKind),
    st.integers(0, 599),
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.booleans(),
    st.integers(),
    st.integers(),
    st.booleans(),
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.booleans(),
    TEXTS,
)
OUTCOMES = st.builds(
    RequestOutcome,
    REQUESTS,
    TEXTS,
    st.integers(0, 599),
    st.sampled_from(RequestResult),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    TEXTS,
    st.lists(ATTEMPTS, max_size=2).map(tuple),
    st.none() | ATTEMPTS,
    TEXTS,
)


def test_a_request_is_found_with_its_decision():
    """Everything but the body is kept as it was."""
    recent = RecentRequests()
    outcome = ended(attempts=(attempt(),), served=attempt(), route_reason="smart", code="x")
    recent.record_requests([(outcome, DECISION)])
    found = recent.get("t1")
    assert found is not None
    assert found.decision is DECISION
    for name in outcome.__struct_fields__:
        if name != "request":
            assert getattr(found.outcome, name) == getattr(outcome, name), name
    for name in outcome.request.__struct_fields__:
        expected = b"" if name == "body" else getattr(outcome.request, name)
        assert getattr(found.outcome.request, name) == expected, name


@given(st.lists(OUTCOMES, min_size=1, max_size=4))
def test_whatever_an_outcome_says_comes_back(outcomes: list[RequestOutcome]):
    """Numbers beyond 64 bits and texts that are no Unicode, too; of an id that came twice, the newest."""
    recent = RecentRequests()
    decisions = [Decision(Verdict.ROUTE, str(number), "", "", (), (), "") for number in range(len(outcomes))]
    recent.record_requests(list(zip(outcomes, decisions, strict=True)))
    newest = {outcome.request.trace_id: index for index, outcome in enumerate(outcomes)}
    for trace_id, index in newest.items():
        found = recent.get(trace_id)
        assert found is not None
        assert found.outcome == outcomes[index]
        assert found.decision is decisions[index]


def test_requests_that_ended_together_are_forgotten_together():
    """Not before there are as many as promised without them."""
    recent = RecentRequests(capacity=4)
    for batch in (["a1", "a2", "a3"], ["b1", "b2", "b3"], ["c1"]):
        recent.record_requests([(ended(request=ask(trace_id=each)), None) for each in batch])
    assert len(recent) == 4
    assert [each for each in ("a1", "a3", "b1", "b3", "c1") if recent.get(each)] == ["b1", "b3", "c1"]
    recent.record_requests([(ended(request=ask(trace_id="d1")), None)])
    assert len(recent) == 5
    assert recent.get("b1") is not None


def test_unknown_ids_are_none():
    """As are requests that were refused before they had a decision, apart from theirs."""
    recent = RecentRequests()
    assert recent.get("nobody") is None
    recent.record_requests([(ended(), None)])
    found = recent.get("t1")
    assert found is not None
    assert found.decision is None


def test_only_the_last_ones_are_kept():
    """Of an id that came twice the newest is found."""
    recent = RecentRequests(capacity=3)
    for trace_id, status in (("t0", 200), ("t1", 200), ("t2", 200), ("t1", 503)):
        recent.record_requests([(ended(request=ask(trace_id=trace_id), status=status), None)])
    assert len(recent) == 3
    assert recent.get("t0") is None
    assert recent.get("t2") is not None
    found = recent.get("t1")
    assert found is not None
    assert found.outcome.status == 503


def test_it_must_hold_something():
    """A capacity of nothing is a mistake."""
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        RecentRequests(capacity=0)

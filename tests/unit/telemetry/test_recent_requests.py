"""The last requests can be looked up by trace id, without what they said."""

import pytest

from nexus.core.decision import Decision, Verdict
from nexus.telemetry.recent import RecentRequests
from tests.unit.telemetry.records import ask, attempt, ended

DECISION = Decision(Verdict.ROUTE, "m", "m", "m", (), (), "only-candidate")


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

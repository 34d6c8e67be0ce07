"""Requests that begin alike go where the beginning is cached, unless that backend is clearly busier."""

import pytest
from msgspec.structs import replace

from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.request import Needs, Request
from nexus.routing.affinity import FIRST_PREFIX_BYTES, PrefixAffinity
from tests.unit.routing.fleets import NOW, ask, fleet, order, router, serve

CALM = ExpectedTimeSettings(noise=0.0)
LONG = replace(ask(), prefixes=(11, 12), needs=Needs(input_tokens=FIRST_PREFIX_BYTES // 2))


def remembering(request: Request = LONG, backend_id: str = "b") -> PrefixAffinity:
    affinity = PrefixAffinity()
    affinity.remember(request, "m", backend_id, NOW)
    return affinity


def test_the_longest_known_beginning_says_who_and_how_much() -> None:
    affinity = remembering()
    assert affinity.find(LONG, "m", NOW) == ("b", 1.0)
    affinity.remember(replace(LONG, prefixes=(11, 99)), "m", "a", NOW)
    assert affinity.find(LONG, "m", NOW) == ("b", 1.0)
    assert affinity.find(replace(LONG, prefixes=(11, 55)), "m", NOW) == ("a", 0.5)


def test_what_nobody_answered_or_long_ago_or_with_another_model_is_unknown() -> None:
    affinity = remembering()
    assert affinity.find(replace(LONG, prefixes=(7,)), "m", NOW) is None
    assert affinity.find(LONG, "other", NOW) is None
    assert affinity.find(LONG, "m", NOW + 899.0) is not None
    assert affinity.find(LONG, "m", NOW + 901.0) is None


def test_a_session_is_as_good_as_the_whole_prompt() -> None:
    session = replace(ask(), session="s")
    affinity = remembering(session)
    assert affinity.find(session, "m", NOW) == ("b", 1.0)
    assert affinity.find(replace(ask(), session="t"), "m", NOW) is None


def test_the_keys_not_used_for_longest_make_room() -> None:
    affinity = PrefixAffinity(capacity=2)
    for key in (1, 2, 1, 3):
        affinity.remember(replace(ask(), prefixes=(key,)), "m", "b", NOW)
    assert len(affinity) == 2
    assert affinity.find(replace(ask(), prefixes=(2,)), "m", NOW) is None
    assert affinity.find(replace(ask(), prefixes=(1,)), "m", NOW) is not None


@pytest.mark.parametrize(("pending", "first"), [(0, "b"), (1, "b"), (3, "a")])
def test_it_is_preferred_unless_clearly_busier(pending: int, first: str) -> None:
    """A prompt that is cached as a whole costs two fifths: worth one request more, not two and a half."""
    snapshot = fleet(serve("a", limit=16), serve("b", limit=16, pending=pending))
    made = router(strategy="expected_time", tuning=CALM, affinity=remembering())
    decision = made.decide(LONG, snapshot, NOW)
    assert order(decision)[0] == first
    terms = {c.view.backend.id: dict(c.terms) for c in decision.candidates}
    assert terms["b"]["affinity"] == pytest.approx(0.4)
    assert "affinity" not in terms["a"]


def test_a_small_share_is_worth_little() -> None:
    needs = Needs(input_tokens=16 * FIRST_PREFIX_BYTES)
    decision = router(strategy="expected_time", tuning=CALM, affinity=remembering()).decide(
        replace(LONG, needs=needs), fleet(serve("a"), serve("b")), NOW
    )
    assert dict(decision.candidates[0].terms)["affinity"] == pytest.approx(1.0 - 0.6 * 2 / 64)


def test_of_many_backends_the_warm_one_is_always_compared() -> None:
    snapshot = fleet(*(serve(f"b{number}") for number in range(40)))
    made = router(strategy="expected_time", tuning=CALM, affinity=remembering(backend_id="b33"))
    for _ in range(20):
        assert order(made.decide(LONG, snapshot, NOW))[0] == "b33"


def test_it_can_be_switched_off() -> None:
    made = router(strategy="expected_time", tuning=CALM, affinity=remembering(), prefix_affinity=False)
    decision = made.decide(LONG, fleet(serve("a"), serve("b")), NOW)
    assert all("affinity" not in dict(candidate.terms) for candidate in decision.candidates)


def test_who_is_gone_or_excluded_is_not_preferred() -> None:
    decision = router(strategy="expected_time", affinity=remembering()).decide(
        LONG, fleet(serve("a"), serve("c")), NOW
    )
    assert sorted(order(decision)) == ["a", "c"]

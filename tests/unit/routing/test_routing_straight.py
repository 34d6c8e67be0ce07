"""A model that one backend alone serves: decided without weighing, and otherwise as any other."""

import math
from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from nexus.core.backend import BackendType, Zone
from nexus.core.decision import Decision, Verdict
from nexus.core.fleet import BackendStatus, BackendView, Price
from nexus.routing.explanation import explain
from tests.unit.routing.fleets import (
    NOW,
    FixedGate,
    Observed,
    ask,
    decide,
    fleet,
    router,
    serve,
    ticking,
    weighed,
)

STRATEGIES = ("expected_time", "smart", "round_robin", "priority_only", "random")


def without_weights(decision: Decision) -> Decision:
    """The decision without the weights of its candidates."""
    bare = tuple(replace(each, score=0.0, terms=()) for each in decision.candidates)
    return replace(decision, candidates=bare)


def states() -> list[dict[str, Any]]:
    """Everything that may stand in the way of a backend, alone and together."""
    ways: list[list[dict[str, Any]]] = [
        [{}, {"status": BackendStatus.UNHEALTHY}],
        [{}, {"pending": 4, "limit": 4}, {"pending": 3, "limit": 4}],
        [{}, {"blocked_until": NOW + 5.0}],
        [
            {},
            {"breaker": FixedGate(is_closed=True)},
            {"breaker": FixedGate(wait=3.0)},
            {"breaker": FixedGate(permits=True)},
        ],
        [{}, {"rate": 0.9}],
        [{}, {"zone": Zone.OPEN, "kind": BackendType.OPENAI}],
    ]
    return [{name: value for way in chosen for name, value in way.items()} for chosen in product(*ways)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("restricted", [False, True])
def test_what_comes_out_is_what_weighing_leads_to(strategy: str, restricted: bool) -> None:
    straight = 0
    for state in states():
        snapshot = fleet(serve("a", **state), serve("b", "n"))
        for fallbacks in ({}, {"m": ("n",)}):
            request = ask(restricted=restricted)
            made = router(strategy=strategy, fallbacks=fallbacks)
            found = made.decide(request, snapshot, NOW)
            long_way = made.decide(request, snapshot, NOW, preview=True)
            assert without_weights(found) == without_weights(long_way), state
            straight += found is made.decide(request, snapshot, NOW)
    assert (straight > 0) is not restricted


def test_it_is_one_object_without_a_score() -> None:
    made, snapshot = router(strategy="expected_time"), fleet(serve("a"))
    decision = made.decide(ask(), snapshot, NOW)
    assert decision is made.decide(ask(), snapshot, NOW + 1.0)
    assert (decision.verdict, decision.route_reason) == (Verdict.ROUTE, "only-candidate")
    assert decision.candidates[0].score == -math.inf
    explanation = explain(decision, ask(), snapshot)
    assert (explanation.chosen, explanation.propensity) == ("a", 1.0)
    assert explanation.candidates[0].score is None
    assert explanation.candidates[0].terms == {"unweighed": 1.0}


def test_an_explanation_beforehand_has_the_numbers() -> None:
    assert dict(weighed(serve("a", pending=3), strategy="expected_time").terms)["pending"] == 3


@pytest.mark.parametrize(
    "views",
    [
        [serve("a"), serve("b")],
        [serve("a", price=Price(1.0, 1.0))],
        [serve("a", rate=0.9), serve("b", "n")],
    ],
    ids=["two backends", "a price", "too many errors"],
)
def test_nothing_is_left_out_where_a_stage_has_something_to_say(views: list[BackendView]) -> None:
    decision = decide(fleet(*views), strategy="expected_time")
    assert all(candidate.score > -math.inf for candidate in decision.candidates)


def test_the_stage_is_reported_once_whichever_way_is_taken() -> None:
    for view in (serve("a"), serve("a", pending=1, limit=1)):
        seen = Observed()
        decide(fleet(view), observer=seen, timer=ticking())
        assert seen.calls == [(5, 1.0)]

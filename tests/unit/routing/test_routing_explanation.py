"""Decisions in words."""

from typing import Any

import msgspec
import pytest

from nexus.core.backend import BackendType, Zone
from nexus.core.fleet import BackendStatus, FleetSnapshot, Price
from nexus.core.request import Needs, Request
from nexus.routing.explanation import explain
from tests.unit.routing.fleets import FixedGate, ask, decide, fleet, serve


def explained(snapshot: FleetSnapshot, request: Request | None = None, **settings: Any) -> dict[str, Any]:
    asked = request or ask()
    encoded = msgspec.json.encode(explain(decide(snapshot, asked, **settings), asked, snapshot))
    decoded: dict[str, Any] = msgspec.json.decode(encoded)
    return decoded


def by_backend(explanation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["backend"]: each for each in explanation["candidates"]}


GOOD: dict[str, Any] = {
    "backend": "good",
    "model": "m",
    "status": "chosen",
    "rank": 1,
    "score": pytest.approx(916.667, abs=0.001),
    "terms": {"priority": pytest.approx(416.667, abs=0.001), "load": 300.0, "latency": 200.0},
    "excluded_by": None,
    "reason": None,
    "suggested_action": None,
}
BAD: dict[str, Any] = {
    "backend": "bad",
    "model": "m",
    "status": "excluded",
    "rank": None,
    "score": None,
    "terms": {},
    "excluded_by": "QualityReconciler",
    "reason": "Error rate 75.0% exceeds threshold 50.0%",
    "suggested_action": "Wait for the error rate to decrease, or check the backend",
}
OTHER = BAD | {
    "backend": "other",
    "excluded_by": "RequestAnalyzer",
    "reason": 'Does not serve model "m"',
    "suggested_action": "Load the model on this backend, or ask for one that it serves",
}


def test_a_routed_request_has_exactly_the_documented_shape() -> None:
    snapshot = fleet(serve("good", priority=10), serve("bad", rate=0.75), serve("other", "n"))
    needs = Needs(tools=True, input_tokens=12)
    explanation = explained(snapshot, ask("x", needs=needs), aliases={"x": "m"})
    assert explanation == {
        "request": {
            "model": "x",
            "resolved_model": "m",
            "task": "generate",
            "needs": {
                "vision": False,
                "tools": True,
                "json_mode": False,
                "stream": False,
                "input_tokens": 12,
                "max_output_tokens": None,
            },
            "constraints": {"restricted": False, "required_tier": None, "flexible": None},
        },
        "outcome": "route",
        "chosen": "good",
        "route_reason": "only-candidate",
        "candidates": [GOOD, BAD, OTHER],
        "propensity": 1.0,
    }


def test_ranks_count_from_one() -> None:
    found = by_backend(explained(fleet(serve("a", priority=2), serve("b", priority=1))))
    assert [(found[b]["rank"], found[b]["status"]) for b in "ba"] == [(1, "chosen"), (2, "ranked")]


def test_the_estimated_cost_is_among_the_terms() -> None:
    view = serve("a", kind=BackendType.OPENAI, price=Price(1.0, 1.0))
    found = by_backend(explained(fleet(view), ask(needs=Needs(input_tokens=10**6, max_output_tokens=0))))
    assert found["a"]["terms"]["cost_usd"] == 1.0


def test_an_unknown_model_lists_every_backend() -> None:
    explanation = explained(fleet(serve("a"), serve("b", "n")), ask("x"))
    assert (explanation["outcome"], explanation["chosen"], explanation["propensity"]) == (
        "reject",
        None,
        None,
    )
    assert {each["reason"] for each in explanation["candidates"]} == {'Does not serve model "x"'}
    assert len(explanation["candidates"]) == 2


def test_a_queue_has_no_choice() -> None:
    explanation = explained(fleet(serve("a", limit=1, pending=1)))
    assert (explanation["outcome"], explanation["chosen"]) == ("queue", None)
    assert explanation["candidates"][0]["excluded_by"] == "SchedulerReconciler"


def test_a_fallback_shows_both_models() -> None:
    snapshot = fleet(serve("a", "m", status=BackendStatus.UNHEALTHY), serve("b", "n"), serve("c", "o"))
    found = by_backend(explained(snapshot, fallbacks={"m": ("n",)}))
    assert (found["a"]["model"], found["b"]["model"]) == ("m", "n")
    assert found["c"]["reason"] == 'Does not serve model "m" or its fallback "n"'


def test_constraints_are_the_ones_that_held() -> None:
    snapshot = fleet(serve("here", tier=2), serve("away", zone=Zone.OPEN))
    policies = ({"model_pattern": "m", "privacy": "restricted", "min_tier": 2},)
    explanation = explained(snapshot, ask(flexible=True), policies=policies)
    assert explanation["request"]["constraints"] == {
        "restricted": True,
        "required_tier": 2,
        "flexible": True,
    }


def test_probes_and_degraded_backends_say_why_they_are_used() -> None:
    probing = explained(fleet(serve("p", breaker=FixedGate(permits=True)), serve("a")))
    assert by_backend(probing)["p"]["reason"].startswith("Excluded until now")
    assert probing["propensity"] == 1.0
    degraded = explained(fleet(serve("a", rate=0.9)))
    assert by_backend(degraded)["a"]["reason"].startswith("Degraded")
    assert by_backend(degraded)["a"]["terms"]["error_rate_1h"] == 0.9


def test_propensity_is_shared_by_ties() -> None:
    tied = fleet(serve("a"), serve("b"), serve("c", priority=99))
    assert explained(tied)["propensity"] == 0.5
    assert explained(tied, strategy="random")["propensity"] == pytest.approx(1 / 3)
    assert explained(tied, strategy="round_robin")["propensity"] == 1.0

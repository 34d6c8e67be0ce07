"""Restricted requests stay in the restricted zone."""

import pytest

from nexus.config.model import RoutingPolicy
from nexus.core.backend import Zone
from nexus.core.decision import RejectCause
from tests.unit.routing.fleets import NOW, ask, decide, fleet, order, refusals, router, serve

HERE = serve("here", "m")
AWAY = serve("away", "m", zone=Zone.OPEN)


def restrict(pattern: str) -> tuple[RoutingPolicy, ...]:
    return (RoutingPolicy(model_pattern=pattern, privacy="restricted"),)


def test_without_a_policy_every_zone_may_answer() -> None:
    decision = decide(fleet(HERE, AWAY))
    assert sorted(order(decision)) == ["away", "here"]
    assert not decision.restricted


def test_a_restricted_model_excludes_the_open_zone() -> None:
    decision = decide(fleet(HERE, AWAY), policies=restrict("m"))
    assert order(decision) == ["here"]
    assert decision.restricted
    assert refusals(decision)["away"] == (
        "PrivacyReconciler",
        "Zone open is not allowed for a restricted request",
    )


def test_the_header_restricts_too() -> None:
    decision = decide(fleet(HERE, AWAY), ask(restricted=True))
    assert order(decision) == ["here"]
    assert decision.restricted


@pytest.mark.parametrize("pattern", ["asked", "between", "m"])
def test_a_policy_on_any_name_of_the_alias_path_restricts(pattern: str) -> None:
    aliases = {"asked": "between", "between": "m"}
    decision = decide(fleet(HERE, AWAY), ask("asked"), aliases=aliases, policies=restrict(pattern))
    assert order(decision) == ["here"]


def test_the_restriction_of_the_asked_name_holds_for_fallbacks() -> None:
    snapshot = fleet(serve("away", "m n", zone=Zone.OPEN), serve("here", "o"))
    decision = decide(snapshot, ask("m"), fallbacks={"m": ("n", "o")}, policies=restrict("m"))
    assert order(decision) == ["here"]
    assert decision.chain_index == 2
    assert [(r.backend, r.model) for r in decision.rejections] == [("away", "m"), ("away", "n")]


def test_a_policy_on_a_fallback_restricts_that_fallback_only() -> None:
    away = serve("away", "n o", zone=Zone.OPEN)
    made = router(fallbacks={"m": ("n", "o")}, policies=restrict("n"))
    decision = made.decide(ask("m"), fleet(AWAY, away), NOW)
    assert (order(decision), decision.served_model, decision.restricted) == (["away"], "m", False)
    later = made.decide(ask("m"), fleet(AWAY, away), NOW, chain_start=1)
    assert (later.served_model, later.chain_index) == ("o", 2)


def test_a_policy_on_the_alias_of_a_fallback_counts() -> None:
    away = serve("away", "o", zone=Zone.OPEN)
    made = router(fallbacks={"m": ("n",)}, aliases={"n": "o"}, policies=restrict("n"))
    decision = made.decide(ask("m"), fleet(HERE, away), NOW, chain_start=1)
    assert decision.cause is RejectCause.EXCLUDED
    assert decision.restricted

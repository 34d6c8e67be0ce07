"""Tiers: strict, flexible, and never a silent downgrade."""

from nexus.config.model import RoutingPolicy
from nexus.core.decision import RejectCause
from nexus.core.fleet import BackendStatus, FleetSnapshot
from tests.unit.routing.fleets import NOW, FixedGate, ask, decide, fleet, order, refusals, router, serve

POLICY = (RoutingPolicy(model_pattern="m", min_tier=2),)


def tiers(*numbers: int) -> FleetSnapshot:
    return fleet(*(serve(f"t{number}", tier=number) for number in numbers))


def test_without_a_required_tier_all_may_answer() -> None:
    assert len(order(decide(tiers(1, 2, 3)))) == 3


def test_strict_excludes_lower_tiers() -> None:
    decision = decide(tiers(1, 2, 3), policies=POLICY)
    assert sorted(order(decision)) == ["t2", "t3"]
    assert refusals(decision) == {"t1": ("TierReconciler", "Tier 1 is below the required tier 2")}
    assert decision.required_tier == 2


def test_strict_is_the_default_and_an_explicit_header_changes_nothing() -> None:
    assert sorted(order(decide(tiers(2, 3), ask(flexible=False), policies=POLICY))) == ["t2", "t3"]


def test_flexible_prefers_the_exact_tier() -> None:
    decision = decide(tiers(1, 2, 3), ask(flexible=True), policies=POLICY)
    assert order(decision) == ["t2"]
    assert refusals(decision)["t3"] == ("TierReconciler", "Tier 3 is above tier 2, which is available")


def test_flexible_goes_higher_where_the_exact_tier_is_missing() -> None:
    assert order(decide(tiers(1, 3), ask(flexible=True), policies=POLICY)) == ["t3"]


def test_flexible_goes_higher_where_the_exact_tier_is_down() -> None:
    snapshot = fleet(serve("t2", tier=2, status=BackendStatus.UNHEALTHY), serve("t3", tier=3))
    assert order(decide(snapshot, ask(flexible=True), policies=POLICY)) == ["t3"]
    snapshot = fleet(serve("t2", tier=2, breaker=FixedGate()), serve("t3", tier=3))
    assert order(decide(snapshot, ask(flexible=True), policies=POLICY)) == ["t3"]


def test_flexible_never_goes_lower() -> None:
    decision = decide(tiers(1), ask(flexible=True), policies=POLICY)
    assert decision.cause is RejectCause.EXCLUDED
    assert refusals(decision)["t1"][0] == "TierReconciler"


def test_a_fallback_is_no_silent_downgrade() -> None:
    snapshot = fleet(
        serve("big", "m", tier=3, status=BackendStatus.UNHEALTHY),
        serve("small", "n", tier=1),
        serve("fair", "n", tier=3),
    )
    decision = decide(snapshot, fallbacks={"m": ("n",)})
    assert order(decision) == ["fair"]
    assert decision.required_tier == 3
    assert refusals(decision)["small"] == ("TierReconciler", "Tier 1 is below the required tier 3")


def test_the_floor_of_a_fallback_is_the_lowest_tier_of_the_model() -> None:
    snapshot = fleet(serve("a", "m", tier=3), serve("b", "m", tier=2), serve("c", "n", tier=2))
    decision = router(fallbacks={"m": ("n",)}).decide(ask(), snapshot, NOW, chain_start=1)
    assert (order(decision), decision.required_tier) == (["c"], 2)


def test_a_model_that_nobody_serves_sets_no_floor_for_its_fallback() -> None:
    decision = decide(fleet(serve("c", "n")), fallbacks={"m": ("n",)})
    assert (order(decision), decision.required_tier, decision.served_model) == (["c"], None, "n")


def test_a_policy_on_the_fallback_raises_the_floor() -> None:
    policies = (RoutingPolicy(model_pattern="n", min_tier=4),)
    snapshot = fleet(serve("a", "m"), serve("c", "n"))
    decision = router(fallbacks={"m": ("n",)}, policies=policies).decide(ask(), snapshot, NOW, chain_start=1)
    assert (decision.required_tier, decision.cause) == (4, RejectCause.EXCLUDED)

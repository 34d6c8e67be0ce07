"""What holds for every decision, over random fleets, names, policies and states."""

import itertools
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.config.model import BreakerSettings, BudgetConfig, QualitySettings, RoutingConfig, RoutingPolicy
from nexus.core.backend import BackendType, ModelInfo, Zone
from nexus.core.decision import Decision, Verdict
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot, Price
from nexus.core.request import Constraints, Needs, Request, Surface
from nexus.routing.explanation import explain
from nexus.routing.intent import Intent, Reconciler
from nexus.routing.names import alias_path, matching_rule
from nexus.routing.pipeline import Router
from tests.unit.routing.fleets import NOW, FixedGate, figures, fleet, serve

MODELS = ("m0", "m1", "m2", "m3")
ALIASES = ("a0", "a1", "a2")
NAMES = MODELS + ALIASES


def some(rng: Random, names: tuple[str, ...], most: int = 3) -> list[str]:
    return rng.sample(names, rng.randint(0, min(most, len(names))))


def random_gate(rng: Random) -> FixedGate | None:
    if rng.random() < 0.7:
        return None
    return FixedGate(is_closed=rng.random() < 0.5, permits=rng.random() < 0.4, wait=rng.uniform(0, 60))


def random_info(rng: Random, name: str) -> ModelInfo:
    ability = (None, None, None, True, True, False)
    return ModelInfo(
        name,
        rng.choice((None, None, None, 500, 2000)),
        rng.choice(ability),
        rng.choice(ability),
        rng.choice(ability),
        rng.choice(ability),
    )


def random_backend(rng: Random, number: int) -> BackendView:
    return serve(
        f"b{number}",
        {name: random_info(rng, name) for name in (*some(rng, MODELS), rng.choice(MODELS))},
        kind=rng.choice((BackendType.VLLM, BackendType.OPENAI)),
        zone=rng.choice(tuple(Zone)),
        tier=rng.randint(1, 3),
        priority=rng.choice((0, 10, 50, 200)),
        limit=rng.choice((0, 0, 0, 1, 3)),
        status=rng.choice((*BackendStatus, *[BackendStatus.HEALTHY] * 3)),
        pending=rng.randint(0, 3),
        latency_ms=rng.choice((0.0, 80.0, 5e4)),
        blocked_until=rng.choice((0.0, 0.0, 0.0, 0.0, NOW + 1, NOW + 30)),
        breaker=random_gate(rng),
        gate=random_gate(rng),
        rate=rng.choice((None, 0.0, 0.0, 0.02, 0.5, 1.0)),
        count=rng.choice((0, 4, 5, 500)),
        ttft_ms=rng.choice((0, 500, 4000, 9000)),
        pairs={name: figures(rng.choice((0.0, 0.6))) for name in some(rng, MODELS, 2)},
        price=rng.choice((None, Price(1.0, 2.0))),
    )


def random_fleet(seed: int) -> FleetSnapshot:
    rng = Random(seed)
    views = [random_backend(rng, number) for number in range(rng.randint(2, 6))]
    return fleet(*views, month_usd=rng.choice((0.0, 80.0, 100.0)))


def random_policy(rng: Random) -> RoutingPolicy:
    return RoutingPolicy(
        model_pattern=rng.choice((*NAMES, "*", "m?", "a*", "[am]0")),
        privacy=rng.choice(("restricted", "unrestricted")),
        min_tier=rng.choice((None, 1, 2, 3)),
    )


def random_routing(seed: int) -> RoutingConfig:
    rng = Random(seed)
    return RoutingConfig(
        strategy=rng.choice(("expected_time", "smart", "round_robin", "priority_only", "random")),
        aliases={alias: rng.choice((*NAMES, *MODELS)) for alias in ALIASES if rng.random() < 0.8},
        fallbacks={name: tuple(some(rng, NAMES)) for name in some(rng, NAMES, 7)},
        policies=tuple(random_policy(rng) for _ in range(rng.randint(0, 3))),
        budget=BudgetConfig(
            monthly_limit_usd=rng.choice((None, None, 100.0)),
            hard_limit_action=rng.choice(("warn", "warn", "block_cloud", "block_all")),
        ),
    )


# Drawing fleets from a seed is much faster than drawing each field; the failing fleet is printed whole.
fleets = st.integers(0, 10**6).map(random_fleet)
routings = st.integers(0, 10**6).map(random_routing)

qualities = st.builds(
    QualitySettings,
    recovery=st.sampled_from(["probe", "window"]),
    on_all_degraded=st.sampled_from(["include", "reject"]),
    fallback_backend=st.sampled_from(["", "b0", "b1"]),
    reward_good=st.booleans(),
)

requests = st.builds(
    Request,
    trace_id=st.just("t"),
    surface=st.sampled_from(Surface),
    model=st.sampled_from(NAMES),
    needs=st.builds(
        Needs,
        vision=st.booleans(),
        tools=st.booleans(),
        json_mode=st.booleans(),
        input_tokens=st.sampled_from([0, 10, 100, 600, 3000]),
        max_output_tokens=st.none() | st.integers(0, 500),
    ),
    received_at=st.just(0.0),
    constraints=st.builds(Constraints, restricted=st.booleans(), flexible=st.none() | st.booleans()),
)


def make(routing: RoutingConfig, quality: QualitySettings) -> Router:
    return Router(routing, quality, BreakerSettings(), rng=Random(0))


def ids(intent: Intent) -> set[str]:
    return {option.backend_id for option in intent.candidates}


thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(fleets, requests, routings, qualities)
def test_candidates_only_shrink_and_every_exclusion_has_a_reason(
    snapshot: FleetSnapshot, request: Request, routing: RoutingConfig, quality: QualitySettings
) -> None:
    """Stage by stage: who leaves is rejected once, by that stage, in words; nobody comes back."""
    router = make(routing, quality)
    route = router._book.route(request.model, snapshot)
    for leg in route.legs:
        intent = Intent(request, snapshot, NOW, route)
        intent.enter(leg)
        before = {option.backend_id for option in leg.plan.options}
        rejected: set[str] = set()
        for stage in router._stages:
            seen = len(intent.rejections)
            stage.reconcile(intent)
            after = ids(intent)
            fresh = intent.rejections[seen:]
            assert after <= before
            assert {each.backend for each in fresh} == before - after
            assert len(fresh) == len(before - after)
            assert all(each.reason and each.suggested_action and each.reconciler for each in fresh)
            assert not rejected & {each.backend for each in fresh}
            rejected |= {each.backend for each in fresh}
            before = after
            if not after:
                break
        assert {candidate.view.backend.id for candidate in intent.ranked} == before


def zoned_fleet(seed: int) -> FleetSnapshot:
    """Nothing but the zone tells these backends apart, so that only privacy decides."""
    rng = Random(seed)
    return fleet(
        *(serve(f"b{n}", " ".join(rng.sample(MODELS, 2)), zone=rng.choice(tuple(Zone))) for n in range(4))
    )


def names_of(request: Request, routing: RoutingConfig, decision: Decision) -> tuple[str, ...]:
    """Every name whose policy must hold: those of the model asked for, and those of the fallback in use."""
    path = alias_path(request.model, routing.aliases)
    if decision.chain_index == 0:
        return path
    chain = next(routing.fallbacks[name] for name in path if name in routing.fallbacks)
    ways = (alias_path(fallback, routing.aliases) for fallback in chain)
    return path + next(way for way in ways if way[-1] == decision.served_model)


def check_privacy(
    snapshot: FleetSnapshot,
    request: Request,
    routing: RoutingConfig,
    quality: QualitySettings,
    chain_start: int,
) -> None:
    """Follow the chain as the proxy does when every attempt fails; no open zone where a rule forbids it."""
    router = make(routing, quality)
    start: int | None = chain_start
    while start is not None:
        decision = router.decide(request, snapshot, NOW, chain_start=start)
        if decision.verdict is not Verdict.ROUTE:
            return
        names = names_of(request, routing, decision)
        if request.constraints.restricted or any(
            matching_rule((name,), routing.policies).restricted for name in names
        ):
            assert decision.restricted
            assert all(each.view.backend.zone is Zone.RESTRICTED for each in decision.candidates)
        more = decision.chain_index + 1 < decision.chain_length
        start = decision.chain_index + 1 if more else None


@thorough
@given(fleets, requests, routings, qualities, st.integers(0, 3))
def test_a_restricted_request_never_meets_the_open_zone(
    snapshot: FleetSnapshot,
    request: Request,
    routing: RoutingConfig,
    quality: QualitySettings,
    chain_start: int,
) -> None:
    """Whatever aliases, fallbacks, policies, states and earlier attempts there are."""
    check_privacy(snapshot, request, routing, quality, chain_start)


def test_no_alias_and_no_fallback_leads_out_of_a_restriction() -> None:
    """Two thousand random sets of names and policies over fleets that differ in nothing but zones."""
    for seed in range(2000):
        routing = random_routing(seed).model_copy(update={"budget": BudgetConfig()})
        name = NAMES[seed % len(NAMES)]
        request = Request("t", Surface.CHAT, name, Needs(), 0.0)
        check_privacy(zoned_fleet(seed), request, routing, QualitySettings(), 0)


@thorough
@given(fleets, requests, routings)
def test_the_order_of_excluding_stages_does_not_matter(
    snapshot: FleetSnapshot, request: Request, routing: RoutingConfig
) -> None:
    """Privacy, budget, strict tiers and quality give the same set in every order."""
    strict = Constraints(restricted=request.constraints.restricted, flexible=False)
    request = Request("t", request.surface, request.model, request.needs, 0.0, strict)
    router = make(routing, QualitySettings(on_all_degraded="reject"))
    analyzer, *excluding, _ = router._stages
    route = router._book.route(request.model, snapshot)

    def left(stages: tuple[Reconciler, ...]) -> set[str]:
        intent = Intent(request, snapshot, NOW, route)
        intent.enter(route.legs[-1])
        for stage in (analyzer, *stages):
            stage.reconcile(intent)
        return ids(intent)

    results: list[Any] = [left(stages) for stages in itertools.permutations(excluding)]
    assert all(each == results[0] for each in results)


@thorough
@given(fleets, requests, routings, qualities)
def test_a_decision_is_consistent_and_can_be_explained(
    snapshot: FleetSnapshot, request: Request, routing: RoutingConfig, quality: QualitySettings
) -> None:
    """Candidates are distinct and serve the model; every backend of the fleet is in the explanation."""
    decision = make(routing, quality).decide(request, snapshot, NOW)
    assert (decision.verdict is Verdict.ROUTE) == bool(decision.candidates)
    assert (decision.verdict is Verdict.REJECT) == (decision.cause is not None)
    served = [candidate.view.backend.id for candidate in decision.candidates]
    assert len(set(served)) == len(served)
    for candidate in decision.candidates:
        assert candidate.model == decision.served_model
        assert candidate.model in candidate.view.models
        assert candidate.view.status is not BackendStatus.UNHEALTHY
        assert candidate.view.backend.tier >= (decision.required_tier or 0)
    explanation = explain(decision, request, snapshot)
    assert {each.backend for each in explanation.candidates} == {v.backend.id for v in snapshot.backends}
    assert (explanation.propensity is None) == (decision.verdict is not Verdict.ROUTE)


@thorough
@given(fleets, requests, routings, qualities)
def test_quality_alone_never_causes_an_outage(
    snapshot: FleetSnapshot, request: Request, routing: RoutingConfig, quality: QualitySettings
) -> None:
    """With `include`, whoever can be routed without quality can be routed with it."""
    include = quality.model_copy(update={"on_all_degraded": "include"})
    without = include.model_copy(update={"enabled": False})
    if make(routing, without).decide(request, snapshot, NOW).verdict is Verdict.ROUTE:
        assert make(routing, include).decide(request, snapshot, NOW).verdict is not Verdict.REJECT

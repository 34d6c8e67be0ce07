"""How usable backends are ranked."""

from collections import Counter
from typing import Any

import pytest

from nexus.config.model import QualitySettings, RoutingWeights
from nexus.core.backend import BackendType
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.routing.scoring import normalised, penalised, reward_factor
from tests.unit.routing.fleets import (
    NOW,
    FixedGate,
    ask,
    decide,
    figures,
    fleet,
    order,
    router,
    serve,
    weighed,
)


def score(view: BackendView, **settings: Any) -> float:
    return weighed(view, **settings).score


# --- formulas


@pytest.mark.parametrize(
    ("ttft_ms", "expected"),
    [(2000, 1000.0), (3000, 1000.0), (3500, 833.3), (4500, 500.0), (6000, 0.0), (9000, 0.0)],
)
def test_the_ttft_penalty(ttft_ms: int, expected: float) -> None:
    assert penalised(1000.0, ttft_ms, 3000) == pytest.approx(expected, abs=0.05)


def test_a_threshold_of_zero_switches_the_penalty_off() -> None:
    assert penalised(1000.0, 60_000, 0) == 1000.0


def test_normalised_is_one_at_zero_and_a_half_at_the_half_value() -> None:
    assert [normalised(v, 8) for v in (-1, 0, 8, 24)] == [1.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("rate", "count", "ttft_ms", "factor"),
    [
        (0.0, 100, 500, 1.3),
        (0.0, 100, 1000, 1.2),
        (0.05, 100, 500, 1.1),
        (0.0, 4, 0, 1.0),
        (0.3, 100, 2000, 1.0),
    ],
)
def test_the_reward_is_for_shown_merit(rate: float, count: int, ttft_ms: int, factor: float) -> None:
    assert reward_factor(figures(rate, count, ttft_ms), 5) == pytest.approx(factor)


def test_without_history_there_is_no_reward() -> None:
    assert reward_factor(None, 1) == 1.0


# --- smart


def test_a_perfect_backend_scores_a_thousand() -> None:
    assert score(serve("a", priority=0)) == 1000.0


def test_the_terms_add_up_to_the_score() -> None:
    candidate = weighed(serve("a", priority=50, pending=8, latency_ms=1000))
    assert candidate.terms == (("priority", 250.0), ("load", 150.0), ("latency", 100.0))
    assert candidate.score == 500.0


def test_the_configured_limit_scales_the_load() -> None:
    candidate = weighed(serve("a", limit=32, pending=8))
    assert dict(candidate.terms)["load"] == pytest.approx(240.0)


def test_only_the_proportions_of_weights_matter() -> None:
    view = serve("a", pending=3, latency_ms=700)
    double = RoutingWeights(priority=100, load=60, latency=40)
    assert score(view, weights=double) == pytest.approx(score(view))
    assert score(view, weights=RoutingWeights(priority=1, load=0, latency=0)) == pytest.approx(500.0)


def test_each_term_moves_the_order() -> None:
    assert order(decide(fleet(serve("a", priority=60), serve("b", priority=40)))) == ["b", "a"]
    assert order(decide(fleet(serve("a", pending=2), serve("b", pending=1)))) == ["b", "a"]
    assert order(decide(fleet(serve("a", latency_ms=900), serve("b", latency_ms=300)))) == ["b", "a"]


def test_a_slow_first_token_lowers_the_score() -> None:
    slow = decide(fleet(serve("slow", ttft_ms=4500), serve("fast", ttft_ms=2000)))
    assert order(slow) == ["fast", "slow"]
    assert slow.candidates[1].score == pytest.approx(375.0)
    assert tuple(slow.candidates[1].terms)[-1] == ("ttft_penalty", 0.5)
    assert [name for name, _ in slow.candidates[0].terms] == ["priority", "load", "latency"]


def test_the_penalty_can_be_switched_off() -> None:
    slow = serve("slow", ttft_ms=9000)
    assert score(slow, quality=QualitySettings(ttft_penalty_threshold_ms=0)) == 750.0
    assert score(slow, quality=QualitySettings(enabled=False)) == 750.0


def test_good_backends_are_rewarded_when_asked_for() -> None:
    settings = QualitySettings(reward_good=True)
    candidate = weighed(serve("a", rate=0.01, ttft_ms=500), quality=settings)
    assert candidate.score == pytest.approx(975.0)
    assert dict(candidate.terms)["reward"] == pytest.approx(1.3)
    assert score(serve("a", rate=0.01, ttft_ms=500)) == 750.0


def test_budget_is_applied_before_the_penalty() -> None:
    view = serve("cloud", kind=BackendType.OPENAI, ttft_ms=4500)
    decision = decide(fleet(view, month_usd=80), budget={"monthly_limit_usd": 100.0})
    assert [name for name, _ in decision.candidates[0].terms][-2:] == ["budget", "ttft_penalty"]
    assert decision.candidates[0].score == pytest.approx(187.5)


def test_a_score_follows_the_gauges_within_one_snapshot() -> None:
    view = serve("a", priority=0)
    made, snapshot = router(), fleet(view, serve("b", priority=99))
    first = made.decide(ask(), snapshot, NOW).candidates[0]
    assert made.decide(ask(), snapshot, NOW).candidates[0] is first
    view.live.pending = 8
    assert made.decide(ask(), snapshot, NOW).candidates[0].score == first.score - 150
    view.live.latency_ms = 1000.0
    assert made.decide(ask(), snapshot, NOW).candidates[0].score == first.score - 250


def test_a_new_snapshot_brings_new_figures() -> None:
    made = router()
    rival = serve("b", priority=99)
    assert made.decide(ask(), fleet(serve("a", priority=0), rival), NOW).candidates[0].score == 1000.0
    assert made.decide(ask(), fleet(serve("a", priority=50), rival), NOW).candidates[0].score == 750.0


@pytest.mark.interpreted
def test_what_is_kept_per_model_is_bounded() -> None:
    models = " ".join(f"m{n}" for n in range(4100))
    snapshot = fleet(serve("a", models))
    for strategy in ("smart", "round_robin"):
        made = router(strategy=strategy)
        for model in models.split():
            made.decide(ask(model), snapshot, NOW)
        kept = vars(vars(made._stages[-1])["_strategy"])
        assert len(kept["_rows" if strategy == "smart" else "_turns"]) <= 4096


@pytest.mark.parametrize("strategy", ["expected_time", "smart", "priority_only", "random"])
def test_ties_are_spread(strategy: str) -> None:
    made = router(strategy=strategy)
    snapshot = fleet(*(serve(f"b{n}") for n in range(4)))
    firsts = Counter(order(made.decide(ask(), snapshot, NOW))[0] for _ in range(2000))
    assert set(firsts) == {"b0", "b1", "b2", "b3"}
    assert all(400 < count < 600 for count in firsts.values())


# --- the others


def three() -> FleetSnapshot:
    return fleet(serve("a", priority=3), serve("b", priority=1), serve("c", priority=2))


def test_round_robin_takes_turns() -> None:
    made = router(strategy="round_robin")
    orders = [order(made.decide(ask(), three(), NOW)) for _ in range(6)]
    firsts = [each[0] for each in orders]
    assert sorted(firsts[:3]) == ["a", "b", "c"]
    assert firsts[:3] == firsts[3:]
    assert all(sorted(each) == ["a", "b", "c"] for each in orders)


def test_round_robin_takes_turns_per_model() -> None:
    made = router(strategy="round_robin")
    snapshot = fleet(serve("a", "m n"), serve("b", "m n"))
    firsts = [order(made.decide(ask(model), snapshot, NOW))[0] for model in "mnmnmn"]
    assert firsts[0] != firsts[2]
    assert firsts[1] != firsts[3]


def test_a_preview_takes_no_turn() -> None:
    made = router(strategy="round_robin")
    looks = [order(made.decide(ask(), three(), NOW, preview=True)) for _ in range(3)]
    assert looks[0] == looks[1] == looks[2] == order(made.decide(ask(), three(), NOW))
    assert order(made.decide(ask(), three(), NOW)) != looks[0]


def test_round_robin_skips_who_is_out() -> None:
    made = router(strategy="round_robin")
    snapshot = fleet(serve("a"), serve("b", status=BackendStatus.UNHEALTHY), serve("c"))
    assert Counter(order(made.decide(ask(), snapshot, NOW))[0] for _ in range(10)) == {"a": 5, "c": 5}


def test_priority_only_looks_at_nothing_else() -> None:
    snapshot = fleet(serve("a", priority=2), serve("b", priority=1, pending=500, latency_ms=9e9))
    decision = decide(snapshot, strategy="priority_only")
    assert order(decision) == ["b", "a"]
    assert decision.candidates[0].terms == (("priority", 1.0),)


def test_random_gives_every_order() -> None:
    made = router(strategy="random")
    orders = {tuple(order(made.decide(ask(), three(), NOW))) for _ in range(200)}
    assert len(orders) == 6


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ("expected_time", "expected-time"),
        ("smart", "smart"),
        ("round_robin", "round-robin"),
        ("priority_only", "priority-only"),
        ("random", "random"),
    ],
)
def test_the_route_reason_names_the_strategy(strategy: str, reason: str) -> None:
    assert decide(three(), strategy=strategy).route_reason == reason
    assert decide(fleet(serve("a")), strategy=strategy).route_reason == "only-candidate"


@pytest.mark.parametrize("strategy", ["expected_time", "smart", "round_robin", "priority_only", "random"])
def test_probes_go_first_with_every_strategy(strategy: str) -> None:
    probe = serve("p", priority=99, breaker=FixedGate(permits=True))
    decision = decide(fleet(serve("a"), probe, serve("b")), strategy=strategy)
    assert order(decision)[0] == "p"
    assert decision.candidates[0].probe


def test_the_same_seed_gives_the_same_decisions() -> None:
    runs = []
    for _ in range(2):
        made = router(seed=7)
        snapshot = fleet(*(serve(f"b{n}") for n in range(5)))
        runs.append([order(made.decide(ask(), snapshot, NOW)) for _ in range(20)])
    assert runs[0] == runs[1]

"""Exclusion by error rate, recovery by probes, and what happens when everybody is degraded."""

import logging

import pytest

from nexus.config.model import QualitySettings
from nexus.core.backend import Zone
from nexus.core.decision import RejectCause, Verdict
from nexus.core.fleet import BackendStatus, BackendView
from nexus.routing.reconcilers.quality import ACTION
from tests.unit.routing.fleets import (
    NOW,
    FixedGate,
    ask,
    decide,
    figures,
    fleet,
    order,
    refusals,
    router,
    serve,
)

REJECT = QualitySettings(on_all_degraded="reject")


def test_a_backend_over_the_threshold_is_excluded_with_the_numbers() -> None:
    decision = decide(fleet(serve("bad", rate=0.75), serve("good", rate=0.1)))
    assert order(decision) == ["good"]
    (rejection,) = decision.rejections
    assert rejection.reconciler == "QualityReconciler"
    assert rejection.reason == "Error rate 75.0% exceeds threshold 50.0%"
    assert rejection.suggested_action == "Wait for the error rate to decrease, or check the backend"


def test_the_threshold_itself_excludes() -> None:
    decision = decide(fleet(serve("bad", rate=0.5), serve("good", rate=0.499)))
    assert order(decision) == ["good"]


@pytest.mark.parametrize(("threshold", "kept"), [(1.0, True), (7.0, True), (0.99, False)])
def test_a_threshold_of_one_never_excludes(threshold: float, *, kept: bool) -> None:
    settings = QualitySettings(error_rate_threshold=threshold)
    decision = decide(fleet(serve("bad", rate=1.0), serve("good")), quality=settings)
    assert ("bad" in order(decision)) is kept


def test_a_threshold_of_zero_spares_only_the_flawless() -> None:
    settings = QualitySettings(error_rate_threshold=0.0)
    decision = decide(fleet(serve("once", rate=0.01), serve("never", rate=0.0)), quality=settings)
    assert order(decision) == ["never"]


def test_a_rate_counts_only_from_min_samples_on() -> None:
    few = fleet(serve("few", rate=1.0, count=4), serve("good"))
    assert len(order(decide(few))) == 2
    enough = fleet(serve("few", rate=1.0, count=5), serve("good"))
    assert order(decide(enough)) == ["good"]
    assert order(decide(few, quality=QualitySettings(min_samples=1))) == ["good"]


def test_no_history_passes() -> None:
    assert order(decide(fleet(serve("new")), quality=REJECT)) == ["new"]


def test_the_pair_counts_before_the_roll_up() -> None:
    worse = serve("x", "m n", rate=0.1, pairs={"m": figures(0.9)})
    better = serve("y", "m n", rate=0.9, pairs={"m": figures(0.1)})
    decision = decide(fleet(worse, better))
    assert order(decision) == ["y"]
    assert order(decide(fleet(worse, better), ask("n"))) == ["x"]


def test_a_pair_with_few_outcomes_is_judged_by_the_roll_up() -> None:
    view = serve("x", rate=0.9, pairs={"m": figures(0.0, count=4)})
    assert order(decide(fleet(view, serve("good")))) == ["good"]


def test_switched_off_nothing_is_excluded() -> None:
    decision = decide(fleet(serve("bad", rate=1.0), serve("good")), quality=QualitySettings(enabled=False))
    assert len(order(decision)) == 2


# --- recovery


def test_a_willing_gate_makes_a_probe() -> None:
    decision = decide(fleet(serve("bad", rate=0.75, gate=FixedGate(permits=True)), serve("good")))
    assert order(decision) == ["bad", "good"]
    assert [c.probe for c in decision.candidates] == [True, False]
    assert not decision.candidates[0].degraded
    assert decision.route_reason == "probe"
    assert decision.rejections == ()


def test_a_closed_gate_has_recovered() -> None:
    decision = decide(fleet(serve("bad", rate=0.75, gate=FixedGate(is_closed=True)), serve("good")))
    assert sorted(order(decision)) == ["bad", "good"]
    assert not any(c.probe or c.degraded for c in decision.candidates)
    assert decision.route_reason == "smart"


def test_a_refusing_gate_excludes() -> None:
    decision = decide(fleet(serve("bad", rate=0.75, gate=FixedGate(wait=3.0)), serve("good")))
    assert order(decision) == ["good"]


def test_a_gate_of_another_model_does_not_matter() -> None:
    view = serve("bad", rate=0.75)
    view.live.gates["other"] = FixedGate(permits=True)
    assert order(decide(fleet(view, serve("good")))) == ["good"]


def test_recovery_by_window_ignores_gates() -> None:
    settings = QualitySettings(recovery="window")
    decision = decide(
        fleet(serve("bad", rate=0.75, gate=FixedGate(permits=True)), serve("good")), quality=settings
    )
    assert order(decision) == ["good"]


def test_only_one_probe_goes_before_the_sound_backends() -> None:
    probes = [serve(f"p{n}", rate=0.9, gate=FixedGate(permits=True), priority=n) for n in range(3)]
    decision = decide(fleet(*probes, serve("good", priority=90), serve("fair", priority=99)))
    assert order(decision) == ["p0", "good", "fair", "p1", "p2"]
    assert [c.probe for c in decision.candidates] == [True, False, False, True, True]


# --- everybody degraded


def degraded_pair() -> tuple[BackendView, BackendView]:
    return serve("a", rate=0.75, priority=10), serve("b", rate=0.6, priority=20)


def test_include_uses_every_degraded_backend() -> None:
    decision = decide(fleet(*degraded_pair()))
    assert decision.verdict is Verdict.ROUTE
    assert order(decision) == ["a", "b"]
    assert all(c.degraded for c in decision.candidates)
    assert dict(decision.candidates[0].terms)["error_rate_1h"] == 0.75
    assert dict(decision.candidates[0].terms)["error_rate_threshold"] == 0.5
    assert decision.rejections == ()


def test_include_warns_but_not_for_every_request(caplog: pytest.LogCaptureFixture) -> None:
    made = router()
    snapshot = fleet(*degraded_pair())
    for seconds in (0.0, 5.0, 9.0, 11.0):
        made.decide(ask(), snapshot, NOW + seconds)
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]
    made.decide(ask(), snapshot, NOW + 100, preview=True)
    assert len(caplog.records) == 2


@pytest.mark.interpreted
def test_the_memory_of_warnings_is_bounded() -> None:
    made = router()
    models = " ".join(f"m{n}" for n in range(1030))
    snapshot = fleet(serve("a", models, rate=0.9))
    for model in models.split():
        made.decide(ask(model), snapshot, NOW)
    scheduler = made._stages[-1]
    assert len(vars(scheduler)["_warned"]) <= 1024


def test_the_fallback_backend_is_preferred() -> None:
    settings = QualitySettings(fallback_backend="b")
    decision = decide(fleet(*degraded_pair()), quality=settings)
    assert order(decision) == ["b", "a"]
    assert all(c.degraded for c in decision.candidates)


def test_the_fallback_backend_must_be_healthy_and_allowed() -> None:
    settings = QualitySettings(fallback_backend="c")
    down = serve("c", rate=0.9, status=BackendStatus.UNHEALTHY)
    assert order(decide(fleet(*degraded_pair(), down), quality=settings)) == ["a", "b"]
    away = serve("c", rate=0.9, zone=Zone.OPEN)
    decision = decide(fleet(*degraded_pair(), away), ask(restricted=True), quality=settings)
    assert order(decision) == ["a", "b"]


def test_the_fallback_backend_is_not_preferred_while_others_are_sound() -> None:
    settings = QualitySettings(fallback_backend="b")
    decision = decide(fleet(serve("a", priority=1), serve("b", priority=99)), quality=settings)
    assert order(decision) == ["a", "b"]


def test_reject_gives_one_rejection_per_backend() -> None:
    decision = decide(fleet(*degraded_pair()), quality=REJECT)
    assert decision.verdict is Verdict.REJECT
    assert decision.cause is RejectCause.EXCLUDED
    assert refusals(decision) == {
        "a": ("QualityReconciler", "Error rate 75.0% exceeds threshold 50.0%"),
        "b": ("QualityReconciler", "Error rate 60.0% exceeds threshold 50.0%"),
    }
    assert {each.suggested_action for each in decision.rejections} == {ACTION}
    assert decision.retry_after is None


def test_a_refusal_says_when_a_gate_opens() -> None:
    views = (serve("a", rate=0.75, gate=FixedGate(wait=7.0)), serve("b", rate=0.6, gate=FixedGate(wait=3.0)))
    assert decide(fleet(*views), quality=REJECT).retry_after == 3.0


def test_include_tests_one_backend_first_and_uses_the_rest_as_they_are() -> None:
    views = (
        serve("a", rate=0.75, priority=1, gate=FixedGate(wait=2.0)),
        serve("b", rate=0.75, priority=2, gate=FixedGate(permits=True)),
        serve("c", rate=0.75, priority=3, gate=FixedGate(permits=True)),
    )
    decision = decide(fleet(*views))
    assert order(decision) == ["b", "a", "c"]
    assert [c.probe for c in decision.candidates] == [True, False, False]
    assert all(c.degraded for c in decision.candidates)


def test_reject_still_tests_a_willing_backend() -> None:
    views = (
        serve("a", rate=0.75, gate=FixedGate(wait=2.0)),
        serve("b", rate=0.7, gate=FixedGate(permits=True)),
    )
    decision = decide(fleet(*views), quality=REJECT)
    assert order(decision) == ["b"]
    assert decision.candidates[0].probe
    assert not decision.candidates[0].degraded
    assert list(refusals(decision)) == ["a"]


@pytest.mark.parametrize(
    "other",
    [
        serve("other", status=BackendStatus.UNHEALTHY),
        serve("other", breaker=FixedGate(wait=5.0)),
        serve("other", blocked_until=NOW + 60),
    ],
)
def test_a_degraded_backend_is_better_than_one_that_can_not_answer(other: BackendView) -> None:
    decision = decide(fleet(serve("bad", rate=0.6), other))
    assert order(decision) == ["bad"]
    assert decision.candidates[0].degraded
    assert refusals(decision)["other"][0] == "SchedulerReconciler"


def test_a_full_sound_backend_is_waited_for() -> None:
    decision = decide(fleet(serve("bad", rate=0.6), serve("full", limit=2, pending=2)))
    assert decision.verdict is Verdict.QUEUE


def test_everybody_recovered_is_business_as_usual() -> None:
    closed = FixedGate(is_closed=True)
    decision = decide(fleet(serve("a", rate=0.9, gate=closed), serve("b", rate=0.9, gate=closed)))
    assert not any(c.degraded or c.probe for c in decision.candidates)


# --- the debug line


def test_a_debug_line_per_backend_and_decision(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = fleet(serve("bad", rate=0.75), serve("good", rate=0.1), serve("new"), serve("other", "n"))
    with caplog.at_level(logging.DEBUG, logger="nexus.routing.reconciler.quality"):
        decide(snapshot)
    seen = {
        vars(r)["agent_id"]: (vars(r)["error_rate_1h"], vars(r)["threshold"], vars(r)["excluded"])
        for r in caplog.records
    }
    assert seen == {"bad": (0.75, 0.5, True), "good": (0.1, 0.5, False), "new": (0.0, 0.5, False)}


def test_no_debug_line_for_backends_refused_before(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = fleet(serve("away", zone=Zone.OPEN), serve("here"))
    with caplog.at_level(logging.DEBUG, logger="nexus.routing.reconciler.quality"):
        decide(snapshot, ask(restricted=True))
    assert [vars(r)["agent_id"] for r in caplog.records] == ["here"]

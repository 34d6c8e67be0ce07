"""Who can take an attempt now."""

import pytest

from nexus.config.model import BreakerSettings, QualitySettings
from nexus.core.decision import RejectCause, Verdict
from nexus.core.fleet import BackendStatus
from tests.unit.routing.fleets import NOW, FixedGate, ask, decide, fleet, order, refusals, router, serve

REJECT = QualitySettings(on_all_degraded="reject")


def test_unhealthy_backends_are_dropped() -> None:
    decision = decide(fleet(serve("down", status=BackendStatus.UNHEALTHY), serve("up")))
    assert order(decision) == ["up"]
    assert refusals(decision)["down"] == ("SchedulerReconciler", "Health checks fail")


def test_an_unknown_status_passes() -> None:
    assert order(decide(fleet(serve("a", status=BackendStatus.UNKNOWN)))) == ["a"]


def test_all_unhealthy_is_a_refusal() -> None:
    decision = decide(fleet(serve("a", status=BackendStatus.UNHEALTHY)))
    assert (decision.verdict, decision.cause) == (Verdict.REJECT, RejectCause.EXCLUDED)
    assert decision.retry_after is None


# --- circuit breakers, open and half-open


def test_an_open_breaker_excludes() -> None:
    decision = decide(fleet(serve("out", breaker=FixedGate(wait=4.0)), serve("up")))
    assert order(decision) == ["up"]
    assert refusals(decision)["out"] == (
        "SchedulerReconciler",
        "Circuit breaker is open, it is tested in 4.0 s",
    )


def test_a_breaker_that_is_being_tested_excludes() -> None:
    decision = decide(fleet(serve("out", breaker=FixedGate()), serve("up")))
    assert refusals(decision)["out"][1] == "Circuit breaker is open, another request is testing it"


def test_a_closed_breaker_passes() -> None:
    decision = decide(fleet(serve("a", breaker=FixedGate(is_closed=True))))
    assert (order(decision), decision.route_reason) == (["a"], "only-candidate")


def test_a_half_open_breaker_makes_a_probe() -> None:
    decision = decide(
        fleet(serve("back", priority=99, breaker=FixedGate(permits=True)), serve("up", priority=1))
    )
    assert order(decision) == ["back", "up"]
    assert decision.candidates[0].probe
    assert decision.route_reason == "probe"


@pytest.mark.parametrize("quality", [QualitySettings(), QualitySettings(enabled=False)])
def test_all_breakers_open_are_tried_all_the_same(quality: QualitySettings) -> None:
    views = (serve("a", priority=1, breaker=FixedGate(wait=4.0)), serve("b", breaker=FixedGate(wait=2.0)))
    decision = decide(fleet(*views), quality=quality)
    assert order(decision) == ["a", "b"]
    assert all(c.degraded and not c.probe for c in decision.candidates)
    assert decision.route_reason == "smart"


def test_all_breakers_open_are_refused_with_reject() -> None:
    views = (serve("a", breaker=FixedGate(wait=4.0)), serve("b", breaker=FixedGate(wait=2.0)))
    decision = decide(fleet(*views), quality=REJECT)
    assert decision.cause is RejectCause.EXCLUDED
    assert sorted(refusals(decision)) == ["a", "b"]
    assert decision.retry_after == 2.0


def test_unhealthy_backends_stay_out_when_all_breakers_are_open() -> None:
    views = (
        serve("down", status=BackendStatus.UNHEALTHY, breaker=FixedGate(wait=1.0)),
        serve("out", breaker=FixedGate(wait=4.0)),
    )
    decision = decide(fleet(*views))
    assert order(decision) == ["out"]
    assert refusals(decision)["down"][1] == "Health checks fail"


def test_a_full_backend_is_waited_for_rather_than_an_open_breaker_tried() -> None:
    views = (serve("out", breaker=FixedGate(wait=4.0)), serve("full", limit=1, pending=1))
    decision = decide(fleet(*views))
    assert decision.verdict is Verdict.QUEUE
    assert sorted(refusals(decision)) == ["full", "out"]


def test_a_throttled_backend_is_waited_for_rather_than_an_open_breaker_tried() -> None:
    views = (serve("out", breaker=FixedGate(wait=0.1)), serve("busy", blocked_until=NOW + 5))
    decision = decide(fleet(*views))
    assert (decision.cause, decision.retry_after) == (RejectCause.RATE_LIMITED, 5.0)


def test_an_open_breaker_that_is_throttled_too_is_not_tried() -> None:
    views = (
        serve("both", breaker=FixedGate(wait=4.0), blocked_until=NOW + 9),
        serve("out", breaker=FixedGate()),
    )
    decision = decide(fleet(*views))
    assert order(decision) == ["out"]
    assert refusals(decision)["both"][1] == "Circuit breaker is open, it is tested in 4.0 s"


def test_switched_off_breakers_are_ignored() -> None:
    decision = decide(fleet(serve("a", breaker=FixedGate())), breaker=BreakerSettings(enabled=False))
    assert (order(decision), decision.candidates[0].degraded) == (["a"], False)


def test_one_half_open_backend_alone_is_a_probe() -> None:
    decision = decide(fleet(serve("a", breaker=FixedGate(permits=True))))
    assert (order(decision), decision.route_reason) == (["a"], "probe")
    assert decision.candidates[0].probe


# --- 429


def test_a_throttled_backend_is_left_alone() -> None:
    decision = decide(fleet(serve("busy", blocked_until=NOW + 3), serve("up", blocked_until=NOW)))
    assert order(decision) == ["up"]
    assert refusals(decision)["busy"][1] == "Rate-limited by the backend for another 3.0 s"


def test_all_throttled_gives_the_smallest_wait() -> None:
    views = (
        serve("a", blocked_until=NOW + 7),
        serve("b", blocked_until=NOW + 3),
        serve("c", status=BackendStatus.UNHEALTHY, blocked_until=NOW + 1),
    )
    decision = decide(fleet(*views))
    assert (decision.cause, decision.retry_after) == (RejectCause.RATE_LIMITED, 3.0)


def test_throttled_everywhere_goes_down_the_chain_first() -> None:
    snapshot = fleet(serve("a", "m", blocked_until=NOW + 7), serve("b", "n"))
    decision = decide(snapshot, fallbacks={"m": ("n",)})
    assert (order(decision), decision.route_reason) == (["b"], "fallback")


def test_the_smallest_wait_of_the_whole_chain_counts() -> None:
    snapshot = fleet(serve("a", "m", blocked_until=NOW + 7), serve("b", "n", blocked_until=NOW + 2))
    decision = decide(snapshot, fallbacks={"m": ("n",)})
    assert (decision.cause, decision.retry_after) == (RejectCause.RATE_LIMITED, 2.0)


# --- saturation


def test_a_full_backend_is_passed_over() -> None:
    decision = decide(fleet(serve("full", limit=4, pending=4), serve("up", limit=4, pending=3)))
    assert order(decision) == ["up"]
    assert refusals(decision)["full"][1] == "At its limit of 4 concurrent requests (4 pending)"


def test_without_a_limit_a_backend_is_never_full() -> None:
    assert order(decide(fleet(serve("a", pending=10_000)))) == ["a"]


def test_all_full_is_a_queue() -> None:
    decision = decide(fleet(serve("a", limit=1, pending=1), serve("b", limit=2, pending=3)))
    assert decision.verdict is Verdict.QUEUE
    assert decision.cause is None
    assert decision.candidates == ()
    assert sorted(refusals(decision)) == ["a", "b"]


def test_full_backends_count_though_others_are_down_or_throttled() -> None:
    views = (
        serve("full", limit=1, pending=1),
        serve("down", status=BackendStatus.UNHEALTHY),
        serve("busy", blocked_until=NOW + 9),
    )
    assert decide(fleet(*views)).verdict is Verdict.QUEUE


def test_full_and_throttled_at_once_is_throttled() -> None:
    decision = decide(fleet(serve("a", limit=1, pending=1, blocked_until=NOW + 2)))
    assert decision.cause is RejectCause.RATE_LIMITED


def test_the_fallback_chain_comes_before_the_queue() -> None:
    snapshot = fleet(serve("full", "m", limit=1, pending=1), serve("b", "n"))
    assert order(decide(snapshot, fallbacks={"m": ("n",)})) == ["b"]


def test_the_queue_is_for_the_model_that_is_merely_full() -> None:
    snapshot = fleet(
        serve("down", "m", status=BackendStatus.UNHEALTHY), serve("full", "n", limit=1, pending=1)
    )
    decision = decide(snapshot, fallbacks={"m": ("n",)})
    assert (decision.verdict, decision.served_model, decision.chain_index) == (Verdict.QUEUE, "n", 1)


def test_a_later_obstacle_does_not_hide_an_earlier_queue() -> None:
    snapshot = fleet(serve("full", "m", limit=1, pending=1), serve("busy", "n", blocked_until=NOW + 5))
    decision = router(fallbacks={"m": ("n",)}).decide(ask(), snapshot, NOW)
    assert (decision.verdict, decision.chain_index) == (Verdict.QUEUE, 0)

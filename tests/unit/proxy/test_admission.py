"""Reservations around an attempt, and the pace of backends that answer 429."""

from nexus.core.backend import Backend
from nexus.core.decision import Candidate
from nexus.core.fleet import BackendStatus, BackendView
from nexus.core.live import BackendLive
from nexus.core.outcome import AttemptResult
from nexus.proxy import admission
from nexus.resilience import CircuitBreaker, CircuitBreakerConfig
from nexus.testing import ManualClock

CONFIG = CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_seconds=5.0)


def candidate(
    breaker: CircuitBreaker | None = None, gate: CircuitBreaker | None = None, *, degraded: bool = False
) -> Candidate:
    live = BackendLive()
    live.breaker = breaker
    if gate is not None:
        live.gates["m"] = gate
    view = BackendView(Backend("a", "a", "http://a"), BackendStatus.HEALTHY, {}, live)
    return Candidate(view, "m", 1.0, degraded=degraded)


def tripped(clock: ManualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(CONFIG, clock=clock)
    breaker.trip()
    return breaker


def test_closed_gates_hold_nothing():
    clock = ManualClock()
    assert admission.admit(candidate()) == ()
    assert admission.admit(candidate(CircuitBreaker(CONFIG, clock=clock))) == ()


def test_an_open_gate_refuses_and_gives_back_what_the_other_reserved():
    clock = ManualClock()
    willing, open_ = tripped(clock), CircuitBreaker(CONFIG, clock=clock)
    clock.advance(5.0)
    open_.trip()
    assert admission.admit(candidate(willing, open_)) is None
    assert willing.permits(), "its only place is free again"
    assert admission.admit(candidate(willing, open_, degraded=True)) == ()


def test_reservations_end_with_what_became_of_the_attempt():
    clock = ManualClock()
    for result, state in (
        (AttemptResult.SUCCESS, "closed"),
        (AttemptResult.FAILURE, "open"),
        (AttemptResult.CANCELLED, "half_open"),
        (AttemptResult.RATE_LIMITED, "half_open"),
    ):
        breaker = tripped(clock)
        clock.advance(5.0)
        tried = candidate(breaker)
        held = admission.admit(tried)
        assert held == (breaker,)
        live = tried.view.live
        admission.begin(live)
        assert (live.pending, live.requests) == (1, 1)
        admission.settle(live, held, result, 100.0)
        assert (live.pending, breaker.state) == (0, state)


def test_a_condemned_attempt_is_a_failure_once():
    clock = ManualClock()
    breaker = tripped(clock)
    clock.advance(5.0)
    tried = candidate(breaker)
    held = admission.admit(tried)
    assert held is not None
    assert admission.condemn(tried.view.live, held) == ()
    assert breaker.state == "open"
    closed = CircuitBreaker(CONFIG, clock=clock)
    live = candidate(closed).view.live
    for _ in range(2):
        admission.condemn(live, ())
    assert closed.state == "open"


def test_a_straggler_says_nothing_about_the_recovery():
    clock = ManualClock()
    breaker = tripped(clock)
    live = candidate(breaker).view.live
    admission.settle(live, (), AttemptResult.SUCCESS, 1.0)
    assert breaker.state == "open"


def test_latencies_are_smoothed_and_a_success_ends_the_throttling():
    live = BackendLive()
    live.throttles = 3
    admission.settle(live, (), AttemptResult.SUCCESS, 100.0)
    admission.settle(live, (), AttemptResult.SUCCESS, 200.0)
    assert (live.latency_ms, live.throttles) == (120.0, 0)


def test_waits_grow_where_the_backend_names_none():
    live = BackendLive()
    waits = [admission.pace(live, 0.0, None) for _ in range(8)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert live.blocked_until == 60.0
    assert admission.pace(live, 0.0, 5.0) == 5.0
    assert live.blocked_until == 60.0, "a shorter wait never shortens a longer one"

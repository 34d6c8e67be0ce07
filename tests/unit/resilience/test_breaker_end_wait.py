"""Ending a breaker's wait early."""

from nexus.resilience import BreakerState, CircuitBreaker, CircuitBreakerConfig
from nexus.testing import ManualClock


def test_an_open_breaker_can_be_made_half_open_early():
    changes: list[BreakerState] = []
    breaker = CircuitBreaker(CircuitBreakerConfig(timeout_seconds=30.0), clock=ManualClock())
    breaker.add_listener(lambda _name, _old, new: changes.append(new))
    breaker.trip()
    breaker.end_wait()
    assert changes == [BreakerState.OPEN, BreakerState.HALF_OPEN]
    assert breaker.allow()


def test_ending_no_wait_changes_nothing():
    breaker = CircuitBreaker(clock=ManualClock())
    breaker.end_wait()
    assert breaker.is_closed
    breaker.trip()
    breaker.end_wait()
    assert breaker.allow()
    breaker.end_wait()
    assert not breaker.permits(), "the call in flight keeps its place"

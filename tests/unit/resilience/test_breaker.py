"""The circuit breaker, in virtual time."""

import logging
import random

import pytest

from nexus.core.live import Gate
from nexus.resilience import BreakerState, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError
from nexus.testing import ManualClock


def breaker_with(clock: ManualClock, **settings) -> CircuitBreaker:
    config = CircuitBreakerConfig(**({"failure_threshold": 3, "timeout_seconds": 10.0} | settings))
    return CircuitBreaker(config, name="llm", clock=clock, rng=random.Random(7))


def half_open(clock: ManualClock, **settings) -> CircuitBreaker:
    breaker = breaker_with(clock, **settings)
    breaker.trip()
    clock.advance(10.0)
    assert breaker.state == "half_open"
    return breaker


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.record_failure()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_it_is_what_routing_reads(clock):
    gate: Gate = breaker_with(clock)
    assert gate.is_closed
    assert gate.permits()
    assert gate.retry_after() == 0.0


def test_opens_after_consecutive_failures_only(clock):
    breaker = breaker_with(clock)
    fail(breaker, 2)
    breaker.record_success()
    fail(breaker, 2)
    assert breaker.state == "closed"
    breaker.record_failure()
    assert breaker.state == "open"
    assert not breaker.is_closed


def test_open_refuses_and_says_for_how_long(clock):
    breaker = breaker_with(clock)
    fail(breaker, 3)
    clock.advance(4.0)
    assert not breaker.allow()
    assert not breaker.permits()
    assert breaker.retry_after() == 6.0
    with pytest.raises(CircuitOpenError, match=r"'llm' is open.*retry in 6.0 s") as caught, breaker:
        pass
    assert caught.value.name == "llm"
    assert caught.value.retry_after == 6.0


@pytest.mark.parametrize("read", [lambda b: b.state, lambda b: b.permits(), lambda b: b.allow()])
def test_reading_it_after_the_wait_makes_it_half_open(clock, read):
    breaker = breaker_with(clock)
    fail(breaker, 3)
    clock.advance(9.999)
    read(breaker)
    assert breaker.state == "open"
    clock.advance(0.001)
    assert breaker.retry_after() == 0.0
    assert read(breaker)
    assert breaker.state == "half_open"


def test_half_open_lets_the_given_number_of_calls_run_at_a_time(clock):
    breaker = half_open(clock, max_half_open=2)
    assert [breaker.allow() for _ in range(3)] == [True, True, False]
    assert not breaker.permits()
    assert breaker.retry_after() == 1.0
    breaker.release()
    assert breaker.permits()
    assert breaker.retry_after() == 0.0
    assert [breaker.allow() for _ in range(2)] == [True, False]


def test_asking_reserves_nothing(clock):
    breaker = half_open(clock)
    assert [breaker.permits() for _ in range(3)] == [True, True, True]


def test_enough_successes_close_it(clock):
    breaker = half_open(clock, success_threshold=2)
    for expected in ("half_open", "closed"):
        assert breaker.allow()
        breaker.record_success()
        assert breaker.state == expected
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_one_failed_call_opens_it_again(clock):
    breaker = half_open(clock, success_threshold=2, max_half_open=3)
    assert breaker.allow()
    assert breaker.allow()
    breaker.record_success()
    breaker.record_failure()
    assert breaker.state == "open"
    assert breaker.retry_after() == 10.0


def test_successes_do_not_carry_over_to_the_next_recovery(clock):
    breaker = half_open(clock, success_threshold=2, max_half_open=2)
    assert breaker.allow()
    breaker.record_success()
    assert breaker.allow()
    breaker.record_failure()
    clock.advance(10.0)
    assert breaker.allow()
    breaker.record_success()
    assert breaker.state == "half_open"


def test_waits_stay_the_same_without_a_first_timeout(clock):
    breaker = breaker_with(clock)
    breaker.trip()
    for _ in range(3):
        assert breaker.retry_after() == 10.0
        clock.advance(10.0)
        assert breaker.allow()
        breaker.record_failure()


def test_growing_waits_double_up_to_the_limit_and_start_anew_after_closing(clock):
    breaker = breaker_with(clock, first_timeout_seconds=2.0, jitter=0.0, success_threshold=1)
    fail(breaker, 3)
    waits = []
    for _ in range(5):
        waits.append(breaker.retry_after())
        clock.advance(waits[-1])
        assert breaker.allow()
        breaker.record_failure()
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0]
    clock.advance(10.0)
    assert breaker.allow()
    breaker.record_success()
    assert breaker.state == "closed"
    fail(breaker, 3)
    assert breaker.retry_after() == 2.0


def test_trip_opens_at_once_and_counts_as_a_failed_recovery_when_half_open(clock):
    breaker = breaker_with(clock, first_timeout_seconds=2.0, jitter=0.0)
    breaker.trip()
    clock.advance(1.0)
    breaker.trip()
    assert breaker.retry_after() == 1.0
    clock.advance(1.0)
    assert breaker.allow()
    breaker.trip()
    assert breaker.retry_after() == 4.0


def test_reset_closes_at_once_and_forgets(clock):
    breaker = breaker_with(clock)
    changes = []
    breaker.add_listener(lambda *change: changes.append(change))
    fail(breaker, 2)
    breaker.reset()
    fail(breaker, 2)
    assert breaker.state == "closed"
    breaker.record_failure()
    breaker.reset()
    assert breaker.is_closed
    assert changes == [("llm", "closed", "open"), ("llm", "open", "closed")]


def test_late_results_change_nothing_while_open(clock):
    breaker = breaker_with(clock, first_timeout_seconds=2.0, jitter=0.0)
    fail(breaker, 3)
    clock.advance(1.0)
    breaker.record_success()
    fail(breaker, 5)
    breaker.release()
    assert breaker.state == "open"
    assert breaker.retry_after() == 1.0


def test_late_results_change_nothing_in_half_open_when_no_call_was_let_through(clock):
    breaker = half_open(clock, success_threshold=1)
    breaker.record_success()
    breaker.record_failure()
    breaker.release()
    assert breaker.state == "half_open"
    assert [breaker.allow() for _ in range(2)] == [True, False]


def test_a_ticket_from_before_the_change_is_ignored(clock):
    breaker = breaker_with(clock, success_threshold=1)
    old = breaker.reserve()
    fail(breaker, 3)
    clock.advance(10.0)
    probe = breaker.reserve()
    assert probe is not None
    breaker.record_success(old)
    breaker.record_failure(old)
    breaker.release(old)
    assert breaker.state == "half_open"
    assert breaker.reserve() is None
    breaker.record_success(probe)
    assert breaker.state == "closed"
    fail(breaker, 2)
    breaker.record_failure(old)
    breaker.record_failure(probe)
    assert breaker.state == "closed"
    breaker.record_success(old)
    breaker.record_failure(breaker.reserve())
    assert breaker.state == "open"
    assert breaker.reserve() is None


def test_a_gate_closed_meanwhile_lets_everybody_through(clock):
    breaker = half_open(clock, success_threshold=1)
    assert breaker.reserve() is not None
    assert breaker.reserve() is None
    breaker.record_success()
    assert breaker.reserve() is not None
    breaker.release()
    assert breaker.permits()


def test_the_wait_is_looked_at_again_under_the_lock(clock):
    """Another thread may open it again between the look without the lock and the one with it."""
    breaker = breaker_with(clock)
    breaker.trip()
    reading = clock.monotonic
    answers = iter([10.0, 9.0])
    clock.monotonic = lambda: next(answers)
    assert breaker.state == "open"
    clock.monotonic = reading


def test_a_current_ticket_counts_when_closed(clock):
    breaker = breaker_with(clock)
    fail(breaker, 2)
    breaker.record_success(breaker.reserve())
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_listeners_hear_every_change_in_order_outside_the_lock(clock):
    breaker = breaker_with(clock, success_threshold=1)
    heard = []

    def listener(name: str, old: BreakerState, new: BreakerState) -> None:
        heard.append((name, old, new))
        assert breaker.retry_after() >= 0  # takes the lock

    breaker.add_listener(listener)
    fail(breaker, 3)
    clock.advance(10.0)
    assert breaker.allow()
    breaker.record_success()
    assert heard == [("llm", "closed", "open"), ("llm", "open", "half_open"), ("llm", "half_open", "closed")]


def test_a_change_made_by_a_listener_is_heard_after_the_one_it_heard(clock):
    breaker = breaker_with(clock)
    heard = []

    def close_again(*change: object) -> None:
        if change[2] is BreakerState.OPEN:
            breaker.reset()

    breaker.add_listener(close_again)
    breaker.add_listener(lambda *change: heard.append(change[2]))
    breaker.trip()
    assert heard == ["open", "closed"]
    assert breaker.is_closed


def test_a_listener_that_raises_is_logged_and_breaks_nothing(clock, caplog):
    breaker = breaker_with(clock)
    heard = []

    def broken(*_change: object) -> None:
        raise RuntimeError("no pager")

    breaker.add_listener(broken)
    breaker.add_listener(lambda *change: heard.append(change[2]))
    with caplog.at_level(logging.ERROR):
        breaker.trip()
    assert heard == ["open"]
    assert "no pager" in caplog.text
    assert "a listener of circuit 'llm' failed" in caplog.text


def test_it_shows_its_name_and_state(clock):
    assert repr(breaker_with(clock)) == "CircuitBreaker(name='llm', state='closed')"
    assert CircuitBreaker().name == "circuit"

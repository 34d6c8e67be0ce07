"""The circuit breaker, in virtual time."""

import asyncio
import logging
import random
import threading
from itertools import pairwise

import pytest

from nexus.core.fleet import Gate
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


def test_growing_waits_are_spread_below_their_length():
    config = CircuitBreakerConfig(first_timeout_seconds=2.0, timeout_seconds=60.0, jitter=0.2)
    rng = random.Random(1)
    waits = [config.wait(1, rng) for _ in range(200)]
    assert all(3.2 < wait <= 4.0 for wait in waits)
    assert len(set(waits)) == 200
    assert max(config.wait(1000, rng) for _ in range(50)) <= 60.0


def test_a_first_wait_over_the_limit_is_cut_to_it():
    config = CircuitBreakerConfig(first_timeout_seconds=90, timeout_seconds=60, backoff_factor=1, jitter=0)
    assert config.wait(0, random.Random()) == config.wait(10**9, random.Random()) == 60.0


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


def test_sync_decorator_counts_passes_and_refuses(clock):
    breaker = breaker_with(clock, failure_threshold=2)

    @breaker
    def ask(question: str) -> str:
        """Ask."""
        if question == "bad":
            raise OSError("reset")
        return question.upper()

    assert ask("hi") == "HI"
    assert ask.__doc__ == "Ask."
    for _ in range(2):
        with pytest.raises(OSError, match="reset"):
            ask("bad")
    with pytest.raises(CircuitOpenError):
        ask("hi")
    clock.advance(10.0)
    assert [ask("a"), ask("b")] == ["A", "B"]
    assert breaker.state == "closed"


async def test_async_decorator_counts_passes_and_refuses(clock):
    breaker = breaker_with(clock, failure_threshold=2, success_threshold=1)

    @breaker
    async def ask(question: str) -> str:
        await asyncio.sleep(0)
        if question == "bad":
            raise OSError("reset")
        return question.upper()

    assert await ask("hi") == "HI"
    for _ in range(2):
        with pytest.raises(OSError, match="reset"):
            await ask("bad")
    with pytest.raises(CircuitOpenError):
        await ask("hi")
    clock.advance(10.0)
    assert await ask("a") == "A"
    assert breaker.state == "closed"


def test_generator_functions_are_refused(clock):
    breaker = breaker_with(clock)
    with pytest.raises(TypeError, match="numbers is a generator function"):

        @breaker
        def numbers():
            yield 1

    with pytest.raises(TypeError, match="generator"):

        @breaker
        async def events():
            yield 1


async def test_objects_with_an_async_call_are_guarded(clock):
    class Client:
        async def __call__(self) -> str:
            raise OSError("down")

    breaker = breaker_with(clock, failure_threshold=1)
    with pytest.raises(OSError, match="down"):
        await breaker(Client())()
    assert breaker.state == "open"


async def test_cancelled_calls_give_their_place_back_without_a_verdict(clock):
    breaker = half_open(clock)

    async def hang() -> None:
        async with breaker:
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    assert not breaker.permits()
    task.cancel()
    await asyncio.wait([task])
    assert breaker.state == "half_open"
    assert breaker.permits()


async def test_late_results_through_the_context_manager_are_told_apart(clock):
    breaker = breaker_with(clock, success_threshold=1)
    finish = asyncio.Event()

    async def slow_failure() -> None:
        async with breaker:
            await finish.wait()
            raise OSError("late")

    late = [asyncio.create_task(slow_failure()) for _ in range(4)]
    await asyncio.sleep(0)
    breaker.trip()
    clock.advance(10.0)
    async with breaker:
        finish.set()
        await asyncio.wait(late)
        assert all(isinstance(task.exception(), OSError) for task in late)
        assert breaker.state == "half_open"
    assert breaker.state == "closed"


def test_blocks_of_two_breakers_nest(clock):
    outer, inner = half_open(clock, success_threshold=1), breaker_with(clock, failure_threshold=1)
    with outer:
        with pytest.raises(OSError, match="inner"), inner, inner:
            raise OSError("inner")
        assert inner.state == "open"
    assert outer.state == "closed"


async def test_a_block_left_in_another_context_counts_all_the_same(clock):
    breaker = half_open(clock, success_threshold=1)

    async def enter() -> None:
        breaker.__enter__()

    await asyncio.create_task(enter())
    breaker.__exit__(None, None, None)
    assert breaker.state == "closed"


def test_threads_never_get_more_places_than_there_are(clock):
    breaker = half_open(clock, max_half_open=3)
    start = threading.Barrier(8)
    results: list[bool] = []

    def contend() -> None:
        start.wait()
        results.extend(breaker.allow() for _ in range(50))

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(results) == 3


def test_threads_count_every_failure_and_hear_changes_in_order(clock):
    breaker = breaker_with(clock, failure_threshold=400, timeout_seconds=1e-9, success_threshold=1)
    heard: list[tuple[BreakerState, BreakerState]] = []
    breaker.add_listener(lambda *change: heard.append(change[1:]))
    threads = [threading.Thread(target=fail, args=(breaker, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.state == "open"

    def churn() -> None:
        for _ in range(200):
            clock.advance(1e-9)
            if breaker.allow():
                breaker.record_failure()

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) > 100
    assert all(before[1] is after[0] for before, after in pairwise(heard))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"failure_threshold": 0}, "failure_threshold"),
        ({"success_threshold": 0}, "success_threshold"),
        ({"max_half_open": 0}, "max_half_open"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"first_timeout_seconds": -1}, "first_timeout_seconds"),
        ({"backoff_factor": 0.5}, "backoff_factor"),
        ({"jitter": 1.0}, "jitter"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, name):
    with pytest.raises(ValueError, match=f"^{name} must"):
        CircuitBreakerConfig(**settings)


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LLM_CB_FAILURE_THRESHOLD", "7")
    monkeypatch.setenv("LLM_CB_TIMEOUT_SECONDS", " 1.5 ")
    assert CircuitBreakerConfig.from_env("LLM") == CircuitBreakerConfig(
        failure_threshold=7, timeout_seconds=1.5
    )
    assert CircuitBreakerConfig.from_env("OTHER") == CircuitBreakerConfig()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM_CB_FAILURE_THRESHOLD", "many"),
        ("LLM_CB_FAILURE_THRESHOLD", "0"),
        ("LLM_CB_TIMEOUT_SECONDS", "nan"),
        ("LLM_CB_TIMEOUT_SECONDS", "soon"),
    ],
)
def test_a_bad_environment_value_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* got '{value}'"):
        CircuitBreakerConfig.from_env("LLM", environ={name: value})


def test_it_shows_its_name_and_state(clock):
    assert repr(breaker_with(clock)) == "CircuitBreaker(name='llm', state='closed')"
    assert CircuitBreaker().name == "circuit"

"""The circuit breaker around calls: decorator, context managers, tasks and threads."""

import asyncio
import random
import threading
from itertools import pairwise

import pytest

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

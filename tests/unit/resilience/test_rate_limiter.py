"""The token bucket, in virtual time."""

import asyncio
import math
import threading
import time

import pytest

from nexus.resilience import RateLimiter
from nexus.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_burst_up_to_the_capacity_and_then_the_rate(clock):
    limiter = RateLimiter(rate=10.0, capacity=20, clock=clock)
    assert [limiter.acquire() for _ in range(21)] == [True] * 20 + [False]
    assert limiter.retry_after() == pytest.approx(0.1)
    clock.advance(0.1)
    assert limiter.retry_after() == 0.0
    assert [limiter.acquire(), limiter.acquire()] == [True, False]


def test_never_over_capacity_after_a_long_pause(clock):
    limiter = RateLimiter(rate=10.0, capacity=3, clock=clock)
    clock.advance(1e6)
    assert [limiter.acquire() for _ in range(4)] == [True, True, True, False]


def test_many_small_refills_are_worth_one_big_one(clock):
    limiter = RateLimiter(rate=10.0, capacity=20, clock=clock)
    assert limiter.acquire(20)
    for _ in range(1000):
        clock.advance(0.001)
        limiter.retry_after()
    assert limiter.acquire(10)
    assert not limiter.acquire(0.001)


def test_several_tokens_at_once(clock):
    limiter = RateLimiter(rate=2.0, capacity=10, clock=clock)
    assert limiter.acquire(7)
    assert not limiter.acquire(4)
    assert limiter.retry_after(4) == 0.5
    assert limiter.acquire(3)


def test_waiting_takes_exactly_as_long_as_the_tokens_need(clock):
    limiter = RateLimiter(rate=4.0, capacity=1, clock=clock)
    assert limiter.acquire()
    assert limiter.acquire(timeout=0.25)
    assert limiter.acquire(timeout=None)
    assert clock.sleeps == [0.25, 0.25]
    assert clock.monotonic() == 1000.5


def test_a_wait_that_would_be_too_long_is_refused_at_once(clock):
    limiter = RateLimiter(rate=4.0, capacity=1, clock=clock)
    assert limiter.acquire()
    assert not limiter.acquire(timeout=0.2499)
    assert clock.sleeps == []


def test_more_than_the_capacity_is_never_granted(clock):
    limiter = RateLimiter(rate=4.0, capacity=2, clock=clock)
    assert not limiter.acquire(3)
    assert not limiter.acquire(3, timeout=1000)
    assert limiter.retry_after(3) == math.inf
    with pytest.raises(ValueError, match="3 tokens can never be had: the capacity is 2"):
        limiter.acquire(3, timeout=None)


@pytest.mark.parametrize("tokens", [0, -1, float("nan"), float("inf")])
def test_tokens_must_be_above_0(clock, tokens):
    limiter = RateLimiter(clock=clock)
    with pytest.raises(ValueError, match=r"^tokens must be a number above 0"):
        limiter.acquire(tokens)
    with pytest.raises(ValueError, match=r"^tokens must"):
        limiter.retry_after(tokens)


@pytest.mark.parametrize("timeout", [-0.1, float("nan")])
def test_a_timeout_must_not_be_negative(clock, timeout):
    with pytest.raises(ValueError, match=r"^timeout must be at least 0 or None"):
        RateLimiter(clock=clock).acquire(timeout=timeout)


@pytest.mark.parametrize(("settings", "name"), [({"rate": 0}, "rate"), ({"capacity": -1}, "capacity")])
def test_settings_that_make_no_sense_are_refused(settings, name):
    with pytest.raises(ValueError, match=f"^{name} must be a number above 0"):
        RateLimiter(**settings)


async def test_tasks_and_threads_share_one_bucket(clock):
    limiter = RateLimiter(rate=1.0, capacity=4, clock=clock)
    assert limiter.acquire()
    assert await limiter.acquire_async()
    assert await asyncio.to_thread(limiter.acquire)
    assert [await limiter.acquire_async(), limiter.acquire()] == [True, False]
    assert not await limiter.acquire_async()


async def test_tasks_are_served_in_the_order_they_came(clock):
    limiter = RateLimiter(rate=1.0, capacity=2, clock=clock)
    assert limiter.acquire(2)
    served: list[tuple[str, float]] = []

    async def take(name: str, tokens: float) -> None:
        assert await limiter.acquire_async(tokens, timeout=None)
        served.append((name, clock.monotonic() - 1000.0))

    await asyncio.gather(take("big", 2), take("small", 1), take("half", 0.5))
    assert served == [("big", 2.0), ("small", 3.0), ("half", 3.5)]


async def test_nobody_overtakes_those_who_wait():
    clock = ManualClock(auto=False)
    limiter = RateLimiter(rate=1.0, capacity=2, clock=clock)
    assert limiter.acquire(2)
    waiting = asyncio.create_task(limiter.acquire_async(2, timeout=None))
    await settle()
    clock.advance(1.0)
    assert not limiter.acquire()
    assert limiter.retry_after() == 2.0
    assert not await limiter.acquire_async(timeout=1.9)
    behind = asyncio.create_task(limiter.acquire_async(timeout=2.0))
    await settle()
    clock.advance(1.0)
    assert await waiting
    await settle()
    clock.advance(1.0)
    assert await behind


async def test_a_cancelled_waiter_costs_the_others_nothing():
    clock = ManualClock(auto=False)
    limiter = RateLimiter(rate=1.0, capacity=1, clock=clock)
    assert limiter.acquire()
    first, second, third, fourth = (
        asyncio.create_task(limiter.acquire_async(timeout=None)) for _ in range(4)
    )
    await settle()
    assert limiter.retry_after() == 5.0
    second.cancel()
    await settle()
    assert limiter.retry_after() == 4.0
    first.cancel()
    await settle()
    assert limiter.retry_after() == 3.0
    clock.advance(1.0)
    assert await third
    await settle()
    clock.advance(1.0)
    assert await fourth
    assert first.cancelled()
    assert second.cancelled()
    clock.advance(1.0)
    assert limiter.acquire()


async def test_two_waiters_cancelled_in_the_same_turn_leave_the_queue_in_order():
    clock = ManualClock(auto=False)
    limiter = RateLimiter(rate=1.0, capacity=1, clock=clock)
    assert limiter.acquire()
    tasks = [asyncio.create_task(limiter.acquire_async(timeout=None)) for _ in range(3)]
    await settle()
    tasks[0].cancel()
    tasks[1].cancel()
    await settle()
    clock.advance(1.0)
    assert await tasks[2]
    assert limiter.retry_after() == 1.0


async def test_a_waiter_is_refused_when_those_ahead_woke_too_late():
    clock = ManualClock(auto=False)
    limiter = RateLimiter(rate=1.0, capacity=1, clock=clock)
    assert limiter.acquire()
    first = asyncio.create_task(limiter.acquire_async(timeout=1.0))
    second = asyncio.create_task(limiter.acquire_async(timeout=2.0))
    await settle()
    clock.advance(1.5)
    assert await first
    assert not await second
    assert limiter.retry_after() == 1.0


def test_a_thread_is_refused_when_those_ahead_woke_too_late():
    clock = ManualClock(auto=False)
    limiter = RateLimiter(rate=1.0, capacity=1, clock=clock)
    assert limiter.acquire()
    results: dict[str, bool] = {}

    def take(name: str, timeout: float) -> None:
        results[name] = limiter.acquire(timeout=timeout)

    first = threading.Thread(target=take, args=("first", 1.0))
    second = threading.Thread(target=take, args=("second", 2.0))
    first.start()
    while not clock.waiting:
        time.sleep(0)
    second.start()
    while limiter.retry_after() < 3.0:
        time.sleep(0)
    clock.advance(1.5)
    first.join()
    second.join()
    assert results == {"first": True, "second": False}


def test_threads_that_try_once_get_no_more_than_the_capacity(clock):
    limiter = RateLimiter(rate=1.0, capacity=50, clock=clock)
    start = threading.Barrier(8)
    granted: list[bool] = []

    def contend() -> None:
        start.wait()
        granted.extend(limiter.acquire() for _ in range(25))

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 50


def test_threads_that_wait_get_no_more_than_flows_in(clock):
    limiter = RateLimiter(rate=10.0, capacity=5, clock=clock)

    def contend() -> None:
        for _ in range(25):
            assert limiter.acquire(timeout=None)

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic() - 1000.0 == pytest.approx((100 - 5) / 10.0)
    assert not limiter.acquire()


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("RATE_LIMIT_PER_SECOND", "2.5")
    monkeypatch.setenv("RATE_LIMIT_BURST", "7")
    limiter = RateLimiter.from_env()
    assert (limiter.rate, limiter.capacity) == (2.5, 7)
    default = RateLimiter.from_env(environ={"RATE_LIMIT_BURST": ""})
    assert (default.rate, default.capacity) == (10.0, 20)


@pytest.mark.parametrize(
    ("name", "value"),
    [("RATE_LIMIT_PER_SECOND", "0"), ("RATE_LIMIT_PER_SECOND", "fast"), ("RATE_LIMIT_BURST", "1.5")],
)
def test_a_bad_environment_value_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* got '{value}'"):
        RateLimiter.from_env(environ={name: value})

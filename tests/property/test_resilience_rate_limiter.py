"""The token bucket never grants more than it may, and refuses only what it must."""

import asyncio
import threading
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.resilience import RateLimiter
from nexus.testing import ManualClock

RATES = st.sampled_from([0.5, 1.0, 3.0, 10.0, 1000.0])
CAPACITIES = st.integers(1, 20)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 0.1, 0.7, 5.0]), st.integers(1, 8), st.sampled_from([0.0, 0.3, 2.0])
    ),
    max_size=40,
)


def assert_within_bounds(grants: Sequence[tuple[float, float]], rate: float, capacity: float) -> None:
    """No stretch of t seconds has more than capacity + rate * t tokens."""
    for first in range(len(grants)):
        total = 0.0
        for time, tokens in grants[first:]:
            total += tokens
            allowed = capacity + rate * (time - grants[first][0])
            assert total <= allowed + 1e-6 * (1 + rate)


@given(rate=RATES, capacity=CAPACITIES, steps=STEPS)
def test_one_caller_gets_what_a_plain_count_says(rate, capacity, steps):
    clock = ManualClock()
    limiter = RateLimiter(rate, capacity, clock=clock)
    grants = []
    level, updated = float(capacity), 0.0
    for pause, tokens, timeout in steps:
        clock.advance(pause)
        now = clock.monotonic()
        level = min(capacity, level + (now - updated) * rate)
        updated = now
        wait = (tokens - level) / rate
        granted = limiter.acquire(tokens, timeout=timeout)
        if wait < 1e-9 or abs(wait - timeout) > 1e-6:
            assert granted == (tokens <= capacity and (wait < 1e-9 or wait < timeout))
        if granted:
            grants.append((clock.monotonic(), tokens))
            level = min(capacity, level + (clock.monotonic() - updated) * rate) - tokens
            updated = clock.monotonic()
        else:
            assert clock.monotonic() == now
    assert_within_bounds(grants, rate, capacity)


@settings(max_examples=60, deadline=None)
@given(
    rate=RATES,
    capacity=CAPACITIES,
    wants=st.lists(
        st.tuples(st.integers(1, 20), st.sampled_from([0.0, 0.5, 3.0, None])), min_size=1, max_size=15
    ),
)
def test_tasks_that_come_at_once_are_served_in_order_as_soon_as_possible(rate, capacity, wants):
    wants = [(min(tokens, capacity), timeout) for tokens, timeout in wants]
    clock = ManualClock()
    limiter = RateLimiter(rate, capacity, clock=clock)
    grants: list[tuple[float, int]] = []

    async def take(tokens: int, timeout: float | None) -> bool:  # noqa: ASYNC109 - it is what is tested
        granted = await limiter.acquire_async(tokens, timeout)
        if granted:
            grants.append((clock.monotonic(), tokens))
        return granted

    async def run() -> list[bool]:
        return await asyncio.gather(*(take(*want) for want in wants))

    answers = asyncio.run(run())
    granted_before = 0
    expected_times = []
    for (tokens, timeout), answer in zip(wants, answers, strict=True):
        time = max(0.0, (granted_before + tokens - capacity) / rate)
        if timeout is None or abs(time - timeout) > 1e-6:
            assert answer == (timeout is None or time <= timeout)
        if answer:
            granted_before += tokens
            expected_times.append(time)
    assert all(
        abs(time - expected) < 1e-6 for (time, _), expected in zip(grants, expected_times, strict=True)
    )
    assert_within_bounds(grants, rate, capacity)


class Crowd:
    """Tasks that take tokens from one limiter, in time that only moves when told."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.clock = ManualClock(auto=False)
        self.limiter = RateLimiter(1.0, capacity, clock=self.clock)
        self.tasks: list[asyncio.Task[None]] = []
        self.grants: list[tuple[float, int]] = []

    async def do(self, what: str, number: float, timeout: float | None) -> None:  # noqa: ASYNC109 - it is what is tested
        if what == "take":
            self.tasks.append(asyncio.create_task(self._take(min(int(number), self.capacity), timeout)))
        elif what == "cancel" and self.tasks:
            self.tasks[int(number) % len(self.tasks)].cancel()
        elif what == "advance":
            self.clock.advance(number)
        await self._settle()

    async def finish(self) -> None:
        for _ in range(300):
            if all(task.done() for task in self.tasks):
                return
            self.clock.advance(1.0)
            await self._settle()
        raise AssertionError("a task waits for ever")

    async def _take(self, tokens: int, timeout: float | None) -> None:  # noqa: ASYNC109 - it is what is tested
        if await self.limiter.acquire_async(tokens, timeout):
            self.grants.append((self.clock.monotonic(), tokens))

    async def _settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 5),
    script=st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.integers(1, 5), st.sampled_from([0.0, 1.5, None])),
            st.tuples(st.just("cancel"), st.integers(0, 20), st.none()),
            st.tuples(st.just("advance"), st.sampled_from([0.25, 1.0, 2.5]), st.none()),
        ),
        max_size=30,
    ),
)
def test_cancelled_tasks_take_nothing_and_block_nobody(capacity, script):
    crowd = Crowd(capacity)

    async def run() -> None:
        for step in script:
            await crowd.do(*step)
        await crowd.finish()

    asyncio.run(run())
    assert_within_bounds(crowd.grants, 1.0, capacity)
    crowd.clock.advance(100.0)
    assert crowd.limiter.acquire(capacity)
    assert not crowd.limiter.acquire()


@settings(max_examples=15, deadline=None)
@given(capacity=st.integers(1, 10), takes=st.lists(st.integers(1, 10), min_size=2, max_size=4))
def test_threads_share_the_flow(capacity, takes):
    clock = ManualClock()
    limiter = RateLimiter(10.0, capacity, clock=clock)

    def take(times: int) -> None:
        for _ in range(times):
            assert limiter.acquire(timeout=None)

    threads = [threading.Thread(target=take, args=(times,)) for times in takes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(takes) <= capacity + 10.0 * clock.monotonic() + 1e-6
    assert clock.monotonic() <= max(0.0, (sum(takes) - capacity) / 10.0) + 1e-6

"""Virtual time moves only when a test or a sleeper moves it."""

import asyncio
import threading

import pytest

from nexus.core.clock import Clock
from nexus.testing import ManualClock


def test_it_goes_wherever_a_clock_is_taken():
    """The type checker accepts it as a Clock."""
    clock: Clock = ManualClock()
    assert clock.monotonic() == 0.0


def test_it_starts_where_it_is_told():
    """`start` is the first monotonic reading, `wall_start` the first Unix time."""
    clock = ManualClock(start=100.0, wall_start=5.0)
    assert (clock.monotonic(), clock.time()) == (100.0, 5.0)


def test_advance_moves_both_clocks():
    """Monotonic and wall time go on together."""
    clock = ManualClock()
    wall = clock.time()
    clock.advance(2.5)
    assert (clock.monotonic(), clock.time()) == (2.5, wall + 2.5)


def test_ten_tenths_are_one_second():
    """Time is counted in whole nanoseconds, so small steps do not drift."""
    clock = ManualClock()
    for _ in range(10):
        clock.advance(0.1)
    assert clock.monotonic() == 1.0


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_it_refuses_to_go_back(seconds):
    """Only the wall clock can go back."""
    clock = ManualClock()
    with pytest.raises(ValueError, match="forward only"):
        clock.advance(seconds)
    assert clock.monotonic() == 0.0


def test_a_wall_jump_leaves_monotonic_alone():
    """A clock correction of an hour back changes timestamps, not durations."""
    clock = ManualClock()
    wall = clock.time()
    clock.jump_wall(-3600)
    clock.advance(1)
    assert (clock.monotonic(), clock.time()) == (1.0, wall - 3599)


def test_sleep_moves_time_and_is_recorded():
    """A retry loop under test needs no one to drive it."""
    clock = ManualClock()
    clock.sleep(1)
    clock.sleep(0.5)
    assert (clock.monotonic(), clock.sleeps) == (1.5, [1, 0.5])


def test_sleeping_for_nothing_or_less_returns_at_once():
    """Zero and negative sleeps do not move time."""
    clock = ManualClock(auto=False)
    clock.sleep(0)
    clock.sleep(-1)
    assert clock.monotonic() == 0.0


def test_who_sleeps_until_a_moment_has_reached_it():
    """A third of a second is rounded up, so that a waiter does not find itself a hair early."""
    clock = ManualClock()
    clock.sleep(1 / 3)
    assert clock.monotonic() >= 1 / 3


async def test_async_sleep_moves_time_after_letting_others_run():
    """The sleeper yields to the loop before time passes."""
    clock = ManualClock()
    seen = []

    async def other() -> None:
        seen.append(clock.monotonic())

    task = asyncio.create_task(other())
    await clock.sleep_async(10)
    await task
    assert seen == [0.0]
    assert (clock.monotonic(), clock.sleeps) == (10.0, [10])


async def test_concurrent_sleepers_wake_in_the_order_of_their_deadlines():
    """Sleeping tasks overlap as they would in real time."""
    clock = ManualClock()
    woken = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep_async(nap)
            woken.append((name, clock.monotonic()))

    await asyncio.gather(sleeper("long", 10), sleeper("short", 1, 1, 1), sleeper("mid", 2.5))
    assert woken == [("short", 1.0), ("short", 2.0), ("mid", 2.5), ("short", 3.0), ("long", 10.0)]
    assert clock.waiting == 0


async def test_a_cancelled_sleeper_holds_nobody_up():
    """A task that left its sleep no longer has a deadline."""
    clock = ManualClock()
    first = asyncio.create_task(clock.sleep_async(1))
    second = asyncio.create_task(clock.sleep_async(5))
    await asyncio.sleep(0)
    assert clock.waiting == 2
    first.cancel()
    await second
    assert first.cancelled()
    assert (clock.monotonic(), clock.waiting) == (5.0, 0)


async def test_advance_ends_the_sleep_of_an_automatic_clock_too():
    """A waiter whose time has come by other means does not move the clock again."""
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep_async(1))
    await asyncio.sleep(0)
    clock.advance(60)
    await task
    assert clock.monotonic() == 60.0


async def test_a_driven_clock_suspends_tasks_until_advance():
    """With auto=False a task sleeps until someone else moves time far enough."""
    clock = ManualClock(auto=False)
    task = asyncio.create_task(clock.sleep_async(10))
    await clock.until_waiting()
    clock.advance(9)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    clock.advance(1)
    await task
    assert clock.monotonic() == 10.0


async def test_a_driven_background_loop_runs_once_per_period():
    """A loop that sleeps between rounds does one round for each time it is woken."""
    clock = ManualClock(auto=False)
    rounds = []

    async def loop() -> None:
        while True:
            rounds.append(clock.monotonic())
            await clock.sleep_async(5)

    task = asyncio.create_task(loop())
    for _ in range(3):
        await clock.until_waiting()
        clock.advance(5)
    await clock.until_waiting()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rounds == [0.0, 5.0, 10.0, 15.0]


async def test_another_thread_may_drive_a_task():
    """`advance` wakes tasks of a loop that runs in another thread."""
    clock = ManualClock(auto=False)
    task = asyncio.create_task(clock.sleep_async(1))
    await clock.until_waiting()
    await asyncio.to_thread(clock.advance, 1)
    await task
    assert clock.monotonic() == 1.0


async def test_advance_outlives_a_closed_loop():
    """A sleeper whose loop is gone does not break the test that goes on."""
    clock = ManualClock(auto=False)
    loop = asyncio.new_event_loop()
    coroutine = clock.sleep_async(1)

    def abandon():
        task = loop.create_task(coroutine)
        loop.run_until_complete(asyncio.sleep(0))
        clock_waits = clock.waiting
        task.get_loop().close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return clock_waits, task

    waits, _task = await asyncio.to_thread(abandon)
    assert waits == 1
    clock.advance(1)
    assert clock.monotonic() == 1.0


def test_a_driven_clock_blocks_threads_until_advance():
    """A thread sleeps until another one has moved time past its deadline."""
    clock = ManualClock(auto=False)
    readings = []

    def nap():
        clock.sleep(2)
        readings.append(clock.monotonic())

    thread = threading.Thread(target=nap)
    thread.start()
    while not clock.waiting:
        pass
    clock.advance(1)
    assert clock.waiting == 1
    clock.advance(1.5)
    thread.join(timeout=10)
    assert (readings, clock.waiting) == ([2.5], 0)


def test_threads_that_advance_lose_nothing():
    """Every advance of every thread counts."""
    clock = ManualClock()

    def drive():
        for _ in range(1000):
            clock.advance(0.001)

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic() == 4.0

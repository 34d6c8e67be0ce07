"""Time limits: virtual time for tasks; threads are held by an event, so their speed does not matter."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from nexus.resilience import TimeoutExceededError, with_timeout
from nexus.testing import ManualClock


async def until_asleep(clock: ManualClock) -> None:
    while not clock.waiting:  # noqa: ASYNC110 - nothing tells when a task has begun to sleep
        await asyncio.sleep(0)


async def test_a_call_in_time_gives_its_result():
    @with_timeout(5.0)
    async def ask(question: str) -> str:
        """Ask."""
        await asyncio.sleep(0)
        return question.upper()

    assert await ask("hi") == "HI"
    assert ask.__doc__ == "Ask."


async def test_a_call_out_of_time_is_cancelled_at_exactly_its_limit():
    clock = ManualClock(auto=False)
    cleaned_up = []

    @with_timeout(5.0, clock=clock)
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(clock.monotonic())

    task = asyncio.create_task(hang())
    await until_asleep(clock)
    clock.advance(4.999)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    clock.advance(0.001)
    with pytest.raises(TimeoutExceededError, match=r"hang did not finish within 5 s") as caught:
        await task
    assert caught.value.seconds == 5.0
    assert isinstance(caught.value, TimeoutError)
    assert cleaned_up == [5.0]


async def test_real_time_works_too():
    @with_timeout(0.01)
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutExceededError, match=r"within 0\.01 s"):
        await hang()


async def test_no_timer_is_left_behind_in_virtual_time():
    clock = ManualClock(auto=False)

    @with_timeout(5.0, clock=clock)
    async def ask() -> str:
        await until_asleep(clock)
        return "ok"

    assert await ask() == "ok"
    await asyncio.sleep(0)
    assert clock.waiting == 0


async def test_errors_of_the_call_pass_its_own_timeouts_too():
    @with_timeout(5.0)
    async def fail(error: Exception) -> None:
        raise error

    with pytest.raises(KeyError):
        await fail(KeyError("x"))
    with pytest.raises(TimeoutError) as caught:
        await fail(TimeoutError("mine"))
    assert not isinstance(caught.value, TimeoutExceededError)


async def test_cancellation_from_outside_stays_a_cancellation():
    clock = ManualClock(auto=False)

    @with_timeout(5.0, clock=clock)
    async def hang() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await until_asleep(clock)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_block_can_be_limited():
    async with with_timeout(5.0) as limit:
        assert limit.seconds == 5.0
    with pytest.raises(TimeoutExceededError, match="the block did not finish"):
        async with with_timeout(0.01):
            await asyncio.Event().wait()


async def test_a_limit_serves_one_block_at_a_time():
    limit = with_timeout(5.0)
    async with limit:
        with pytest.raises(RuntimeError, match="in use"):
            async with limit:
                pass
    async with limit:
        pass


def test_a_sync_call_in_time_gives_its_result_and_sees_the_context():
    variable = contextvars.ContextVar("variable", default="outside")
    variable.set("caller")

    @with_timeout(30.0)
    def ask(question: str) -> str:
        return f"{question} {variable.get()}"

    assert ask("hi") == "hi caller"


def test_a_sync_call_out_of_time_is_left_alone_and_its_result_dropped():
    release, finished = threading.Event(), threading.Event()

    @with_timeout(0.01)
    def hang() -> None:
        release.wait()
        finished.set()

    with pytest.raises(TimeoutExceededError, match=r"hang did not finish within 0\.01 s"):
        hang()
    assert not finished.is_set()
    release.set()
    assert finished.wait(10)


@pytest.mark.parametrize("error", [KeyError("x"), TimeoutError("mine"), SystemExit(3)])
def test_errors_of_a_sync_call_pass(error):
    @with_timeout(30.0)
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_limit_must_be_above_0(seconds):
    with pytest.raises(ValueError, match=r"^seconds must be a number above 0"):
        with_timeout(seconds)


def test_generator_functions_and_missing_parentheses_are_refused():
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="generator function"):
        with_timeout(1.0)(numbers)
    with pytest.raises(TypeError, match="with parentheses"):
        with_timeout(numbers)  # type: ignore[arg-type]

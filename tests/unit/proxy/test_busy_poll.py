"""When the loop looks for more work instead of going to sleep."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from nexus.core.clock import SystemClock
from nexus.proxy.busy_poll import BusyPoll
from nexus.proxy.turn import Turn
from nexus.testing import ManualClock

SECONDS = 200e-6


async def _turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def _run(
    test: Callable[[ManualClock, BusyPoll], Coroutine[Any, Any, None]], seconds: float = SECONDS
) -> None:
    async def run() -> None:
        clock = ManualClock(start=1000.0)
        await test(clock, BusyPoll(asyncio.get_running_loop(), clock, seconds))

    uvloop.run(run())


def _work(clock: ManualClock, poll: BusyPoll, turns: int, gap: float) -> None:
    for _ in range(turns):
        clock.advance(gap)
        poll.worked()


def test_it_looks_from_the_ninth_turn_in_quick_succession_on():
    async def test(clock: ManualClock, poll: BusyPoll) -> None:
        _work(clock, poll, 8, 50e-6)
        assert not poll.is_looking
        _work(clock, poll, 1, 50e-6)
        assert poll.is_looking

    _run(test)


def test_it_looks_as_long_as_it_was_told_to_and_no_longer():
    async def test(clock: ManualClock, poll: BusyPoll) -> None:
        _work(clock, poll, 9, 50e-6)
        clock.advance(199e-6)
        await _turns(20)
        assert poll.is_looking
        clock.advance(2e-6)
        await _turns()
        assert not poll.is_looking

    _run(test)


def test_work_that_is_found_makes_it_look_on():
    async def test(clock: ManualClock, poll: BusyPoll) -> None:
        _work(clock, poll, 9, 50e-6)
        for _ in range(5):
            clock.advance(150e-6)
            await _turns()
            poll.worked()
        assert poll.is_looking
        clock.advance(201e-6)
        await _turns()
        assert not poll.is_looking

    _run(test)


def test_a_look_in_vain_takes_eight_more_turns_to_be_repeated():
    async def test(clock: ManualClock, poll: BusyPoll) -> None:
        _work(clock, poll, 20, 50e-6)
        clock.advance(1.0)
        await _turns()
        _work(clock, poll, 8, 50e-6)
        await _turns()
        assert not poll.is_looking
        _work(clock, poll, 1, 50e-6)
        assert poll.is_looking

    _run(test)


@pytest.mark.parametrize("gaps", [(300e-6,), (50e-6,) * 7 + (300e-6,)], ids=["slow", "mostly quick"])
def test_it_never_looks_where_there_are_gaps(gaps: tuple[float, ...]):
    """A request every now and then, its answer right behind it: what most gateways see all day."""

    async def test(clock: ManualClock, poll: BusyPoll) -> None:
        for _ in range(50):
            for gap in gaps:
                _work(clock, poll, 1, gap)
                assert not poll.is_looking

    _run(test)


def test_zero_turns_it_off():
    async def test(clock: ManualClock, poll: BusyPoll) -> None:
        _work(clock, poll, 100, 0.0)
        assert not poll.is_looking

    _run(test, seconds=0.0)


def test_a_turn_tells_of_its_work():
    async def test(clock: ManualClock, poll: BusyPoll) -> None:
        turn = Turn(asyncio.get_running_loop(), poll)
        for number in range(9):
            assert not poll.is_looking, number
            clock.advance(10e-6)
            turn.asked(lambda: None)
            turn.write(lambda: None)  # the same turn
            await _turns(2)
        assert poll.is_looking

    _run(test)


def test_the_loop_sleeps_again_in_real_time():
    async def test() -> None:
        poll = BusyPoll(asyncio.get_running_loop(), SystemClock(), 0.005)
        async with asyncio.timeout(10.0):
            while not poll.is_looking:
                poll.worked()
            while poll.is_looking:
                await _turns(1)

    uvloop.run(test())

"""The writer in an event loop: receipts that come during a flush, regular flushes, the end."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from nexus.core.receipt import LedgerEntry
from nexus.ledger.writer import LedgerWriter
from nexus.testing import MemoryLedger
from tests.unit.ledger.conftest import Shop
from tests.unit.ledger.receipts import receipt, receipts
from tests.unit.ledger.writing import FULL, figures, offer


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the writer has no event for tests to wait for
        await asyncio.sleep(0)


def has_failed_since(writer: LedgerWriter, failures: int) -> bool:
    return writer.figures().failed_flushes > failures


class SlowLedger(MemoryLedger):
    """Lets the test act while an append is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        self.entered.set()
        assert self.go_on.wait(10)
        super().append(entries)


async def in_the_middle(shop: Shop, writer: LedgerWriter, act: Callable[[], None]) -> bool:
    """Flush, and call `act` while the store is being written."""
    slow = shop.ledger = SlowLedger()
    flushing = asyncio.create_task(writer.flush_async())
    await asyncio.to_thread(slow.entered.wait, 10)
    act()
    slow.go_on.set()
    return await flushing


async def test_what_comes_during_a_flush_waits_for_the_next(make, shop):
    writer = make()
    offer(writer, receipts(2))
    assert await in_the_middle(shop, writer, lambda: offer(writer, receipts(2, start=2)))
    assert shop.ledger.read() == receipts(2)
    assert figures(writer) == (2, 2, 0)
    assert await writer.flush_async()
    assert shop.ledger.read() == receipts(4)


async def test_a_flush_waits_for_the_one_under_way_and_takes_only_what_is_new(make, shop):
    writer = make()
    offer(writer, receipts(2))
    second: list[asyncio.Task[bool]] = []

    def act() -> None:
        offer(writer, receipts(1, start=2))
        second.append(asyncio.create_task(writer.flush_async()))

    assert await in_the_middle(shop, writer, act)
    assert await second[0]
    assert figures(writer) == (3, 0, 0)
    assert shop.ledger.read() == receipts(3)


async def test_more_receipts_than_there_is_room_for_can_be_flushed_in_between(make, shop):
    writer = make(capacity=3)
    for start in range(0, 12, 3):
        offer(writer, receipts(3, start=start))
        assert await writer.flush_async()
    assert figures(writer) == (12, 0, 0)
    assert shop.ledger.read() == receipts(12)


async def test_receipts_that_leave_a_full_buffer_while_they_are_written_are_not_lost(make, shop):
    writer = make(capacity=3)
    offer(writer, receipts(3))
    assert await in_the_middle(shop, writer, lambda: offer(writer, receipts(2, start=3)))
    assert figures(writer) == (3, 2, 0)
    await writer.flush_async()
    assert shop.ledger.read() == receipts(5)


async def test_only_what_left_the_buffer_unwritten_is_lost(make, shop):
    """Seven new ones come while three are written: those three are safe, four of the seven are lost."""
    writer = make(capacity=3)
    offer(writer, receipts(3))
    await in_the_middle(shop, writer, lambda: offer(writer, receipts(7, start=3)))
    assert figures(writer) == (3, 3, 4)
    await writer.flush_async()
    assert shop.ledger.read() == [*receipts(3), *receipts(3, start=7)]


async def test_what_leaves_a_full_buffer_during_a_failed_flush_is_lost(make, shop):
    writer = make(capacity=3)
    offer(writer, receipts(3))

    def act() -> None:
        offer(writer, receipts(2, start=3))
        shop.ledger.failure = FULL

    assert not await in_the_middle(shop, writer, act)
    assert figures(writer) == (0, 3, 2)
    shop.ledger.failure = None
    await writer.flush_async()
    assert shop.ledger.read() == receipts(3, start=2)


async def test_a_cancelled_flush_still_takes_its_receipts_out_of_the_buffer(make, shop):
    writer = make()
    offer(writer, receipts(2))
    slow = shop.ledger = SlowLedger()
    flushing = asyncio.create_task(writer.flush_async())
    await asyncio.to_thread(slow.entered.wait, 10)
    flushing.cancel()
    await asyncio.sleep(0)
    slow.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    assert figures(writer) == (2, 0, 0)
    await writer.flush_async()
    assert slow.read() == receipts(2)


async def test_it_flushes_every_interval(make, shop, clock):
    writer = make(flush_interval_seconds=2.0)
    writer.start()
    for number in range(3):
        await clock.until_waiting()
        offer(writer, [receipt(number)])
        clock.advance(1.9)
        await asyncio.sleep(0)
        assert writer.figures().pending == 1
        clock.advance(0.1)
        await until(lambda: not writer.figures().pending)
    assert shop.ledger.read() == receipts(3)
    await writer.stop()


async def test_a_buffer_that_is_a_quarter_full_is_flushed_early(make, shop, clock):
    writer = make(capacity=20, flush_interval_seconds=3600)
    writer.start()
    for start in (0, 5):
        await clock.until_waiting()
        offer(writer, receipts(4, start=start))
        await asyncio.sleep(0)
        assert writer.figures().pending == 4
        offer(writer, [receipt(start + 4)])
        await until(lambda: not writer.figures().pending)
    assert shop.ledger.read() == receipts(10)
    await writer.stop()


async def test_what_fills_the_buffer_during_a_flush_is_flushed_right_after_it(make, shop, clock):
    writer = make(capacity=20, flush_interval_seconds=3600)
    slow = shop.ledger = SlowLedger()
    writer.start()
    await clock.until_waiting()
    offer(writer, receipts(5))
    await asyncio.to_thread(slow.entered.wait, 10)
    offer(writer, receipts(10, start=5))
    slow.go_on.set()
    await until(lambda: not writer.figures().pending)
    assert slow.read() == receipts(15)
    await writer.stop()


async def test_a_failure_does_not_end_the_regular_flushes(make, shop, clock):
    writer = make()
    shop.ledger.failure = FULL
    offer(writer, receipts(1))
    writer.start()
    for _ in range(2):
        failures = writer.figures().failed_flushes
        await clock.until_waiting()
        clock.advance(1)
        await until(partial(has_failed_since, writer, failures))
    shop.ledger.failure = None
    await clock.until_waiting()
    clock.advance(1)
    await until(lambda: not writer.figures().pending)
    assert shop.ledger.read() == receipts(1)
    await writer.stop()


async def test_stopping_writes_what_is_left_and_closes_the_store(make, shop, said, clock):
    writer = make()
    writer.start()
    offer(writer, receipts(2))
    await writer.stop()
    assert shop.ledger.read() == receipts(2)
    assert shop.ledger.is_closed
    assert clock.waiting == 0
    assert said == []


async def test_stopping_without_a_start_writes_too(make, shop):
    writer = make()
    offer(writer, receipts(2))
    await writer.stop()
    assert shop.ledger.read() == receipts(2)


async def test_what_can_not_be_written_at_the_end_is_counted_and_said(make, shop, said):
    writer = make()
    shop.ledger.failure = FULL
    offer(writer, receipts(2))
    await writer.stop()
    assert figures(writer) == (0, 0, 2)
    assert said[-1] == f"2 receipts could not be written and are lost: {FULL}"

"""The writer takes receipts at once, stores each once, and keeps what it can't store."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from nexus.core.receipt import LedgerEntry
from nexus.ledger.store import LedgerError
from nexus.ledger.writer import LedgerFigures, LedgerWriter
from nexus.testing import ManualClock, MemoryLedger
from tests.unit.ledger.receipts import receipt, receipts

FULL = LedgerError("the ledger can't be written: disk full")


class Shop:
    """Opens the same memory ledger again and again, and counts how often."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.opened = 0
        self.failure: Exception | None = None

    def open(self) -> MemoryLedger:
        self.opened += 1
        if self.failure is not None:
            raise self.failure
        return self.ledger


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=False)


@pytest.fixture
def make(shop: Shop, said: list[str], clock: ManualClock) -> Callable[..., LedgerWriter]:
    def make_writer(**settings) -> LedgerWriter:
        return LedgerWriter(shop.open, clock, warn=said.append, **settings)

    return make_writer


def offer(writer: LedgerWriter, entries: Sequence[LedgerEntry]) -> None:
    for entry in entries:
        writer.offer(entry)


def figures(writer: LedgerWriter) -> tuple[int, int, int]:
    now = writer.figures()
    return now.written, now.pending, now.dropped


def test_what_is_offered_is_written_by_the_next_flush(make, shop):
    writer = make()
    offer(writer, receipts(3))
    assert shop.opened == 0
    assert figures(writer) == (0, 3, 0)
    assert writer.flush()
    assert shop.ledger.read() == receipts(3)
    assert writer.figures() == LedgerFigures(3, 0, 0, 0, "", 0.0)


def test_a_flush_of_nothing_opens_the_store_and_writes_nothing(make, shop):
    """A store that can't be used is noticed before the first receipt."""
    writer = make()
    assert writer.flush()
    assert shop.opened == 1
    assert figures(writer) == (0, 0, 0)


def test_a_failed_append_keeps_its_receipts_for_the_next_flush(make, shop):
    writer = make()
    shop.ledger.failure = FULL
    offer(writer, receipts(2))
    assert not writer.flush()
    assert figures(writer) == (0, 2, 0)
    offer(writer, receipts(1, start=2))
    shop.ledger.failure = None
    assert writer.flush()
    assert shop.ledger.read() == receipts(3)
    assert figures(writer) == (3, 0, 0)


def test_failures_are_counted_and_said_once_until_writing_works_again(make, shop, said, clock):
    writer = make()
    shop.ledger.failure = FULL
    clock.advance(5)
    for _ in range(3):
        writer.flush()
        offer(writer, receipts(1))
        clock.advance(1)
    now = writer.figures()
    assert now.failed_flushes == 2  # the first had nothing to write
    assert now.last_error == str(FULL)
    assert now.behind_seconds == 3.0
    assert len(said) == 1
    assert said[0].startswith(str(FULL))
    shop.ledger.failure = None
    writer.flush()
    assert said[1:] == ["the ledger can be written again"]
    assert (writer.figures().last_error, writer.figures().behind_seconds) == ("", 0.0)


def test_a_store_that_can_not_be_opened_yet_is_tried_again(make, shop):
    writer = make()
    shop.failure = LedgerError("no such server")
    offer(writer, receipts(1))
    assert not writer.flush()
    assert writer.figures().last_error == "no such server"
    shop.failure = None
    assert writer.flush()
    assert (shop.opened, shop.ledger.read()) == (2, receipts(1))


def test_after_a_failure_the_store_is_closed_and_opened_anew(make, shop):
    writer = make()
    writer.flush()
    shop.ledger.failure = FULL
    offer(writer, receipts(1))
    writer.flush()
    assert shop.ledger.is_closed
    shop.ledger.failure = None
    writer.flush()
    writer.flush()
    assert shop.opened == 2


def test_the_oldest_are_dropped_when_the_buffer_is_full(make, shop):
    writer = make(capacity=3)
    offer(writer, receipts(5))
    assert figures(writer) == (0, 3, 2)
    writer.flush()
    assert shop.ledger.read() == receipts(3, start=2)
    assert figures(writer) == (3, 0, 2)


def test_the_buffer_holds_5000_unless_told_otherwise(make):
    writer = make()
    offer(writer, receipts(5001))
    assert figures(writer) == (0, 5000, 1)


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


async def test_a_buffer_that_is_half_full_is_flushed_early(make, shop, clock):
    writer = make(capacity=10, flush_interval_seconds=3600)
    writer.start()
    for start in (0, 5):
        await clock.until_waiting()
        offer(writer, receipts(5, start=start))
        await until(lambda: not writer.figures().pending)
    assert shop.ledger.read() == receipts(10)
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


def test_closing_does_the_same_without_an_event_loop(make, shop, said):
    writer = make()
    offer(writer, receipts(2))
    writer.close()
    assert shop.ledger.read() == receipts(2)
    assert shop.ledger.is_closed
    assert said == []


def test_the_store_is_pruned_at_the_first_flush_and_after_a_hundredth_of_the_cap(make, shop):
    shop.ledger.append(receipts(450))
    writer = make(max_entries=300)
    writer.flush()
    assert len(shop.ledger.read()) == 300
    offer(writer, receipts(2, start=450))
    writer.flush()
    assert len(shop.ledger.read()) == 302
    offer(writer, receipts(1, start=452))
    writer.flush()
    assert shop.ledger.read() == receipts(300, start=153)


def test_without_a_cap_nothing_is_pruned(make, shop):
    writer = make(max_entries=0)
    shop.ledger.prune = None
    offer(writer, receipts(200))
    assert writer.flush()
    assert len(shop.ledger.read()) == 200


def test_receipts_are_stored_once_though_pruning_failed_after_their_append(make, shop):
    class NoPruning(MemoryLedger):
        def prune(self, max_entries: int) -> int:
            raise LedgerError(f"can't be pruned to {max_entries}")

    shop.ledger = NoPruning()
    writer = make(max_entries=5)
    offer(writer, receipts(2))
    assert not writer.flush()
    assert writer.figures().last_error == "can't be pruned to 5"
    assert figures(writer) == (2, 0, 0)


def test_a_receipt_that_can_not_be_stored_at_all_does_not_block_the_later_ones(make, shop, caplog):
    writer = make()
    offer(writer, [receipt(0, latency_ms=object())])
    assert not writer.flush()
    assert writer.figures().last_error.startswith("TypeError: ")
    assert figures(writer) == (0, 0, 1)
    assert "receipts could not be stored" in caplog.text
    offer(writer, receipts(1))
    assert writer.flush()
    assert shop.ledger.read() == receipts(1)


def test_a_store_that_can_not_even_be_closed_is_logged_and_forgotten(make, shop, caplog):
    class Stuck(MemoryLedger):
        def close(self) -> None:
            raise OSError("stuck")

    shop.ledger = Stuck()
    writer = make()
    offer(writer, receipts(1))
    writer.close()
    assert "could not be closed: stuck" in caplog.text
    assert figures(writer) == (1, 0, 0)

"""The writer takes receipts at once, stores each once, and keeps what it can't store."""

from nexus.ledger.store import LedgerError
from nexus.ledger.writer import LedgerFigures
from nexus.testing import MemoryLedger
from tests.unit.ledger.receipts import receipt, receipts
from tests.unit.ledger.writing import FULL, figures, offer


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


def test_a_much_lower_cap_is_reached_over_several_flushes(make, shop, monkeypatch):
    """Removing millions takes long; receipts that come meanwhile must not wait for the last of them."""
    monkeypatch.setattr("nexus.ledger.writer.PRUNED_AT_ONCE", 100)
    shop.ledger.append(receipts(550))
    writer = make(max_entries=300)
    for left in (450, 351, 300, 301):
        writer.flush()
        assert len(shop.ledger.read()) == left
        offer(writer, receipts(1, start=550 + left))


def test_under_full_load_a_flush_removes_no_more_than_twice_what_it_wrote(make, shop):
    """Else a buffer that fills up in a moment would drop receipts while thousands are removed."""
    shop.ledger.append(receipts(500))
    writer = make(max_entries=300, capacity=40)
    offer(writer, receipts(10, start=500))  # a quarter of the buffer: it is flushed early
    writer.flush()
    assert len(shop.ledger.read()) == 490
    offer(writer, receipts(9, start=510))
    writer.flush()
    assert shop.ledger.read() == receipts(300, start=219)


def test_without_a_cap_nothing_is_pruned(make, shop):
    writer = make(max_entries=0)
    shop.ledger.prune = None
    offer(writer, receipts(200))
    assert writer.flush()
    assert len(shop.ledger.read()) == 200


def test_receipts_are_stored_once_though_pruning_failed_after_their_append(make, shop):
    class NoPruning(MemoryLedger):
        def prune(self, max_entries: int, limit: int = 0) -> int:
            raise LedgerError(f"can't be pruned to {max_entries}, by {limit}")

    shop.ledger = NoPruning()
    writer = make(max_entries=5)
    offer(writer, receipts(2))
    assert not writer.flush()
    assert writer.figures().last_error == "can't be pruned to 5, by 20000"
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

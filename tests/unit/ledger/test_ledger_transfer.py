"""Receipts are copied once, in order, and from files with mistakes in them."""

from io import BytesIO

from nexus.ledger.transfer import Copied, Lines, copy_receipts, write_lines
from nexus.testing import MemoryLedger
from tests.unit.ledger.receipts import receipt, receipts


def test_a_copy_holds_the_same_receipts_in_the_same_order():
    source, target = MemoryLedger(), MemoryLedger()
    source.append(receipts(2050))
    assert copy_receipts(source.scan(), target) == Copied(2050, 0)
    assert target.read() == receipts(2050)


def test_what_the_target_has_already_is_left_out():
    target = MemoryLedger()
    target.append(receipts(3, start=1))
    assert copy_receipts(receipts(5), target) == Copied(2, 3)
    assert {entry.trace_id for entry in target.read()} == {entry.trace_id for entry in receipts(5)}


def test_a_receipt_that_stands_twice_in_the_source_is_stored_once():
    target = MemoryLedger()
    assert copy_receipts([*receipts(2), *receipts(2)], target) == Copied(2, 2)


def test_the_same_call_at_another_time_is_another_receipt():
    target = MemoryLedger()
    assert copy_receipts([receipt(), receipt(timestamp=1.0)], target) == Copied(2, 0)


def test_a_batch_that_is_just_full_is_stored():
    target = MemoryLedger()
    assert copy_receipts(receipts(1000), target) == Copied(1000, 0)
    assert len(target.read()) == 1000


def test_lines_are_written_and_read_back_and_what_is_no_receipt_is_counted():
    output = BytesIO()
    assert write_lines(receipts(3), output) == 3
    lines = Lines([*BytesIO(output.getvalue()), b"\n", b"\xff\n", b'{"torn'])
    assert list(lines) == receipts(3)
    assert lines.skipped == 2

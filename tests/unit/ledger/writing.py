"""What the tests of the writer share."""

from collections.abc import Sequence

from nexus.core.receipt import LedgerEntry
from nexus.ledger.store import LedgerError
from nexus.ledger.writer import LedgerWriter

FULL = LedgerError("the ledger can't be written: disk full")


def offer(writer: LedgerWriter, entries: Sequence[LedgerEntry]) -> None:
    for entry in entries:
        writer.offer(entry)


def figures(writer: LedgerWriter) -> tuple[int, int, int]:
    now = writer.figures()
    return now.written, now.pending, now.dropped

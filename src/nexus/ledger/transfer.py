"""Receipts from one ledger to another, and to a file of lines."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from nexus.core.receipt import LedgerEntry
from nexus.ledger.lines import decode, encode
from nexus.ledger.store import LedgerStore

_BATCH = 1000


class Copied(NamedTuple):
    """How many receipts were `stored`, and how many the target had already."""

    stored: int
    known: int


def copy_receipts(source: Iterable[LedgerEntry], target: LedgerStore) -> Copied:
    """Append the receipts that `target` does not have yet, in their order, a thousand at a time.

    A receipt is the same if its `trace_id` and `timestamp` are. An interrupted copy can be run again.

    Raises:
        LedgerError: the target can't be read or written; what was stored before stays.
    """
    known = {_key(entry) for entry in target.scan()}
    stored = skipped = 0
    batch: list[LedgerEntry] = []
    for entry in source:
        if _key(entry) in known:
            skipped += 1
            continue
        known.add(_key(entry))
        batch.append(entry)
        if len(batch) == _BATCH:
            target.append(batch)
            stored += _BATCH
            batch.clear()
    target.append(batch)
    return Copied(stored + len(batch), skipped)


def write_lines(source: Iterable[LedgerEntry], output: BinaryIO) -> int:
    """Write each receipt as one line of JSON; returns how many."""
    count = 0
    for entry in source:
        output.write(encode(entry).json + b"\n")
        count += 1
    return count


class Lines:
    """The receipts in lines of JSON, one at a time. `skipped` counts the lines so far that held none."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.skipped = 0
        self._lines = lines

    def __iter__(self) -> Iterator[LedgerEntry]:
        """Go through the lines once."""
        for line in self._lines:
            entry = decode(line)
            if entry is not None:
                yield entry
            elif not line.isspace():
                self.skipped += 1


def _key(entry: LedgerEntry) -> tuple[str, float]:
    return entry.trace_id, entry.timestamp

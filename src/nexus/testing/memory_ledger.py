"""A ledger without a disk."""

from collections.abc import Iterator, Sequence

from nexus.core.receipt import LedgerEntry
from nexus.ledger.lines import decode_all, encode


class MemoryLedger:
    """A `LedgerStore` in memory, held to the same contract as the real ones.

    Set `failure` to an exception, and `append` raises it until it is None again. `is_closed` tells whether
    `close` was called; the receipts can be read all the same.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.is_closed = False
        self._lines: dict[tuple[str, float], bytes] = {}

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Keep those that are not there yet."""
        if self.failure is not None:
            raise self.failure
        for line in map(encode, entries):
            self._lines.setdefault((line.trace_id, line.timestamp), line.json)

    def read(self, limit: int = 0) -> list[LedgerEntry]:
        """The newest `limit` in the order written, all for 0 or less."""
        entries = decode_all(self._lines.values())
        return entries[-limit:] if limit > 0 else entries

    def scan(self) -> Iterator[LedgerEntry]:
        """All of them, oldest first."""
        return iter(self.read())

    def prune(self, max_entries: int, limit: int = 0) -> int:
        """Keep the newest `max_entries`; 0 or less removes nothing. At most `limit` go, unless that is 0."""
        surplus = list(self._lines)[:-max_entries] if max_entries > 0 else []
        if limit > 0:
            del surplus[limit:]
        for key in surplus:
            del self._lines[key]
        return len(surplus)

    def close(self) -> None:
        """Note it."""
        self.is_closed = True

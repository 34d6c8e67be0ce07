"""What every store of receipts can do, and the error they all raise."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from nexus.core.errors import NexusError
from nexus.core.receipt import LedgerEntry


class LedgerError(NexusError):
    """A ledger can't be opened, read or written; the message says which one and why. Nothing was stored."""


class LedgerStore(Protocol):
    """Receipts in the order in which they were written.

    A receipt is known by its `trace_id` and `timestamp`. Every method may be called from any thread; calls to
    one store wait for each other. Several processes may have the same store open.
    """

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Store all of them durably, or none.

        After a failed `append` the same receipts can be appended again: each is then stored once.

        Raises:
            LedgerError: they could not be stored.
        """
        ...

    def read(self, limit: int = 0) -> list[LedgerEntry]:
        """The newest `limit` receipts in the order written, all for 0. What can't be decoded is left out.

        Raises:
            LedgerError: the store can't be read.
        """
        ...

    def scan(self) -> Iterator[LedgerEntry]:
        """All receipts as `read(0)` gives them, without holding them all in memory. Raises as `read` does."""
        ...

    def prune(self, max_entries: int, limit: int = 0) -> int:
        """Keep the newest `max_entries` and return how many were removed; 0 or less removes nothing.

        Appends wait meanwhile. Where that takes longer the more are removed, it is at most the `limit` oldest
        (0: all that are too many); call it again until it returns 0.

        Raises:
            LedgerError: nothing was removed.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections; closing twice is allowed. The store can't be used afterwards."""
        ...

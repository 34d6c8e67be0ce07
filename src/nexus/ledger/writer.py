"""Receipts on their way to the store: a bounded buffer that a thread empties."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from nexus.core.clock import Clock
from nexus.core.receipt import LedgerEntry
from nexus.ledger.store import LedgerError, LedgerStore

_LOG = logging.getLogger("nexus.ledger")
BUFFER_ENTRIES = 5_000
PRUNED_AT_ONCE = 20_000
"""Receipts to remove in one go. Others can not write meanwhile: 0.03 s in SQLite, 0.1 s in PostgreSQL."""
_PRUNE_SHARE = 100
_EARLY_SHARE = 4


class LedgerFigures(Struct, frozen=True):
    """How a `LedgerWriter` fares. Counts are since it was made.

    `written` receipts are in the store, `pending` wait in the buffer, `dropped` are lost: the buffer was full
    or they could not be stored. `failed_flushes` counts tries that failed; `last_error` says why the last one
    did and is empty after one that worked. `behind_seconds` is the time since the last try that worked, 0
    while all is well.
    """

    written: int
    pending: int
    dropped: int
    failed_flushes: int
    last_error: str
    behind_seconds: float


class LedgerWriter:
    """Takes receipts without waiting and stores them from a thread, every `flush_interval_seconds`.

    The store is opened by the first flush and opened anew after a failure, so a disk or a server that comes
    back is used again by itself. A failed flush keeps its receipts for the next one; each is stored once. Of
    more than `capacity` waiting receipts the oldest are dropped and counted. A buffer that is a quarter full
    is flushed early. After about every hundredth part of `max_entries` the store is pruned to that number, by
    20,000 receipts per flush where there are many too many.

    `start` and `stop` frame the life in an event loop; `offer` is then for that loop's thread. Who has more
    receipts to offer at once than there is room for awaits `flush_async` in between. Without a loop, `offer`,
    `flush` and `close` are for one thread.

    Args:
        open_store: makes the store; called in the thread that writes. Usually `lambda: open_ledger(url)`.
        clock: paces the flushes.
        flush_interval_seconds: time between two flushes.
        max_entries: receipts kept in the store; 0 keeps all.
        capacity: receipts held while they can't be written.
        warn: told in one sentence when writing begins to fail, works again, or receipts are lost.
    """

    def __init__(
        self,
        open_store: Callable[[], LedgerStore],
        clock: Clock,
        *,
        flush_interval_seconds: float = 1.0,
        max_entries: int = 0,
        capacity: int = BUFFER_ENTRIES,
        warn: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._open_store = open_store
        self._clock = clock
        self._interval = flush_interval_seconds
        self._max_entries = max_entries
        self._capacity = capacity
        self._early = max(1, capacity // _EARLY_SHARE)
        self._warn = warn
        self._waiting: deque[LedgerEntry] = deque()
        self._nearly_full = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._store: LedgerStore | None = None
        self._store_lock = threading.Lock()
        self._unpruned = self._prune_step = max(1, max_entries // _PRUNE_SHARE)
        self._written = self._dropped = self._failed_flushes = 0
        self._last_error = ""
        self._last_success = clock.monotonic()

    def offer(self, *entries: LedgerEntry) -> None:
        """Take receipts; returns at once and never raises."""
        waiting = self._waiting
        before = len(waiting)
        waiting.extend(entries)
        if before < self._early <= len(waiting):
            self._nearly_full.set()
        while len(waiting) > self._capacity:
            waiting.popleft()
            self._dropped += 1

    def figures(self) -> LedgerFigures:
        """How it fares now."""
        behind = self._clock.monotonic() - self._last_success if self._last_error else 0.0
        return LedgerFigures(
            self._written, len(self._waiting), self._dropped, self._failed_flushes, self._last_error, behind
        )

    # --- in an event loop

    def start(self) -> None:
        """Flush regularly from now on. Needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger")

    async def stop(self) -> None:
        """End the regular flushes, try once more to write what waits, and close the store.

        What can't be written then is lost: it is counted as dropped, and `warn` is told how much it is.
        """
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.flush_async()
        await asyncio.to_thread(self._close_store)
        self._give_up()

    async def flush_async(self) -> bool:
        """As `flush`, with the store in another thread. Waits for a flush that is under way."""
        async with self._flushing:
            return await self._flush_in_thread()

    async def _flush_in_thread(self) -> bool:
        batch = list(self._waiting)
        dropped = self._dropped
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, batch))
        try:
            await asyncio.wait((writing,))
        finally:
            # A thread can't be stopped half-way, so a cancelled flush still learns what came of it.
            if not writing.done():
                await asyncio.wait((writing,))
            is_written = self._conclude(batch, dropped, writing.result())
        return is_written

    async def _run(self) -> None:
        while True:
            await self._until_due()
            await self.flush_async()

    async def _until_due(self) -> None:
        """Wait for the interval to pass, or for the buffer to fill up."""
        if len(self._waiting) >= self._early and not self._last_error:
            return  # that much came during the flush before
        self._nearly_full.clear()
        pauses = (
            asyncio.ensure_future(self._clock.sleep_async(self._interval)),
            asyncio.ensure_future(self._nearly_full.wait()),
        )
        try:
            await asyncio.wait(pauses, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pause in pauses:
                pause.cancel()

    # --- without one

    def flush(self) -> bool:
        """Write what waits; blocks for the store. False if that failed and the receipts still wait."""
        batch = list(self._waiting)
        return self._conclude(batch, self._dropped, self._write(batch))

    def close(self) -> None:
        """Try once more to write what waits, and close the store; as `stop`, blocking."""
        self.flush()
        self._close_store()
        self._give_up()

    def _conclude(self, batch: list[LedgerEntry], dropped: int, failure: "_Failure | None") -> bool:
        """Take a flush's receipts out of the buffer; `dropped` is the count from when it began."""
        if failure is None or failure.is_stored:
            gone = min(self._dropped - dropped, len(batch))
            # The buffer let go of these while they were being written: they are not lost.
            self._dropped -= gone
            self._take_out(len(batch) - gone)
            self._written += len(batch)
        elif failure.is_hopeless:
            gone = min(self._dropped - dropped, len(batch))
            self._take_out(len(batch) - gone)
            self._dropped += len(batch) - gone
        self._book(failure)
        return failure is None

    def _take_out(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()

    def _book(self, failure: "_Failure | None") -> None:
        if failure is None:
            if self._last_error:
                self._warn("the ledger can be written again")
            self._last_error = ""
            self._last_success = self._clock.monotonic()
            return
        self._failed_flushes += 1
        if not self._last_error:
            self._warn(f"{failure.reason}; receipts wait in memory, the oldest are dropped when it is full")
        self._last_error = failure.reason

    def _give_up(self) -> None:
        lost = len(self._waiting)
        if lost:
            self._dropped += lost
            self._waiting.clear()
            self._warn(f"{lost} receipts could not be written and are lost: {self._last_error}")

    # --- the store; runs in another thread, so nothing below changes what is above

    def _write(self, batch: list[LedgerEntry]) -> "_Failure | None":
        with self._store_lock:
            stored = False
            try:
                if self._store is None:
                    self._store = self._open_store()
                if batch:
                    self._store.append(batch)
                    stored = True
                self._prune(self._store, len(batch))
            except LedgerError as error:
                self._discard_store()
                return _Failure(str(error), is_stored=stored)
            except Exception as error:  # noqa: BLE001 - a receipt of the wrong shape would block all later ones
                _LOG.exception("receipts could not be stored")
                self._discard_store()
                return _Failure(f"{type(error).__name__}: {error}", is_stored=stored, is_hopeless=True)
            return None

    def _prune(self, store: LedgerStore, added: int) -> None:
        if self._max_entries <= 0:
            return
        self._unpruned += added
        if self._unpruned < self._prune_step:
            return
        # Under full load only twice as many go as were written: the buffer must hold what comes meanwhile.
        limit = PRUNED_AT_ONCE if added < self._early else min(PRUNED_AT_ONCE, 2 * added)
        # Where more are left, the next flush goes on: receipts that came meanwhile are written first.
        if store.prune(self._max_entries, limit) != limit:
            self._unpruned = 0

    def _close_store(self) -> None:
        with self._store_lock:
            self._discard_store()

    def _discard_store(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            store.close()
        except Exception as error:  # noqa: BLE001 - drivers raise their own errors; there is nothing left to save
            _LOG.warning("the ledger could not be closed: %s", error)


class _Failure(Struct, frozen=True):
    """Why a flush failed.

    `is_stored`: only what came after the append did. `is_hopeless`: the same append would fail again.
    """

    reason: str
    is_stored: bool = False
    is_hopeless: bool = False

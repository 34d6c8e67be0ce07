"""Outcomes in the gateway: every request that reached a backend is tracked, and its receipt kept."""

import asyncio
import logging

from nexus.app.call_recorder import record_calls
from nexus.app.conversations import Conversations
from nexus.config.model import Config
from nexus.core.clock import Clock
from nexus.core.receipt import LedgerEntry, ReceiptReceiver
from nexus.ledger.open import open_ledger
from nexus.ledger.writer import LedgerWriter
from nexus.outcomes import InferredOutcome, OutcomeTracker, SignalResult
from nexus.outcomes.profile_file import PROFILES_FILE
from nexus.outcomes.signals.reader import SignalReader
from nexus.server.service import Periodic
from nexus.telemetry.outcomes import OutcomeCounts

_log = logging.getLogger("nexus.outcomes")
NO_LEDGER = "none"
_SWEEP_SECONDS = 0.25
_SWEEP_AT_ONCE = 500
_SAVE_SECONDS = 5.0


class Outcomes:
    """Tracks what became of the gateway's answers.

    Everything on the path of a request stays in memory; sweeping, saving and the ledger are background work.

    Args:
        config: `data_dir`, `[outcomes]` and `[ledger]` of it.
        clock: time.
        receivers: told of each receipt, in the event loop's thread, before the ledger; and of an answer that
            was followed up without a word on it, at once, as of a receipt.
    """

    def __init__(self, config: Config, clock: Clock, *, receivers: tuple[ReceiptReceiver, ...] = ()) -> None:
        self._ttl = config.outcomes.pending_ttl_seconds
        self._path = config.data_dir / PROFILES_FILE
        self._receivers = receivers
        self._save_failed = False
        self._writer: LedgerWriter | None = None
        url = config.ledger.url
        if url != NO_LEDGER:
            self._writer = LedgerWriter(
                lambda: open_ledger(url),
                clock,
                flush_interval_seconds=config.ledger.flush_interval_seconds,
                max_entries=config.ledger.max_entries,
            )
        self.tracker = OutcomeTracker(
            clock,
            git_deadline_seconds=config.outcomes.git_deadline_seconds,
            receipts=self._receive,
            max_pending=config.outcomes.max_pending,
        )
        self.record_requests = record_calls(self.tracker)
        reader = self._make_reader() if config.outcomes.implicit_signals else None
        self.conversations = Conversations(
            reader, self._resolve, self.tracker.attach_suggestions, followed_up=self._followed_up
        )

    def _make_reader(self) -> SignalReader:
        return SignalReader(waits=self.tracker.is_pending)

    def _resolve(self, trace_id: str, outcome: InferredOutcome, signal: str) -> SignalResult:
        return self.tracker.record_inferred_outcome(trace_id, outcome, signal=signal)

    def _followed_up(self, trace_id: str) -> LedgerEntry | None:
        """Say at once what the receipt will say much later: the call itself still waits for a signal."""
        entry = self.tracker.note_followed_up(trace_id)
        if entry is not None:
            for receive in self._receivers:
                receive(entry)
        return entry

    def _receive(self, *entries: LedgerEntry) -> None:
        for receive in self._receivers:
            receive(*entries)
        if self._writer is not None:
            self._writer.offer(*entries)

    # --- beside it

    def periodics(self) -> tuple[Periodic, ...]:
        """The background work."""
        return (
            self.conversations.periodic(),
            Periodic("outcomes", _SWEEP_SECONDS, self.sweep),
            Periodic("profiles", _SAVE_SECONDS, self.save),
        )

    def load(self) -> None:
        """Take over the profiles of the data directory; trouble with them is logged and stops nothing."""
        try:
            self.tracker.load_from_file(self._path)
        except OSError as error:
            _log.warning("profiles can't be read from %s (%s); they start anew", self._path, error.strerror)

    def start(self) -> None:
        """Begin to write receipts; needs a running event loop."""
        if self._writer is not None:
            self._writer.start()

    async def sweep(self) -> None:
        """Make receipts of the calls whose time for a signal is over, a few at a time."""
        taken = _SWEEP_AT_ONCE
        while taken == _SWEEP_AT_ONCE:
            taken = self.tracker.sweep_pending(self._ttl, limit=_SWEEP_AT_ONCE)
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Read the answers that were given a moment ago."""
        await self.conversations.settle()

    async def save(self) -> None:
        """Write profiles that changed, in another thread."""
        if self.tracker.is_dirty():
            await asyncio.to_thread(self._save)

    async def flush(self) -> None:
        """Write the receipts there are."""
        if self._writer is not None:
            await self._writer.flush_async()

    async def stop(self) -> None:
        """Make receipts of all calls that ended, and write everything."""
        self.conversations.read_all()
        while self.tracker.resolve_rest(_SWEEP_AT_ONCE):
            await self.flush()
        await self.save()
        if self._writer is not None:
            await self._writer.stop()

    def counts(self) -> OutcomeCounts:
        """For metrics."""
        figures = self.tracker.figures()
        written = waiting = dropped = 0
        if self._writer is not None:
            ledger = self._writer.figures()
            written, waiting, dropped = ledger.written, ledger.pending, ledger.dropped
        unread = self.conversations.unread
        return OutcomeCounts(
            figures.resolutions, figures.pending, figures.abandoned, written, waiting, dropped, unread
        )

    def _save(self) -> None:
        try:
            self.tracker.save_to_file(self._path)
        except OSError as error:
            if not self._save_failed:
                _log.warning(
                    "profiles can't be written to %s (%s); they are kept in memory",
                    self._path,
                    error.strerror,
                )
            self._save_failed = True
        else:
            self._save_failed = False

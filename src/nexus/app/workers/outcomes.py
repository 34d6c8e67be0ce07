"""What became of answers, over all workers: a follow-up may reach another one than gave the answer."""

import asyncio
from typing import Final

from nexus.app.outcomes import Outcomes
from nexus.app.workers.outcome_news import MOST_ANSWERS, OutcomeNews, SharedReader, SignalNews
from nexus.config.model import Config
from nexus.core.clock import Clock
from nexus.core.receipt import LedgerEntry, ReceiptReceiver
from nexus.outcomes import InferredOutcome, SignalResult
from nexus.outcomes.signals.reader import SignalReader

_UNKNOWN: Final = "unknown trace"
_EXPIRED: Final = "expired"
_MOST_RECEIPTS: Final = 500
_MOST_EXPIRED: Final = 25


class SharedOutcomes(Outcomes):
    """Tracks the calls of this worker, and passes on what is said here of the calls of others.

    `outdated`: others have had calls since the profiles were last read from the file that all add to.
    """

    def __init__(
        self, config: Config, clock: Clock, *, key: bytes, receivers: tuple[ReceiptReceiver, ...]
    ) -> None:
        self._reader = SharedReader(key)
        self._news = OutcomeNews()
        self._expired = 0
        self.outdated = False
        super().__init__(config, clock, receivers=receivers)

    def take(self) -> OutcomeNews | None:
        """What the others must hear since the last call; None where there is nothing."""
        news, self._news = self._news, OutcomeNews()
        self._expired = 0
        news.answers, self._reader.told = self._reader.told, []
        return news or None

    def hear(self, news: OutcomeNews) -> None:
        """Another worker's."""
        for answer in news.answers:
            self._reader.hear(answer)
        for each in news.signals:
            # Not known here either: then it is another worker's, or too old.
            self.tracker.record_inferred_outcome(each.trace_id, each.outcome, signal=each.signal)
        for trace_id in news.followed:
            self._note_followed_up(trace_id)
        for receive in self._receivers:
            receive(*news.receipts)

    async def save(self) -> None:
        """Add what changed to the file of the profiles, and take in what others added, in another thread."""
        if self.outdated or self.tracker.is_dirty():
            self.outdated = False
            await asyncio.to_thread(self._save)

    def _make_reader(self) -> SignalReader:
        return self._reader

    def _resolve(self, trace_id: str, outcome: InferredOutcome, signal: str) -> SignalResult:
        result = super()._resolve(trace_id, outcome, signal)
        if not result.applied and result.reason == _UNKNOWN:
            self._news.signals.append(SignalNews(trace_id, outcome, signal))
        return result

    def _followed_up(self, trace_id: str) -> LedgerEntry | None:
        entry = self._note_followed_up(trace_id)
        if entry is None and self.tracker.get_pending(trace_id) is None:
            followed = self._news.followed
            if self.tracker.receipt(trace_id) is None and len(followed) < MOST_ANSWERS:
                followed.append(trace_id)
        return entry

    def _note_followed_up(self, trace_id: str) -> LedgerEntry | None:
        """Learn from it here, and let the others learn from it."""
        entry = super()._followed_up(trace_id)
        if entry is not None and len(self._news.receipts) < _MOST_RECEIPTS:
            self._news.receipts.append(entry)
        return entry

    def _receive(self, *entries: LedgerEntry) -> None:
        super()._receive(*entries)
        receipts = self._news.receipts
        for entry in entries:
            if entry.signal == _EXPIRED:
                # These teach only what calls cost and how long they took, and there may be very many.
                self._expired += 1
                if self._expired > _MOST_EXPIRED:
                    continue
            if len(receipts) < _MOST_RECEIPTS:
                receipts.append(entry)

"""What became of answers, over all workers: a follow-up may reach another one than gave the answer."""

import asyncio

from msgspec import Struct
from msgspec.structs import replace

from nexus.app.outcomes import Outcomes
from nexus.config.model import Config
from nexus.core.clock import Clock
from nexus.core.receipt import LedgerEntry, ReceiptReceiver
from nexus.outcomes import InferredOutcome, SignalResult
from nexus.outcomes.signals.hashing import AnswerHasher, Conversation
from nexus.outcomes.signals.memory import Remembered
from nexus.outcomes.signals.reader import SignalReader

_UNKNOWN = "unknown trace"
_EXPIRED = "expired"
_MOST_ANSWERS = 100
_MOST_RECEIPTS = 500
_MOST_EXPIRED = 25


class SignalNews(Struct, frozen=True, array_like=True, gc=False):
    """What a follow-up said of an answer that another worker gave."""

    trace_id: str
    outcome: InferredOutcome
    signal: str


class OutcomeNews(Struct, array_like=True, gc=False):
    """One worker's answers, signals for others, receipts to learn from, and calls of others followed up.

    Answers are hashes, never text.
    """

    answers: list[Remembered] = []
    signals: list[SignalNews] = []
    receipts: list[LedgerEntry] = []
    followed: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.answers or self.signals or self.receipts or self.followed)


class SharedReader(SignalReader):
    """Knows the answers of all workers, which hash with the same key.

    It keeps them for all of their time, because it can't ask whether the call of another worker still waits.

    At most a hundred answers between two batches are told: the memory holds some thousands, so beyond that
    they would only push each other out.
    """

    __slots__ = ("told",)

    def __init__(self, key: bytes) -> None:
        super().__init__(key=key)
        self.told: list[Remembered] = []

    def remember(self, trace_id: str, answer: AnswerHasher, conversation: Conversation, now: float) -> None:
        """An answer is complete: know it again, and tell the others."""
        super().remember(trace_id, answer, conversation, now)
        entry = self._memory.to_same_messages(conversation.whole, now)
        if entry is None or entry.trace_id != trace_id or len(self.told) >= _MOST_ANSWERS:
            return
        self.told.append(entry)

    def hear(self, answer: Remembered) -> None:
        """Know an answer of another worker again."""
        self._memory.add(replace(answer, read=False, followed=False))


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
            if self.tracker.receipt(trace_id) is None and len(followed) < _MOST_ANSWERS:
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

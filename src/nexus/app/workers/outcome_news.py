"""What workers tell each other of answers, and a reader that knows the answers of all."""

from msgspec import Struct
from msgspec.structs import replace

from nexus.core.receipt import LedgerEntry
from nexus.outcomes import InferredOutcome
from nexus.outcomes.signals.hashing import AnswerHasher, Conversation
from nexus.outcomes.signals.memory import Remembered
from nexus.outcomes.signals.reader import SignalReader

MOST_ANSWERS = 100


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
        if entry is None or entry.trace_id != trace_id or len(self.told) >= MOST_ANSWERS:
            return
        self.told.append(entry)

    def hear(self, answer: Remembered) -> None:
        """Know an answer of another worker again."""
        self._memory.add(replace(answer, read=False, followed=False))

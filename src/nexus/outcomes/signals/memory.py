"""The answers that the gateway gave lately, known by their hashes. Bounded in number and in time."""

from collections import OrderedDict

from nexus.outcomes.signals.hashing import Conversation

MATCH_CHARS = 40
"""An answer shorter than this is matched only within its own conversation: "Yes." is given many times."""
_SAME_ANSWER = 8


class Remembered:
    """One answer that was given. `answered_at` is monotonic seconds.

    `read`: what became of it has been looked at, or it can no longer be known. `length` counts the characters
    of its content that were hashed. `followed`: the conversation went on after it. `repeats` counts the
    answers given to the very same messages before it, since one that was followed.
    """

    __slots__ = ("answer", "answered_at", "conversation", "followed", "length", "read", "repeats", "trace_id")

    def __init__(
        self, trace_id: str, answer: bytes, length: int, conversation: Conversation, answered_at: float
    ) -> None:
        self.trace_id = trace_id
        self.answer = answer
        self.length = length
        self.conversation = conversation
        self.answered_at = answered_at
        self.read = False
        self.followed = False
        self.repeats = 0


class AnswerMemory:
    """Holds at most `capacity` answers (the oldest go first), each for `ttl_seconds`."""

    def __init__(self, capacity: int, ttl_seconds: float) -> None:
        self._capacity = capacity
        self._ttl = ttl_seconds
        self._in_order: OrderedDict[str, Remembered] = OrderedDict()
        self._by_answer: dict[bytes, list[Remembered]] = {}
        self._by_whole: dict[bytes, Remembered] = {}
        self._by_opening: dict[bytes, Remembered] = {}

    def __len__(self) -> int:
        return len(self._in_order)

    def add(self, entry: Remembered) -> None:
        """Remember an answer. A second one under the same trace id replaces the first."""
        earlier = self._in_order.pop(entry.trace_id, None)
        if earlier is not None:
            self._unlink(earlier)
        self._expire(entry.answered_at)
        while len(self._in_order) >= self._capacity:
            self._drop_oldest()
        self._in_order[entry.trace_id] = entry
        same = self._by_answer.setdefault(entry.answer, [])
        same.append(entry)
        if len(same) > _SAME_ANSWER:
            del same[0]
        self._by_whole[entry.conversation.whole] = entry
        if entry.conversation.before_question is not None:
            self._by_opening[entry.conversation.before_question] = entry

    def given(
        self,
        answer: bytes,
        length: int,
        before_answer: bytes | None,
        now: float,
        *,
        called_tools: bool = False,
    ) -> Remembered | None:
        """The answer with this hash, or None where it is unknown or could be one of several.

        `before_answer` hashes the messages before it (None: not known); an exact match of both always wins.
        """
        same = self._by_answer.get(answer)
        if same is None:
            return None
        fresh = [entry for entry in same if now - entry.answered_at <= self._ttl]
        if before_answer is not None:
            for entry in reversed(fresh):
                if entry.conversation.whole == before_answer:
                    return entry
        if len(fresh) == 1 and (length >= MATCH_CHARS or called_tools):
            return fresh[0]
        return None

    def to_same_messages(self, whole: bytes, now: float) -> Remembered | None:
        """The latest answer to exactly these messages."""
        return self._fresh(self._by_whole.get(whole), now)

    def after_opening(self, before_question: bytes, now: float) -> Remembered | None:
        """The latest answer to a question that was asked after exactly these messages."""
        return self._fresh(self._by_opening.get(before_question), now)

    def _fresh(self, entry: Remembered | None, now: float) -> Remembered | None:
        return entry if entry is not None and now - entry.answered_at <= self._ttl else None

    def _expire(self, now: float) -> None:
        while self._in_order:
            oldest = next(iter(self._in_order.values()))
            if now - oldest.answered_at <= self._ttl:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._unlink(self._in_order.popitem(last=False)[1])

    def _unlink(self, entry: Remembered) -> None:
        same = self._by_answer.get(entry.answer)
        if same is not None and entry in same:
            same.remove(entry)
            if not same:
                del self._by_answer[entry.answer]
        conversation = entry.conversation
        if self._by_whole.get(conversation.whole) is entry:
            del self._by_whole[conversation.whole]
        opening = conversation.before_question
        if opening is not None and self._by_opening.get(opening) is entry:
            del self._by_opening[opening]

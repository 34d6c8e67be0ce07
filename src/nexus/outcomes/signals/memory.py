"""The answers that the gateway gave lately, known by their hashes. Bounded in number and in time."""

from collections.abc import Callable
from itertools import islice, takewhile

from msgspec import Struct

MATCH_CHARS = 40
"""An answer shorter than this is matched only within its own conversation: "Yes." is given many times."""
_SAME_ANSWER = 8
_DROPPED_AT_ONCE = 32


class Remembered(Struct, eq=False, gc=False, array_like=True):
    """One answer that was given. `answered_at` is monotonic seconds.

    `whole`, `opening` and `question` are `whole`, `before_question` and `question` of its `Conversation`:
    later requests are compared with them. `length` counts the characters of its content that were hashed.
    `read`: what became of it has been looked at, or it can no longer be known. `followed`: the conversation
    went on after it. `repeats` counts the answers given to the very same messages before it, since one that
    was followed.
    """

    trace_id: str
    answer: bytes
    length: int
    whole: bytes
    opening: bytes | None
    question: bytes
    answered_at: float
    read: bool = False
    followed: bool = False
    repeats: int = 0


class AnswerMemory:
    """Holds at most `capacity` answers (the oldest go first, some at a time), each for `ttl_seconds`.

    `waits` tells by the trace id whether an answer still waits for a word on it; the oldest are forgotten
    once they do not. None: all of them do.
    """

    def __init__(self, capacity: int, ttl_seconds: float, waits: Callable[[str], bool] | None = None) -> None:
        self._capacity = capacity
        self._ttl = ttl_seconds
        self._waits = waits
        self._in_order: dict[str, Remembered] = {}
        self._by_answer: dict[bytes, tuple[Remembered, ...]] = {}
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
        if len(self._in_order) >= self._capacity:
            self._drop_oldest(min(_DROPPED_AT_ONCE, 1 + self._capacity // 100))
        self._in_order[entry.trace_id] = entry
        same = self._by_answer.get(entry.answer, ())
        twin = self._by_whole.get(entry.whole)
        start = None if entry.opening is None else self._by_opening.get(entry.opening)
        # Many are alike or begin alike: one object for all equal hashes.
        entry.answer = same[-1].answer if same else entry.answer
        entry.whole = entry.whole if twin is None else twin.whole
        entry.opening = entry.opening if start is None else start.opening
        self._by_answer[entry.answer] = (*same, entry)[-_SAME_ANSWER:]
        self._by_whole[entry.whole] = entry
        if entry.opening is not None:
            self._by_opening[entry.opening] = entry

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
                if entry.whole == before_answer:
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
        """Forget the oldest ones that are over, some at a time: there may be thousands after a flood."""
        oldest = islice(self._in_order.values(), _DROPPED_AT_ONCE)
        gone = sum(1 for _ in takewhile(lambda entry: self._is_over(entry, now), oldest))
        if gone:
            self._drop_oldest(gone)

    def _is_over(self, entry: Remembered, now: float) -> bool:
        if now - entry.answered_at > self._ttl:
            return True
        return self._waits is not None and not self._waits(entry.trace_id)

    def _drop_oldest(self, count: int) -> None:
        # A dict is slow at finding its first key once many before it were deleted, so several go at a time.
        for trace_id in list(islice(self._in_order, count)):
            self._unlink(self._in_order.pop(trace_id))

    def _unlink(self, entry: Remembered) -> None:
        same = tuple(each for each in self._by_answer.get(entry.answer, ()) if each is not entry)
        if same:
            self._by_answer[entry.answer] = same
        else:
            self._by_answer.pop(entry.answer, None)
        if self._by_whole.get(entry.whole) is entry:
            del self._by_whole[entry.whole]
        if entry.opening is not None and self._by_opening.get(entry.opening) is entry:
            del self._by_opening[entry.opening]

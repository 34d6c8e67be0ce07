"""Reads from each request what became of the answers before it."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from nexus.outcomes.outcome import InferredKind, InferredOutcome, infer_from_actions
from nexus.outcomes.signals.hashing import (
    AnswerHasher,
    Conversation,
    hash_answer,
    hash_conversation,
    hashes_of,
    new_key,
)
from nexus.outcomes.signals.kinds import FollowUp, classify
from nexus.outcomes.signals.memory import AnswerMemory, Remembered
from nexus.outcomes.signals.messages import ChatMessage
from nexus.outcomes.signals.tools import loop_steps
from nexus.outcomes.signals.weights import (
    QUICK,
    QUICK_SECONDS,
    TOOL_CONFIDENCE,
    TOOL_RELIABILITY,
    TOOL_RESULT,
    Evidence,
    judge,
)
from nexus.outcomes.signals.words import dice, held

CAPACITY = 10_000
TTL_SECONDS = 24 * 3600.0
REGENERATE_SECONDS = 600.0
"""The same messages later than this are a new request, not a second try."""
MAX_REPEATS = 2
"""Messages that keep coming are a program's, not those of somebody who dislikes the answer."""
SAME_QUESTION = 0.5
"""Dice's coefficient of two sketches from which on an edited question, held by the other, is the same one."""


class Signal(Struct, frozen=True):
    """What a request says about an earlier answer.

    `name` joins the names of the signals with "+". `reliability` in (0, 1] is the weight that the outcome
    deserves beside what somebody says outright, which has 1.
    """

    trace_id: str
    outcome: InferredOutcome
    name: str
    reliability: float


class Reading(Struct, frozen=True):
    """One request, read. `conversation` is what `SignalReader.remember` asks for (None: do not remember it).

    `kind` is the kind of follow-up, None where the request follows no answer that is known. `quiet` is the
    trace id of an answer that was followed up without a weighted signal.
    """

    signals: tuple[Signal, ...] = ()
    conversation: Conversation | None = None
    kind: FollowUp | None = None
    quiet: str | None = None


class SignalReader:
    """Tells what became of this process's answers from the requests that come after them.

    Call `read` with each chat request, and `remember` once its answer is complete, all from one thread. It
    keeps hashes, times and trace ids of at most `capacity` answers for `ttl_seconds`, never text. Nothing is
    said unless a signal with a weight is there.

    `waits` tells by the trace id whether a word on an answer still counts; where it does not, the answer may
    be forgotten.
    """

    __slots__ = ("_key", "_memory")

    def __init__(
        self,
        *,
        key: bytes | None = None,
        capacity: int = CAPACITY,
        ttl_seconds: float = TTL_SECONDS,
        waits: Callable[[str], bool] | None = None,
    ) -> None:
        self._key = key if key is not None else new_key()
        self._memory = AnswerMemory(capacity, ttl_seconds, waits)

    def __len__(self) -> int:
        return len(self._memory)

    def hasher(self) -> AnswerHasher:
        """What hashes one answer, fed with its content as it is relayed."""
        return AnswerHasher(self._key)

    def read(self, messages: Sequence[ChatMessage], now: float) -> Reading:
        """Look at the messages of a request that came at `now` (monotonic seconds).

        Each answer is judged at most once. A conversation that is too long to be read gives an empty reading.
        """
        conversation = hash_conversation(self._key, messages)
        if conversation is None:
            return Reading()
        signals: list[Signal] = []
        kind, quiet = self._read_dropped(messages, conversation, now, signals), None
        if conversation.turns:
            entry = self._followed(messages, conversation, now)
            if entry is not None:
                said = len(signals)
                kind = self._read_follow_up(entry, messages, now, signals)
                quiet = entry.trace_id if len(signals) == said else None
            self._read_steps(messages, now, signals)
        return Reading(tuple(signals), conversation, kind, quiet)

    def remember(self, trace_id: str, answer: AnswerHasher, conversation: Conversation, now: float) -> None:
        """An answer is complete: know it again. An empty answer is not remembered."""
        digest = answer.digest()
        if not digest:
            return
        whole, opening = conversation.whole, conversation.before_question
        entry = Remembered(trace_id, digest, answer.length, whole, opening, conversation.question, now)
        before = self._memory.to_same_messages(whole, now)
        recent = before is not None and now - before.answered_at <= REGENERATE_SECONDS
        if before is not None and recent and not before.followed:
            entry.repeats = before.repeats + 1
        self._memory.add(entry)

    def _read_dropped(
        self, messages: Sequence[ChatMessage], conversation: Conversation, now: float, signals: list[Signal]
    ) -> FollowUp | None:
        """The answer was dropped: the same messages come again, or the last question edited."""
        kind = FollowUp.REGENERATED
        entry = self._memory.to_same_messages(conversation.whole, now)
        if entry is None and conversation.turns:
            kind = FollowUp.ASKED_AGAIN
            entry = self._edited(messages, conversation, now)
        if entry is None or entry.read or now - entry.answered_at > REGENERATE_SECONDS:
            return None
        entry.read = True
        if entry.repeats < MAX_REPEATS:
            self._judge(entry, kind, Evidence(repeated=True), signals)
        return kind

    def _edited(
        self, messages: Sequence[ChatMessage], conversation: Conversation, now: float
    ) -> Remembered | None:
        """The answer to the question that this request's last one replaces.

        Only behind an answer of ours: a program sends the same examples before each of its questions.
        """
        if messages[-1].role != "user" or conversation.before_question is None:
            return None
        entry = self._memory.after_opening(conversation.before_question, now)
        if entry is None:
            return None
        before, after = hashes_of(entry.question), hashes_of(conversation.question)
        if not held(before, after) or dice(before, after) < SAME_QUESTION:
            return None
        answer = next(message for message in reversed(messages) if message.role == "assistant")
        return entry if self._find(answer, conversation.before_answer, now) is not None else None

    def _followed(
        self, messages: Sequence[ChatMessage], conversation: Conversation, now: float
    ) -> Remembered | None:
        """The answer that the last messages follow up, unless it has been looked at before."""
        position = _last_but_users(messages)
        answer = messages[position]
        if position == len(messages) - 1 or answer.role != "assistant" or answer.tool_calls:
            return None
        entry = self._find(answer, conversation.before_answer, now)
        return None if entry is None or entry.read else entry

    def _read_follow_up(
        self, entry: Remembered, messages: Sequence[ChatMessage], now: float, signals: list[Signal]
    ) -> FollowUp:
        position = _last_but_users(messages)
        answer = messages[position]
        entry.read = entry.followed = True
        asked = [message.text() for message in messages[:position] if message.role == "user"]
        kind = classify([message.text() for message in messages[position + 1 :]], asked)
        least, most = QUICK_SECONDS
        failed = kind is FollowUp.ERROR_REPORT
        quick = not failed and least <= now - entry.answered_at < most and "```" in answer.text()
        evidence = Evidence(repeated=kind is FollowUp.ASKED_AGAIN, quick=quick, failed=failed)
        self._judge(entry, kind, evidence, signals)
        return kind

    def _judge(self, entry: Remembered, kind: FollowUp, evidence: Evidence, signals: list[Signal]) -> None:
        verdict = judge(evidence)
        if verdict is None:
            return
        make: Callable[[float], InferredOutcome] = InferredOutcome.rejected
        if verdict.accepted:
            # What was adopted and failed is no full success.
            make = InferredOutcome.accepted_with_edits if evidence.failed else InferredOutcome.accepted
        names = [kind.value] if evidence.repeated or evidence.failed else []
        if evidence.quick:
            names.append(QUICK)
        outcome = make(verdict.confidence)
        signals.append(Signal(entry.trace_id, outcome, "+".join(names), verdict.reliability))

    def _read_steps(self, messages: Sequence[ChatMessage], now: float, signals: list[Signal]) -> None:
        """Judge the steps of an agent loop whose fate is known and that have not been judged."""
        steps = loop_steps(messages)
        actions = [(str(at), step.success, TOOL_CONFIDENCE, step.output) for at, step in enumerate(steps)]
        for step, (_, outcome) in zip(steps, infer_from_actions(actions), strict=True):
            if outcome.kind is InferredKind.INCONCLUSIVE or step.pending:
                continue
            entry = self._find(step.message, None, now)
            if entry is None or entry.read:
                continue
            entry.read = True
            signals.append(Signal(entry.trace_id, outcome, TOOL_RESULT, TOOL_RELIABILITY))

    def _find(self, answer: ChatMessage, before_answer: bytes | None, now: float) -> Remembered | None:
        digest, length = hash_answer(self._key, answer)
        called_tools = bool(answer.tool_calls)
        return self._memory.given(digest, length, before_answer, now, called_tools=called_tools)


def _last_but_users(messages: Sequence[ChatMessage]) -> int:
    """Where the last message stands that is not of the user's final ones; -1 where there is none."""
    position = len(messages) - 1
    while position >= 0 and messages[position].role == "user":
        position -= 1
    return position

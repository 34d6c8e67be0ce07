"""Keyed hashes of answers and conversations: equal texts can be told, and nothing can be read back.

The key is random, made per process and never written anywhere, so a hash says nothing outside the process.
"""

import hashlib
import secrets
from collections.abc import Sequence

from msgspec import Struct

from nexus.outcomes.signals.messages import MAX_CHARS, MAX_MESSAGES, ChatMessage
from nexus.outcomes.signals.words import stems, words

DIGEST_BYTES = 16
_SKETCH_BYTES = 8
SKETCH_WORDS = 32
"""So many stems of a question are hashed for its sketch."""
_OPEN = "<think>"
_CLOSE = "</think>"
_UNDECIDED, _THINKING, _PLAIN = range(3)


def new_key() -> bytes:
    """A random key for one process."""
    return secrets.token_bytes(32)


class AnswerHasher:
    """Hashes one answer as it arrives, in pieces of any size.

    White space does not count, and neither does a leading `<think>` block: clients strip both before they
    send the answer back. `length` is the number of characters that counted.
    """

    __slots__ = ("_calls", "_hash", "_pending", "_state", "length")

    def __init__(self, key: bytes) -> None:
        self._hash = hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)
        self._pending = ""
        self._state = _UNDECIDED
        self._calls = False
        self.length = 0

    def add(self, text: str) -> None:
        """Take the next piece of the answer's content."""
        squeezed = "".join(text.split())
        if self._state != _PLAIN:
            squeezed = self._settle(squeezed)
        if squeezed:
            self.length += len(squeezed)
            self._hash.update(squeezed.encode("utf-8", "surrogatepass"))

    def add_tool_call(self, call_id: str, name: str) -> None:
        """Take one tool call, in order, after all content; its arguments do not count."""
        self._flush()
        self._calls = True
        self._hash.update(f"\0{call_id}\0{name}".encode("utf-8", "surrogatepass"))

    def digest(self) -> bytes:
        """The hash of the answer so far; empty where there was nothing to hash."""
        self._flush()
        return self._hash.digest() if self.length or self._calls else b""

    def _settle(self, squeezed: str) -> str:
        """Hold the beginning back until it is known whether the answer thinks aloud first."""
        pending = self._pending + squeezed
        if self._state == _UNDECIDED:
            if len(pending) < len(_OPEN) and _OPEN.startswith(pending):
                self._pending = pending
                return ""
            if not pending.startswith(_OPEN):
                return self._go_plain(pending)
            self._state = _THINKING
        end = pending.find(_CLOSE)
        if end < 0:
            self._pending = pending[-len(_CLOSE) :]
            return ""
        return self._go_plain(pending[end + len(_CLOSE) :])

    def _go_plain(self, text: str) -> str:
        self._state = _PLAIN
        self._pending = ""
        return text

    def _flush(self) -> None:
        if self._state == _UNDECIDED and self._pending:
            text = self._go_plain(self._pending)
            self.length += len(text)
            self._hash.update(text.encode())


class Conversation(Struct, frozen=True, gc=False):
    """A conversation as hashes: enough to know it again, nothing to read.

    `whole` covers all messages, `before_answer` those before the last assistant message, `before_question`
    those before the last user message (None where there is no such message). `turns` counts the assistant
    messages. `question` is a sketch of the last user message, the hashes of its stems as `sketch` packs them;
    it is empty in a conversation's first turn, which nobody needs it for.
    """

    whole: bytes
    before_answer: bytes | None
    before_question: bytes | None
    question: bytes
    turns: int


def hash_conversation(key: bytes, messages: Sequence[ChatMessage]) -> Conversation | None:
    """Hash the messages of one request; None where there are none, or too many, or too much text."""
    if not messages or len(messages) > MAX_MESSAGES:
        return None
    answer = _last(messages, "assistant")
    question = _last(messages, "user")
    running = hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)
    before_answer = before_question = None
    asked = ""
    size = turns = 0
    for position, message in enumerate(messages):
        text = message.text()
        size += len(text)
        if size > MAX_CHARS:
            return None
        if position == answer:
            before_answer = running.copy().digest()
        if position == question:
            before_question = running.copy().digest()
            asked = text
        turns += message.role == "assistant"
        running.update(f"\0{message.role}\0{len(text)}\0{text}".encode("utf-8", "surrogatepass"))
    question_stems = sketch(key, asked) if turns else b""
    return Conversation(running.digest(), before_answer, before_question, question_stems, turns)


def hash_answer(key: bytes, message: ChatMessage) -> tuple[bytes, int]:
    """The hash of an assistant message as `AnswerHasher` makes it, and how many characters counted."""
    hasher = AnswerHasher(key)
    hasher.add(message.text())
    for call in message.tool_calls or ():
        name = call.function.name if call.function is not None else None
        hasher.add_tool_call(call.id or "", name or "")
    return hasher.digest(), hasher.length


def sketch(key: bytes, text: str) -> bytes:
    """64-bit keyed hashes of the stems of a text's words, of 32 stems at most: 8 bytes each, in order.

    Thousands of them are kept, and as a set of numbers each would take ten times the memory.
    """
    fresh = hashlib.blake2b(key=key, digest_size=_SKETCH_BYTES)
    hashes = []
    for stem in sorted(stems(words(text)))[:SKETCH_WORDS]:
        one = fresh.copy()  # cheaper than a new one with its key
        one.update(stem.encode("utf-8", "surrogatepass"))
        hashes.append(one.digest())
    return b"".join(sorted(hashes))


def hashes_of(packed: bytes) -> frozenset[int]:
    """The hashes in a sketch."""
    return frozenset(memoryview(packed).cast("Q"))


def _last(messages: Sequence[ChatMessage], role: str) -> int:
    for position in range(len(messages) - 1, -1, -1):
        if messages[position].role == role:
            return position
    return -1

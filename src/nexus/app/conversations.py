"""Reads conversations beside the path of requests: what the next message says of the answer before it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from msgspec import Struct

from nexus.core.request import Request
from nexus.outcomes import InferredOutcome, SignalResult
from nexus.outcomes.code.suggestions import fingerprinting
from nexus.outcomes.signals.messages import ChatMessage, decode_messages
from nexus.outcomes.signals.reader import SignalReader
from nexus.proxy.answer_text import AnswerText
from nexus.server.service import Periodic

_log = logging.getLogger("nexus.outcomes.signals")
_READ_SECONDS = 0.05
_SLICE_SECONDS = 0.005
_CAPACITY = 512

Resolve = Callable[[str, InferredOutcome, str], SignalResult]
"""Applies an outcome to a call: trace id, outcome, name of the signal."""


Attach = Callable[[str, Sequence[object]], bool]
"""Lets a call wait for what becomes of the code that it suggested: trace id, fingerprints."""


class _Heard(Struct, frozen=True, gc=False):
    request: Request
    body: bytes
    answer: AnswerText | None


class Conversations:
    """Keeps what was said until it is read, a moment later, and lets it go.

    Two things are read: what a request says of the answers before it, and which code an answer suggests. That
    takes at most a tenth of the time. While `capacity` requests wait, further ones are left unread and
    counted in `unread`.

    Args:
        reader: knows answers again; None where nobody wants to know.
        resolve: told what became of an earlier answer.
        attach: told of the code that an answer suggested, as fingerprints.
        followed_up: told the trace id of an answer that was followed up without a word on it.
        capacity: requests that may wait to be read.
    """

    def __init__(
        self,
        reader: SignalReader | None,
        resolve: Resolve,
        attach: Attach | None = None,
        capacity: int = _CAPACITY,
        *,
        followed_up: Callable[[str], object] | None = None,
    ) -> None:
        self.listening = True
        self.unread = 0
        self.signals = 0
        self._reader = reader
        self._resolve = resolve
        self._attach = attach
        self._work: Iterator[None] | None = None
        self._followed_up = followed_up
        self._capacity = capacity
        self._heard: deque[_Heard] = deque()

    def heard(self, request: Request, body: bytes, answer: AnswerText | None) -> None:
        """Keep a chat request that has ended until it is read."""
        if self.listening:
            self._heard.append(_Heard(request, body, answer))
            self.listening = len(self._heard) < self._capacity
        else:
            self.unread += 1

    def periodic(self) -> Periodic:
        """The reading."""
        return Periodic("conversations", _READ_SECONDS, self.read)

    async def read(self) -> None:
        """Read what waits, in order, for at most a slice of time; requests come in between."""
        began = perf_counter()
        while self._waits() and perf_counter() - began < _SLICE_SECONDS:
            self._step()
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Read all that waits by now; requests come in between."""
        while self._waits():
            self._step()
            await asyncio.sleep(0)

    def read_all(self) -> None:
        """Read what is left, at the end."""
        while self._waits():
            self._step()

    def _waits(self) -> bool:
        return self._work is not None or bool(self._heard)

    def _step(self) -> None:
        """Do a small piece of the work that waits."""
        if self._work is None:
            self._work = self._read_one(self._heard.popleft())
            self.listening = True
        if next(self._work, self) is self:
            self._work = None

    def _read_one(self, heard: _Heard) -> Iterator[None]:
        messages = decode_messages(heard.body)
        self._read_signals(heard, messages)
        answer, attach = heard.answer, self._attach
        if attach is None or answer is None or not answer.whole:
            return
        trace_id = heard.request.trace_id
        yield from fingerprinting(
            answer.text,
            lambda: [message.text() for message in messages],
            lambda found: attach(trace_id, found),
        )

    def _read_signals(self, heard: _Heard, messages: Sequence[ChatMessage]) -> None:
        reader = self._reader
        if reader is None:
            return
        request, answer = heard.request, heard.answer
        now = request.received_at
        reading = reader.read(messages, now)
        for signal in reading.signals:
            self.signals += 1
            result = self._resolve(signal.trace_id, signal.outcome, signal.name)
            if not result.applied:
                _log.debug("%s says nothing new of %s: %s", signal.name, signal.trace_id, result.reason)
        if reading.quiet is not None and self._followed_up is not None:
            self._followed_up(reading.quiet)
        if answer is None or not answer.whole or reading.conversation is None:
            return
        hasher = reader.hasher()
        hasher.add(answer.text)
        for call_id, name in answer.tool_calls:
            hasher.add_tool_call(call_id, name)
        reader.remember(request.trace_id, hasher, reading.conversation, now)

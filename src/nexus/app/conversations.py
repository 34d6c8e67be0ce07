"""Reads conversations beside the path of requests: what the next message says of the answer before it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter

from msgspec import Struct

from nexus.core.request import Request
from nexus.outcomes import InferredOutcome, SignalResult
from nexus.outcomes.signals.messages import decode_messages
from nexus.outcomes.signals.reader import SignalReader
from nexus.proxy.answer_text import AnswerText
from nexus.server.service import Periodic

_log = logging.getLogger("nexus.outcomes.signals")
_READ_SECONDS = 0.05
_SLICE_SECONDS = 0.005
_CAPACITY = 1024

Resolve = Callable[[str, InferredOutcome, str], SignalResult]
"""Applies an outcome to a call: trace id, outcome, name of the signal."""


class _Heard(Struct, frozen=True, gc=False):
    request: Request
    body: bytes
    answer: AnswerText | None


class Conversations:
    """Keeps what was said until it is read, a moment later, and lets it go.

    Reading takes at most a tenth of the time. While `capacity` requests wait, further ones are left unread and
    counted in `unread`.

    Args:
        reader: knows answers again.
        resolve: told what became of an earlier answer.
        capacity: requests that may wait to be read.
    """

    def __init__(self, reader: SignalReader, resolve: Resolve, capacity: int = _CAPACITY) -> None:
        self.listening = True
        self.unread = 0
        self.signals = 0
        self._reader = reader
        self._resolve = resolve
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
        while self._heard and perf_counter() - began < _SLICE_SECONDS:
            self._read_one(self._heard.popleft())
            self.listening = True
            await asyncio.sleep(0)

    def read_all(self) -> None:
        """Read what is left, at the end."""
        while self._heard:
            self._read_one(self._heard.popleft())

    def _read_one(self, heard: _Heard) -> None:
        request, answer = heard.request, heard.answer
        now = request.received_at
        reading = self._reader.read(decode_messages(heard.body), now)
        for signal in reading.signals:
            self.signals += 1
            result = self._resolve(signal.trace_id, signal.outcome, signal.name)
            if not result.applied:
                _log.debug("%s says nothing new of %s: %s", signal.name, signal.trace_id, result.reason)
        if answer is None or not answer.whole or reading.conversation is None:
            return
        hasher = self._reader.hasher()
        hasher.add(answer.text)
        for call_id, name in answer.tool_calls:
            hasher.add_tool_call(call_id, name)
        self._reader.remember(request.trace_id, hasher, reading.conversation, now)

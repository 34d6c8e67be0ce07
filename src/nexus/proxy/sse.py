"""Checks a stream of server-sent events while its bytes pass through unchanged. No I/O.

Bytes are let through event by event: an event is held back only until its blank line has arrived, so that
whatever breaks off in the middle can still be told from what was whole. The event grammar is that of the
HTML standard (section 9.2.6): lines end in LF, CRLF or CR, and a blank line ends an event.
"""

import re
from enum import IntEnum

import msgspec

from nexus.proxy.answer_fields import Delta, StreamChoice, StreamChunk, Usage
from nexus.proxy.answer_text import AnswerText

_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_DATA = b"data: {"
_DATA_PREFIX = 6
_CR, _LF = b"\r\n"
_DONE = b"[DONE]"
MAX_EVENT_BYTES = 16 * 1024 * 1024

_decode_chunk = msgspec.json.Decoder(StreamChunk).decode


class StreamFault(IntEnum):
    """What is wrong with a stream so far."""

    NONE = 0
    MALFORMED = 1
    ERROR_EVENT = 2


_MALFORMED = StreamFault.MALFORMED  # members of an enumeration are looked up slowly


class SseMonitor:
    """Watches one stream. `feed` returns the bytes that may go to the client now.

    `started`: an event that belongs to an answer has passed, which one that only says a role is not yet.
    `content_seen`: a content token has passed; `content_events` counts the events that had one. `finished`:
    a finish reason has passed, `done`: `[DONE]` has. `fault` and `fault_message` say what broke; after
    MALFORMED nothing more is let through. `answer` collects what is said, where one was given.
    """

    __slots__ = (
        "_ahead",
        "_held",
        "_held_size",
        "_opened",
        "answer",
        "content_events",
        "done",
        "fault",
        "fault_message",
        "finished",
        "started",
        "usage",
    )

    def __init__(self, answer: AnswerText | None = None) -> None:
        self._held: list[bytes] = []
        self._held_size = 0
        self.answer = answer
        self._ahead = 0
        self._opened = False
        self.started = False
        self.content_events = 0
        self.finished = False
        self.done = False
        self.usage: Usage | None = None
        self.fault = StreamFault.NONE
        self.fault_message = ""

    @property
    def content_seen(self) -> bool:
        """Whether a content token has passed."""
        return self.content_events > 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, in any chunking; return those of the events they complete, unchanged."""
        if self.fault is _MALFORMED:
            return b""
        if self._held:
            data = self._join(data)
            if not data:
                return b""
        # To look for a number among bytes is eight times as fast as to look for bytes.
        if _CR not in data and data.endswith(b"\n\n"):
            return self._pass_whole(data)
        return self._pass_complete(data)

    def end(self) -> bytes:
        """The stream is over: check and return what was left without a blank line after it."""
        tail = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        if not tail or self.fault is _MALFORMED or not self._check_lines(tail):
            return b""
        return tail

    def _join(self, data: bytes) -> bytes:
        # An event that arrives in many pieces is joined once, when its end may have come: an end needs a line
        # break in the new piece, or the first half of one at the end of the old.
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > MAX_EVENT_BYTES:
            self._break(f"an event is larger than {MAX_EVENT_BYTES} bytes")
            return b""
        if _LF not in data and _CR not in data:
            return b""
        whole = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        return whole

    def _pass_whole(self, data: bytes) -> bytes:
        position = 0
        while position < len(data):
            end = data.index(b"\n\n", position) + 2
            if not self._check(data[position:end]):
                return data[:position]
            position = end
        return data

    def _pass_complete(self, data: bytes) -> bytes:
        position = 0
        for match in _EVENT_END.finditer(data):
            if not self._check(data[position : match.end()]):
                return data[:position]
            position = match.end()
        if position < len(data):
            rest = data[position:]
            self._held.append(rest)
            self._held_size = len(rest)
            if self._held_size > MAX_EVENT_BYTES:
                self._break(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        return data[:position]

    def _check(self, event: bytes) -> bool:
        """Look at one event; False when the stream must stop before it."""
        if event.startswith(_DATA) and _CR not in event and event.find(b"\n") == len(event) - 2:
            return self._check_payload(event[_DATA_PREFIX:])
        return self._check_lines(event)

    def _check_lines(self, event: bytes) -> bool:
        payload = _payload(event)
        if payload is None or not payload.strip():
            return self.started or self._wait_on(event)
        if payload.strip() == _DONE:
            self.done = True
            return self.started or self._wait_on(event)
        return self._check_payload(payload)

    def _check_payload(self, payload: bytes) -> bool:
        try:
            chunk = _decode_chunk(payload)
        except msgspec.ValidationError:
            return self._check_unusual(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._break(f"an event is not JSON: {error}")
        if chunk.error is not None:
            return self._error_event(chunk.error)
        if chunk.usage is not None:
            self.usage = chunk.usage
        for choice in chunk.choices or ():
            self._take_in(choice)
        return self.started or self._starts(chunk) or self._wait_on(payload)

    def _starts(self, chunk: StreamChunk) -> bool:
        """Whether the answer begins with this event: not with one that has no choices, or only says a role.

        Only the first event without content is taken for such a one: what comes in a form of its own must not
        be held back.
        """
        if chunk.choices is None or self.content_events or self.finished or (chunk.choices and self._opened):
            self.started = True
        elif chunk.choices:
            self._opened = True
        return self.started

    def _take_in(self, choice: StreamChoice) -> None:
        if choice.finish_reason is not None:
            self.finished = True
        delta = choice.delta
        if choice.text or (delta is not None and (delta.content or _has_more(delta))):
            self.content_events += 1
            if self.answer is not None and delta is not None and choice.index == 0:
                self.answer.add(delta.content, delta.tool_calls)

    def _check_unusual(self, payload: bytes) -> bool:
        # JSON of another shape than a completion chunk is the upstream's business and passes.
        try:
            document = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._break(f"an event is not JSON: {error}")
        if isinstance(document, dict) and document.get("error") is not None:
            return self._error_event(document["error"])
        self.started = True
        return True

    def _wait_on(self, event: bytes) -> bool:
        # What comes before the first answer is kept by whoever may still try another upstream.
        self._ahead += len(event)
        if self._ahead > MAX_EVENT_BYTES:
            return self._break(f"{MAX_EVENT_BYTES} bytes came before the first event of an answer")
        return True

    def _error_event(self, error: object) -> bool:
        self.fault = StreamFault.ERROR_EVENT
        self.fault_message = error_text(error)
        return True

    def _break(self, message: str) -> bool:
        self.fault = StreamFault.MALFORMED
        self.fault_message = message
        self._held.clear()
        self._held_size = 0
        return False


def error_text(error: object) -> str:
    """The message of an `error` value as upstreams write it: an object with a message, or plain text."""
    if isinstance(error, dict):
        return str(error.get("message") or error)
    return str(error)


def _has_more(delta: Delta) -> bool:
    """Whether it says something that is no plain text."""
    return bool(
        delta.tool_calls or delta.reasoning_content or delta.reasoning or delta.function_call or delta.refusal
    )


def _payload(event: bytes) -> bytes | None:
    """The joined `data` lines of an event; None where it has none."""
    lines = [
        line[5:].removeprefix(b" ") if line.startswith(b"data:") else b""
        for line in _LINE_END.split(event)
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(lines) if lines else None

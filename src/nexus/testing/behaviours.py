"""The ways an upstream can go wrong, one small record each, made around a good answer (`inner`). No I/O.

A new one needs a single method, `steps(request)`, that returns what is to happen on the connection.
"""

import itertools
from collections.abc import Sequence
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct

from nexus.testing.answers import DONE, JSON, Answer, compact, event
from nexus.testing.wire import (
    Behaviour,
    Body,
    End,
    Forward,
    Framing,
    Hangup,
    Head,
    Pause,
    ReceivedRequest,
    Stall,
    Step,
    Wire,
    head_bytes,
    reply,
)

_GOOD = Answer()


class Where(StrEnum):
    """The point of an answer at which a fault happens.

    `IN_BODY` is after `events` pieces of a stream, or half-way through a body that is sent as one piece.
    """

    BEFORE_HEAD = "before_head"
    IN_HEAD = "in_head"
    AFTER_HEAD = "after_head"
    IN_BODY = "in_body"
    AFTER_BODY = "after_body"


def _until(steps: Sequence[Step], where: Where, events: int) -> tuple[Step, ...]:
    """The part of an answer that comes before the point `where`."""
    if where is Where.BEFORE_HEAD:
        return ()
    if where is Where.AFTER_BODY:
        return tuple(steps)
    at = next(index for index, step in enumerate(steps) if isinstance(step, Head))
    before, head = tuple(steps[:at]), steps[at]
    if where is Where.IN_HEAD and isinstance(head, Head):
        whole = head_bytes(head)
        return (*before, Wire(whole[: len(whole) // 2]))
    if where is Where.AFTER_HEAD:
        return (*before, head)
    return _until_event(steps, events)


def _until_event(steps: Sequence[Step], events: int) -> tuple[Step, ...]:
    if events < 1:
        return _until(steps, Where.AFTER_HEAD, 0)
    bodies = [index for index, step in enumerate(steps) if isinstance(step, Body)]
    if len(bodies) == 1 and isinstance(only := steps[bodies[0]], Body):
        return (*steps[: bodies[0]], Body(only.data[: len(only.data) // 2]))
    return tuple(steps[: bodies[events - 1] + 1]) if events <= len(bodies) else tuple(steps)


class Hang(Struct, frozen=True):
    """Goes silent and keeps the connection open."""

    where: Where = Where.BEFORE_HEAD
    events: int = 2
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer up to `where`, then nothing."""
        return (*_until(self.inner.steps(request), self.where, self.events), Stall())


class Reset(Struct, frozen=True):
    """Breaks the connection with a TCP reset, as a crashed process does."""

    where: Where = Where.BEFORE_HEAD
    events: int = 2
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer up to `where`, then RST."""
        return (*_until(self.inner.steps(request), self.where, self.events), Hangup(reset=True))


class Close(Struct, frozen=True):
    """Closes the connection in good order where HTTP does not allow it.

    After the body it is allowed, but a pooled connection turns out to be dead at its next use.
    """

    where: Where = Where.BEFORE_HEAD
    events: int = 2
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer up to `where`, then FIN."""
        return (*_until(self.inner.steps(request), self.where, self.events), Hangup())


class Cut(Struct, frozen=True):
    """Ends a stream in proper HTTP after `events` events: no finish reason, no `[DONE]`.

    An answer in one piece stops half-way with its connection open, because its length was announced.
    """

    events: int = 2
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The first events and the end of the body."""
        return (*_until_event(self.inner.steps(request), self.events), End())


class NoDone(Struct, frozen=True):
    """Leaves out `[DONE]`; the finish reason is sent."""

    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer without its last event."""
        return [step for step in self.inner.steps(request) if step != Body(DONE)]


class Delay(Struct, frozen=True):
    """Waits before anything is sent."""

    seconds: float
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The pause, then the answer."""
        return (Pause(self.seconds), *self.inner.steps(request))


class Trickle(Struct, frozen=True):
    """Sends the body `size` bytes at a time, `seconds` apart."""

    seconds: float = 1.0
    size: int = 1
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer with every body piece taken apart."""
        slow: list[Step] = []
        for step in self.inner.steps(request):
            if not isinstance(step, Body):
                slow.append(step)
                continue
            for start in range(0, len(step.data), self.size):
                slow += [Pause(self.seconds), Body(step.data[start : start + self.size])]
        return slow


class Split(Struct, frozen=True):
    """Sends the whole body in pieces cut at these byte positions, one write each, without pauses."""

    at: tuple[int, ...]
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """Head, pieces, end."""
        steps = self.inner.steps(request)
        body = b"".join(step.data for step in steps if isinstance(step, Body))
        edges = [0, *sorted({cut for cut in self.at if 0 < cut < len(body)}), len(body)]
        pieces = [Body(body[start:end]) for start, end in itertools.pairwise(edges)]
        return (*_until(steps, Where.AFTER_HEAD, 0), *pieces, End())


class Insert(Struct, frozen=True):
    """Puts these bytes into the body after `after` pieces: comments, garbage, an event of any size."""

    data: bytes
    after: int = 1
    inner: Behaviour = _GOOD

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer with one more piece."""
        steps = self.inner.steps(request)
        before = _until_event(steps, self.after)
        return (*before, Body(self.data), *steps[len(before) :])


class Status(Struct, frozen=True):
    """An HTTP error. Without a `body` it is OpenAI's envelope; `retry_after` is seconds or an HTTP date."""

    code: int = 500
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    retry_after: float | str | None = None

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:  # noqa: ARG002 - the same for every request
        """The error, whole."""
        error = {"message": f"scripted status {self.code}", "type": "server_error", "code": str(self.code)}
        body = compact({"error": error}) if self.body is None else self.body
        wait = self.retry_after
        paced = () if wait is None else (("Retry-After", wait if isinstance(wait, str) else f"{wait:g}"),)
        return reply(self.code, JSON + self.headers + paced, body)


class Page(Struct, frozen=True):
    """A body that is not what was asked for: an HTML page with status 200, or anything else."""

    body: bytes = b"<!doctype html><title>Welcome</title><p>It works.</p>"
    content_type: str = "text/html"
    code: int = 200

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:  # noqa: ARG002 - the same for every request
        """The page, whole."""
        return reply(self.code, (("Content-Type", self.content_type),), self.body)


class BrokenJson(Struct, frozen=True):
    """Status 200 and JSON that stops in the middle; in a stream, one event of it."""

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The broken answer in the form that was asked for."""
        return _said(request, b'{"id":"chatcmpl-scripted","choices":[{"index":0,')


class ErrorBody(Struct, frozen=True):
    """Status 200 and an error inside; in a stream, an error event after `events` good ones."""

    message: str = "scripted error"
    events: int = 0

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The error in the form that was asked for."""
        error = {"error": {"message": self.message, "type": "server_error", "code": None}}
        if request.stream and self.events:
            good = _until_event(_GOOD.steps(request), self.events)
            return (*good, Body(event(error)), End())
        return _said(request, compact(error))


class EmptyChoices(Struct, frozen=True):
    """Status 200 and an answer without any choice; in a stream, `[DONE]` follows it."""

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The empty answer in the form that was asked for."""
        kind = "chat.completion.chunk" if request.stream else "chat.completion"
        empty = {"id": "chatcmpl-scripted", "object": kind, "model": request.model, "choices": []}
        return _said(request, compact(empty), Body(DONE))


def _said(request: ReceivedRequest, payload: bytes, *more: Body) -> tuple[Step, ...]:
    if not request.stream:
        return reply(200, JSON, payload)
    head = Head(200, (("Content-Type", "text/event-stream"),), Framing.CHUNKED)
    return (head, Body(b"data: " + payload + b"\n\n"), *more, End())


class Raw(Struct, frozen=True):
    """Any bytes: pairs of seconds to wait and what to write then. `close` ends the connection after them."""

    chunks: tuple[tuple[float, bytes], ...]
    close: bool = True

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:  # noqa: ARG002 - the same for every request
        """Pauses and bytes as given."""
        steps: list[Step] = []
        for seconds, data in self.chunks:
            steps += [Pause(seconds), Wire(data)] if seconds else [Wire(data)]
        return (*steps, Hangup()) if self.close else steps


class Relay(Struct, frozen=True):
    """The answer of a real server at `url` (plain HTTP), byte for byte; the connection ends after it."""

    url: str

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:  # noqa: ARG002 - the same for every request
        """One hand-over."""
        parts = urlsplit(self.url)
        return (Forward(parts.hostname or "127.0.0.1", parts.port or 80),)

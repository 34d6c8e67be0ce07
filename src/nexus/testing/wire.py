"""What a scripted upstream can do on a connection: small steps that behaviours are made of. No I/O."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct


class ReceivedRequest(Struct, frozen=True):
    """One request as it arrived. Header names are in lower case; `path` has no query."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    """Which connection it came on, counted from 1."""

    @property
    def json(self) -> Any:
        """The decoded body; an empty dict where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    @property
    def stream(self) -> bool:
        """Whether the client asked for a stream."""
        body = self.json
        return isinstance(body, dict) and body.get("stream") is True

    @property
    def model(self) -> str:
        """The model the client asked for; empty where it named none."""
        body = self.json
        name = body.get("model") if isinstance(body, dict) else None
        return name if isinstance(name, str) else ""


class Framing(StrEnum):
    """How the end of a body is told."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class Head(Struct, frozen=True):
    """Status line and headers. `headers` may override what the framing would add.

    `length` is announced with length framing, whether or not as many bytes follow.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    framing: Framing = Framing.LENGTH
    length: int = 0


class Body(Struct, frozen=True):
    """Some bytes of the body; with chunked framing one chunk, in one write."""

    data: bytes


class End(Struct, frozen=True):
    """The body is complete: the last chunk is written, or with close framing the connection ends."""


class Wire(Struct, frozen=True):
    """Bytes written as they are, whatever HTTP says of them."""

    data: bytes


class Pause(Struct, frozen=True):
    """Nothing for this many seconds."""

    seconds: float


class Stall(Struct, frozen=True):
    """Nothing more, until the client gives up or the server is stopped."""


class Hangup(Struct, frozen=True):
    """The connection ends: in good order (FIN), or with `reset` at once (RST)."""

    reset: bool = False


class Forward(Struct, frozen=True):
    """The request goes to another server, and that one's answer comes back byte for byte."""

    host: str
    port: int


Step = Head | Body | End | Wire | Pause | Stall | Hangup | Forward


class Behaviour(Protocol):
    """How a request is answered. A new fault is one small class with this one method."""

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """What to do, in order; after the last step the next request on the connection is read."""
        ...


_REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    408: "Request Timeout", 413: "Content Too Large", 422: "Unprocessable Content", 429: "Too Many Requests",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def reply(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[Step, ...]:
    """A whole answer of known length."""
    return (Head(status, headers, length=len(body)), Body(body), End())


def head_bytes(head: Head) -> bytes:
    """The head on the wire."""
    lines = [f"HTTP/1.1 {head.status} {_REASONS.get(head.status, 'Status')}"]
    named = {name.lower() for name, _ in head.headers}
    if head.framing is Framing.LENGTH and not named & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {head.length}")
    elif head.framing is Framing.CHUNKED and "transfer-encoding" not in named:
        lines.append("Transfer-Encoding: chunked")
    elif head.framing is Framing.CLOSE and "connection" not in named:
        lines.append("Connection: close")
    lines += [f"{name}: {value}" for name, value in head.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def on_the_wire(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same steps with heads, bodies and ends turned into the bytes they become."""
    raw: list[Step] = []
    framing = Framing.LENGTH
    for step in steps:
        if isinstance(step, Head):
            framing = step.framing
            raw.append(Wire(head_bytes(step)))
        elif isinstance(step, Body):
            raw.append(Wire(_chunk(step.data) if framing is Framing.CHUNKED else step.data))
        elif isinstance(step, End):
            if framing is Framing.CHUNKED:
                raw.append(Wire(b"0\r\n\r\n"))
            elif framing is Framing.CLOSE:
                raw.append(Hangup())
        else:
            raw.append(step)
    return tuple(raw)


def _chunk(data: bytes) -> bytes:
    # An empty chunk would end the body.
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

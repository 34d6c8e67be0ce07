"""The client's side of an exchange, as the proxy sees it. It does not know which HTTP server carries it."""

from typing import Protocol

from msgspec import Struct


class Upflow(Protocol):
    """Whom to tell when the client reads too slowly, when it has caught up, and when it is gone."""

    def pause(self) -> None:
        """Send nothing for now."""
        ...

    def resume(self) -> None:
        """Go on sending."""
        ...

    def client_gone(self) -> None:
        """The client went away before its answer was complete."""
        ...


class Downstream(Protocol):
    """Where an answer is written. `headers` are complete header lines, each ended by CRLF, without framing.

    The carrier adds `Content-Length` or chunked framing. After `reply`, `end`, `fault` or `abort` nothing
    more is written.
    """

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer at once."""
        ...

    def start(self, status: int, headers: bytes) -> None:
        """The head of an answer whose length is not known yet."""
        ...

    def write(self, data: bytes) -> None:
        """Some bytes of its body; never empty."""
        ...

    def end(self, *, close: bool = False) -> None:
        """The body is complete; `close` ends the connection after it."""
        ...

    def fault(self) -> None:
        """The gateway itself failed: an error, unless something was written already."""
        ...

    def abort(self) -> None:
        """Close the connection so that the client can tell that the body is incomplete."""
        ...


class ClientHeaders(Struct, frozen=True, gc=False):
    """What of the client's request head goes upstream or back.

    `forwarded` and `authorization` are blocks of header lines, each ended by CRLF; `request_id` is the value
    for `X-Request-Id`, or empty. `answer_lines` are header lines that the answer is to carry.
    """

    forwarded: bytes = b""
    authorization: bytes = b""
    request_id: str = ""
    answer_lines: str = ""

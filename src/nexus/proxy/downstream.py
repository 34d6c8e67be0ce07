"""The client's side of an exchange, as the proxy sees it. It does not know which HTTP server carries it."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


class Downstream(Protocol):
    """Where an answer is written. `headers` are complete header lines, each ended by CRLF, without framing.

    The carrier adds `Content-Length` or chunked framing. After `reply`, `end` or `abort` nothing more is
    written.
    """

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer at once."""
        ...

    def start(self, status: int, headers: bytes) -> None:
        """The head of an answer whose length is not known yet."""
        ...

    def write(self, data: bytes) -> None:
        """Some bytes of its body."""
        ...

    def end(self, *, close: bool = False) -> None:
        """The body is complete; `close` ends the connection after it."""
        ...

    def on_flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Whom to tell when the client reads too slowly, and when it has caught up."""
        ...


class ClientHeaders(Struct, frozen=True):
    """What of the client's request head goes upstream or back: blocks of header lines, each ended by CRLF."""

    forwarded: bytes = b""
    authorization: bytes = b""
    request_id: bytes = b""

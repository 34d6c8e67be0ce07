"""What the proxy asks of whatever carries its calls to upstreams, and what it is told in return.

`nexus.proxy.upstream` does it over sockets. The routing bench does it over simulated backends, so these are
the only words the two sides may exchange.
"""

from typing import Protocol

from nexus.core.outcome import FailureKind
from nexus.proxy.headers import ResponseHead
from nexus.proxy.origin import Origin


class CallHandler(Protocol):
    """Who is told how a call goes. After `on_end` or `on_failure` nothing more comes."""

    def on_head(self, head: ResponseHead) -> None:
        """The status and the headers."""
        ...

    def on_body(self, data: bytes) -> None:
        """Some bytes of the body, with any chunk framing removed."""
        ...

    def on_read_done(self) -> None:
        """Everything of one read has been handed over: the moment to pass it on in one piece."""
        ...

    def on_end(self) -> None:
        """The answer is complete."""
        ...

    def on_failure(self, kind: FailureKind, message: str) -> None:
        """The call broke; `message` is for a person."""
        ...


class RunningCall(Protocol):
    """One request on its way."""

    @property
    def paused(self) -> bool:
        """Whether the answer is not being read."""
        ...

    def pause(self) -> None:
        """Stop reading the answer until `resume`."""
        ...

    def resume(self) -> None:
        """Go on reading the answer."""
        ...

    def cancel(self) -> None:
        """End it at once, without a word to the handler."""
        ...


class Caller(Protocol):
    """Sends requests to upstreams."""

    def send(self, origin: Origin, data: bytes, handler: CallHandler) -> RunningCall:
        """Send a complete request; the handler is called back, never before this returns."""
        ...

    def is_connected(self, origin: Origin) -> bool:
        """Whether a connection is open there: somebody listens, or did a moment ago."""
        ...

"""One connection to an upstream, and one request on its way there, on httptools.

The head of an answer that repeats the one before it is not parsed again.
"""

import asyncio
import errno
from typing import Final, Protocol, cast

import httptools

from nexus.core.outcome import FailureKind
from nexus.proxy.calling import CallHandler
from nexus.proxy.headers import ResponseHead
from nexus.proxy.known_head import KnownHead, known_head
from nexus.proxy.opening import Opener, no_connection, too_slow
from nexus.proxy.origin import Origin
from nexus.proxy.turn import Turn

_FIRST_FINAL: Final = 200
_PLAIN: Final = 200
_MAX_HEAD_BYTES: Final = 65536
_TAKEN_AND_LOST: Final = frozenset({errno.ECONNRESET, errno.EPIPE})
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Home(Protocol):
    """The pool that a connection belongs to, as the connection sees it."""

    turn: Turn
    opener: Opener

    def connect(self, call: "Call") -> None:
        """Open a connection for this call."""
        ...

    def release(self, connection: "UpstreamConnection") -> None:
        """Keep a connection for the next call."""
        ...

    def discard(self, connection: "UpstreamConnection") -> None:
        """Forget a connection that is no longer usable."""
        ...

    def count(self, origin: Origin, change: int) -> None:
        """A connection was opened, or is gone."""
        ...


class Call:
    """One request in flight. `cancel()` ends it without a word to the handler."""

    __slots__ = ("connection", "data", "done", "handler", "origin", "task")

    def __init__(self, origin: Origin, data: bytes, handler: CallHandler) -> None:
        self.origin = origin
        self.data = data
        self.handler = handler
        self.connection: UpstreamConnection | None = None
        self.task: asyncio.Task[None] | None = None
        self.done = False

    def cancel(self) -> None:
        """Stop at once: the connection is closed, so the upstream stops generating."""
        if self.done:
            return
        self.done = True
        if self.connection is not None:
            self.connection.close()
        elif self.task is not None:
            self.task.cancel()

    def not_opened(self, kind: FailureKind, message: str) -> None:
        """No connection could be opened for it, unless it was in the last moment."""
        if self.connection is None:
            self.fail(kind, message)

    def fail(self, kind: FailureKind, message: str) -> None:
        """Tell the handler, once."""
        if not self.done:
            self.done = True
            self.handler.on_failure(kind, message)

    def pause(self) -> None:
        """Stop reading the answer until `resume`."""
        if self.connection is not None and not self.done:
            self.connection.transport.pause_reading()

    @property
    def paused(self) -> bool:
        """Whether the answer is not being read."""
        return self.connection is not None and not self.connection.transport.is_reading()

    def resume(self) -> None:
        """Go on reading the answer."""
        if self.connection is not None and not self.done:
            self.connection.transport.resume_reading()


class UpstreamConnection(asyncio.Protocol):
    """One connection. It carries one call at a time and goes back to the pool after a clean end.

    Args:
        pool, origin: where it belongs.
        call: the one it is opened for, which goes out as soon as it is open.
    """

    __slots__ = (
        "answered",
        "body_size",
        "call",
        "closing",
        "connecting",
        "head",
        "head_bytes",
        "headers",
        "idle_since",
        "origin",
        "owed",
        "parser",
        "pool",
        "received",
        "reused",
        "status",
        "transport",
    )

    __deletable__ = ("parser",)  # for who compiles this
    transport: asyncio.Transport
    # Only while the socket is open. It holds methods of this connection, and a cycle that is left to garbage
    # collection stays for hours.
    parser: httptools.HttpResponseParser

    def __init__(self, pool: Home, origin: Origin, call: Call | None = None) -> None:
        self.pool = pool
        self.origin = origin
        self.call = call
        self.headers: list[tuple[bytes, bytes]] = []
        self.head: ResponseHead | None = None
        self.body_size = 0
        self.owed = 0  # what is missing of a body whose head was known
        self.head_bytes = 0
        self.received = 0
        self.status = 0
        self.answered = False
        self.reused = False
        self.closing = False
        self.connecting: asyncio.TimerHandle | None = None
        self.idle_since = 0.0

    def send(self, call: Call) -> None:
        """Write a call's request; its answer goes to its handler."""
        self.call = call
        call.connection = self
        self.answered = False
        self.transport.write(call.data)

    def close(self) -> None:
        """Close without telling anyone."""
        self.call = None
        self.closing = True
        self.transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self.parser = httptools.HttpResponseParser(self)
        self.transport = cast("asyncio.Transport", transport)
        if transport.get_extra_info("peername") is not None:
            self.pool.count(self.origin, 1)
        else:
            self.connecting = self.pool.opener.expect(self.check_connected)
            # So that `resume_writing` tells when it is: what is written waits until then.
            self.transport.set_write_buffer_limits(0)
        if self.call is not None and self.call.done:
            self.close()
        elif self.call is not None:
            self.send(self.call)

    def resume_writing(self) -> None:
        """What was written is on its way, so the upstream has taken the connection."""
        self._taken()

    def check_connected(self) -> None:
        """Give up unless the upstream has taken the connection by now."""
        try:
            self.transport.get_extra_info("socket").getpeername()
        except OSError:
            self._break(FailureKind.CONNECT_TIMEOUT, too_slow(self.origin, self.pool.opener.connect_seconds))
        else:
            self._taken()  # a large request is still being sent

    def data_received(self, data: bytes) -> None:
        """Take in what came, with the parser unless it is an answer that repeats a known head."""
        call = self.call
        if call is None:
            # Bytes nobody asked for: the connection can't be trusted with the next request.
            self.pool.discard(self)
            self.close()
            return
        self.answered = True
        if self.owed:
            self._take_owed(call, data)
            return
        is_start = not self.status and not self.head_bytes
        known = self.origin.known
        if not is_start or known is None or not self._take_known(call, known, data):
            self._parse(data, is_start=is_start)

    def _parse(self, data: bytes, *, is_start: bool) -> None:
        self.received = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A fault of ours, not of the upstream: the loop logs it and closes the connection.
            raise
        except httptools.HttpParserError as error:
            self._break(FailureKind.PROTOCOL, f"the answer is not valid HTTP: {error}")
        except httptools.HttpParserUpgrade:
            self._break(FailureKind.PROTOCOL, "the upstream switched protocols")
        else:
            head, self.head = self.head, None
            if is_start and head is not None:
                self.origin.known = known_head(data, self.body_size, head) or self.origin.known
            if self.call is None:
                return
            if not self.status:
                self._bound_head(len(data))
            else:
                self.call.handler.on_read_done()

    def _take_known(self, call: Call, known: KnownHead[ResponseHead], data: bytes) -> bool:
        """Take in an answer with the known head, or its beginning; False leaves it to the parser."""
        begin, _, missing = known.body_at(data)
        if not begin:
            return False
        body = data[begin:]
        self.headers = known.head.headers
        self.status = known.head.status
        self.owed = missing
        call.handler.on_head(known.head)
        if body and self.call is call:
            call.handler.on_body(body)
        self._go_on(call)
        return True

    def _take_owed(self, call: Call, data: bytes) -> None:
        """More of the body of an answer whose head was known."""
        rest = data[self.owed :]
        piece = data[: self.owed] if rest else data
        self.owed -= len(piece)
        call.handler.on_body(piece)
        self._go_on(call)
        if rest and not self.closing:
            self._parse(rest, is_start=True)  # nobody asked for it

    def _go_on(self, call: Call) -> None:
        if self.call is not call:
            return  # it was given up
        if self.owed:
            call.handler.on_read_done()
        else:
            self._complete(call, keep=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: decide what that means for the call, if there is one."""
        del self.parser
        connecting, self.connecting = self.connecting, None
        if connecting is None:
            self.pool.count(self.origin, -1)
        else:
            connecting.cancel()
        self.closing = True
        self.pool.discard(self)
        call, self.call = self.call, None
        if call is None or call.done:
            return
        if connecting is not None and isinstance(exc, OSError) and exc.errno not in _TAKEN_AND_LOST:
            call.fail(FailureKind.CONNECT, no_connection(self.origin, exc))
        elif not self.answered and self.reused:
            # The pooled connection had been closed by the other side. Nothing of this request was answered,
            # so the same attempt goes out once more, on a connection that is certainly fresh.
            call.connection = None
            self.pool.connect(call)
        elif self.status and exc is None and not self._has_length():
            # An answer without a length ends where the connection does, if that ends in good order.
            call.done = True
            call.handler.on_end()
        elif self.status:
            call.fail(FailureKind.CUT, "the connection was closed in the middle of the answer")
        else:
            reason = f" ({exc})" if exc is not None else ""
            call.fail(FailureKind.RESET, f"the connection was closed before an answer{reason}")

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        """A new answer starts. One that nobody asked for, right behind another, is nobody's."""
        self.headers = []
        self.status = 0
        if self.call is None or not self.answered:
            self._drop_unasked()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the head on; interim answers (1xx) are skipped."""
        status = self.parser.get_status_code()
        if self.call is None or status < _FIRST_FINAL:
            return
        if self.head_bytes + self.received > _MAX_HEAD_BYTES < sum(len(n) + len(v) for n, v in self.headers):
            self._bound_head(self.received)
            return
        self.status = status
        self.head_bytes = 0
        self.body_size = 0
        head = ResponseHead(status, self.headers)
        if status == _PLAIN and self.parser.should_keep_alive():
            self.head = head  # one like it would mean the same
        self.call.handler.on_head(head)

    def on_body(self, data: bytes) -> None:
        """Hand some body on."""
        if self.call is not None:
            self.body_size += len(data)
            self.call.handler.on_body(data)

    def on_message_complete(self) -> None:
        """The answer is whole: free the connection first, so that the handler may use it again."""
        call = self.call
        if call is None or not self.status:
            return
        self._complete(call, keep=self.parser.should_keep_alive())

    def _complete(self, call: Call, *, keep: bool) -> None:
        self.call = None
        self.status = 0
        call.done = True
        if keep and not self.closing:
            self.pool.release(self)
        else:
            self.close()
        self.pool.turn.answered(call.handler.on_end)

    def _taken(self) -> None:
        """The upstream has taken the connection."""
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
            self.pool.count(self.origin, 1)
            # From here on all that is written in a turn goes out at its end, one after the other.
            self.transport.set_write_buffer_limits()

    def _drop_unasked(self) -> None:
        """End the connection; a call that had just got it goes out on a fresh one."""
        call = self.call
        self.pool.discard(self)
        self.close()
        if call is not None:
            call.connection = None
            self.pool.connect(call)

    def _bound_head(self, received: int) -> None:
        """Give up on a head that never ends."""
        self.head_bytes += received
        if self.head_bytes > _MAX_HEAD_BYTES:
            self._break(FailureKind.PROTOCOL, f"the answer's headers exceed {_MAX_HEAD_BYTES} bytes")

    def _has_length(self) -> bool:
        """Whether the body has an end of its own; else it ends where the connection does."""
        return any(name.lower() in _FRAMING for name, _ in self.headers)

    def _break(self, kind: FailureKind, message: str) -> None:
        call = self.call
        self.close()
        if call is not None:
            call.fail(kind, message)

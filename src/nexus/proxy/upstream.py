"""Pooled keep-alive HTTP/1.1 connections to upstreams, on httptools.

A `Call` is one request on its way: the pool writes it to an idle connection or opens one, and then calls the
handler back as the answer arrives. There is no task or future per call; only opening a connection takes one.
"""

import asyncio
import errno
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import cast

import httptools

from nexus.core.clock import Clock
from nexus.core.outcome import FailureKind
from nexus.proxy.calling import CallHandler
from nexus.proxy.opening import Opener, no_connection, too_slow
from nexus.proxy.origin import Origin
from nexus.proxy.turn import Turn

_FIRST_FINAL = 200
_MAX_HEAD_BYTES = 65536
_MAX_IDLE = 512
_IDLE_SECONDS = 60.0
_TAKEN_AND_LOST = frozenset({errno.ECONNRESET, errno.EPIPE})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


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
        "call",
        "closing",
        "connecting",
        "head_bytes",
        "headers",
        "idle_since",
        "origin",
        "parser",
        "pool",
        "received",
        "reused",
        "status",
        "transport",
    )

    transport: asyncio.Transport
    # Only while the socket is open. It holds methods of this connection, and a cycle that is left to garbage
    # collection stays for hours.
    parser: httptools.HttpResponseParser

    def __init__(self, pool: "UpstreamPool", origin: Origin, call: Call | None = None) -> None:
        self.pool = pool
        self.origin = origin
        self.call = call
        self.headers: list[tuple[bytes, bytes]] = []
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
        self.pool.turn.write(self.flush)

    def flush(self) -> None:
        """Send the request of the call, unless it was given up within the same turn of the loop."""
        if self.call is not None:
            self.transport.write(self.call.data)

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
            self.call.connection = self
            self.flush()

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
        """Feed the parser; its callbacks below run before this returns."""
        if self.call is None:
            # Bytes nobody asked for: the connection can't be trusted with the next request.
            self.pool.discard(self)
            self.close()
            return
        self.answered = True
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
            if self.call is not None:
                if not self.status:
                    self._bound_head(len(data))
                else:
                    self.call.handler.on_read_done()

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
        self.call.handler.on_head(status, self.headers)

    def on_body(self, data: bytes) -> None:
        """Hand some body on."""
        if self.call is not None:
            self.call.handler.on_body(data)

    def on_message_complete(self) -> None:
        """The answer is whole: free the connection first, so that the handler may use it again."""
        call = self.call
        if call is None or not self.status:
            return
        self.call = None
        self.status = 0
        call.done = True
        if self.parser.should_keep_alive() and not self.closing:
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

    def _drop_unasked(self) -> None:
        """End the connection; a call that had just got it, and is not sent yet, goes out on a fresh one."""
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


class UpstreamPool:
    """Idle connections by origin, newest first, and the opening of new ones.

    Args:
        loop: the running event loop.
        turn: sends what is written.
        clock: for the age of idle connections.
        connect_seconds: bound on opening a connection, name look-up and TLS included.
        tls: makes the TLS context, on first use; tests pass one that trusts their own certificate.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turn: Turn,
        clock: Clock,
        connect_seconds: float,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.open_connections = 0
        self.turn = turn
        self._clock = clock
        self.opener = Opener(loop, connect_seconds, tls)
        self._idle: dict[tuple[str, int, bool], list[UpstreamConnection]] = {}
        self._open_to: Counter[tuple[str, int, bool]] = Counter()

    def send(self, origin: Origin, data: bytes, handler: CallHandler) -> Call:
        """Send a complete request; the handler is called back, never before this returns."""
        call = Call(origin, data, handler)
        idle = self._idle.get(origin.key)
        while idle:
            connection = idle.pop()
            if not connection.closing:
                connection.reused = True
                connection.send(call)
                return call
        self.connect(call)
        return call

    def connect(self, call: Call) -> None:
        """Open a connection for this call."""
        make = partial(UpstreamConnection, self, call.origin, call)
        call.task = self.opener.open(call.origin, make, call.not_opened)

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next call, unless enough are kept already."""
        idle = self._idle.setdefault(connection.origin.key, [])
        if len(idle) >= _MAX_IDLE:
            connection.close()
            return
        connection.idle_since = self._clock.monotonic()
        idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is no longer usable."""
        idle = self._idle.get(connection.origin.key)
        if idle and connection in idle:
            idle.remove(connection)

    def count(self, origin: Origin, change: int) -> None:
        """A connection was opened, or is gone."""
        self.open_connections += change
        self._open_to[origin.key] += change
        if not self._open_to[origin.key]:
            del self._open_to[origin.key]

    def is_connected(self, origin: Origin) -> bool:
        """Whether a connection is open there: somebody listens, or did a moment ago."""
        return self._open_to[origin.key] > 0

    def sweep(self) -> None:
        """Close connections that have been idle for long. Call it every few seconds."""
        oldest = self._clock.monotonic() - _IDLE_SECONDS
        for key, idle in list(self._idle.items()):
            stale = [connection for connection in idle if connection.idle_since < oldest]
            self._idle[key] = [connection for connection in idle if connection.idle_since >= oldest]
            for connection in stale:
                connection.close()
            if not self._idle[key]:
                del self._idle[key]

    async def close(self) -> None:
        """Close every idle connection and give up those being opened."""
        self.opener.close()
        for idle in list(self._idle.values()):
            for connection in list(idle):
                connection.close()
        self._idle.clear()
        await asyncio.sleep(0)

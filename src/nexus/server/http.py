"""One client connection: reads HTTP/1.1 requests on httptools and writes their answers.

It is the `Downstream` of whatever request it is busy with. Requests of one connection are answered in order,
one at a time; what a client sends ahead waits.
"""

import asyncio
import logging
from collections import deque
from typing import cast

import httptools

from nexus.proxy.downstream import Upflow
from nexus.server.edge import EdgeContext, Incoming
from nexus.server.framing import (
    STATUS_LINES,
    connection_line,
    framing_headers,
    head_size,
    origin_form,
    status_line,
)

_log = logging.getLogger("nexus.server")
_IDLE_SECONDS = 120.0
_LINGER_SECONDS = 2.0
_FLUSH_SECONDS = 30.0
_NEVER = float("inf")
_MAX_HEAD_BYTES = 64 * 1024
_MAX_PIPELINED = 64
_WRITE_BUFFER = 256 * 1024
_NO_UPGRADE = "Upgrading the connection is not supported: send the request without an Upgrade header."
_VERSIONS = frozenset({"1.0", "1.1"})


class HttpConnection(asyncio.Protocol):
    """One client connection. `deadline` is the monotonic time at which `expire` is due."""

    __slots__ = (
        "_body",
        "_body_size",
        "_chunked",
        "_closing",
        "_context",
        "_discarding",
        "_head_bytes",
        "_head_complete",
        "_out",
        "_parser",
        "_received",
        "_upflow",
        "_waiting",
        "client",
        "deadline",
        "incoming",
        "reading",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, context: EdgeContext) -> None:
        self._context = context
        self._parser = httptools.HttpRequestParser(self)
        self._upflow: Upflow | None = None
        self._waiting: deque[Incoming] = deque()
        self._out: list[bytes] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_bytes = 0
        self._received = 0
        self._head_complete = False
        self._chunked = False
        self._closing = False
        self._discarding = False
        self.client = ""
        self.incoming: Incoming | None = None  # the request being answered
        self.reading: Incoming | None = None  # the request being read
        self.deadline = context.later + _IDLE_SECONDS

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) and peer else "local"
        self._context.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """The client is gone: whatever is being done for it stops."""
        del self._parser  # it holds methods of this connection: only garbage collection would free the two
        self._context.connections.discard(self)
        self._closing = True
        self._waiting.clear()
        upflow, self._upflow = self._upflow, None
        if upflow is not None:
            upflow.client_gone()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; its callbacks below run before this returns."""
        if self._discarding or self._closing:
            return
        self._received = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A fault of ours, not of the client: the loop logs it and closes the connection.
            raise
        except httptools.HttpParserError as error:
            self._refuse_unread(400, "invalid_request_error", f"The request is not valid HTTP/1.1: {error}")
        except httptools.HttpParserUpgrade:
            # Refused where the head was complete, all but CONNECT, which is no upgrade to the parser.
            self._refuse_unread(400, "invalid_request_error", _NO_UPGRADE)
        else:
            if self.reading is not None and not self._head_complete:
                self._head_bytes += len(data)
                if self._head_bytes > _MAX_HEAD_BYTES:
                    self._refuse_large_head()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        if self._upflow is not None:
            self._upflow.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._upflow is not None:
            self._upflow.resume()

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        """A new request starts. What follows one that was refused, or the last one, is never read as one."""
        if self._discarding or self._closing:
            return
        self.reading = Incoming()
        self._body = []
        self._body_size = 0
        self._head_bytes = 0
        self._head_complete = False
        if self.incoming is None:
            context = self._context
            self.deadline = context.later + context.limits.header_timeout_seconds

    def on_url(self, url: bytes) -> None:
        """The request target, which may come in pieces."""
        if self.reading is not None:
            self.reading.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if self.reading is not None:
            self.reading.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: refuse now what need not be read further."""
        reading = self.reading
        if reading is None:
            return
        self._head_complete = True
        reading.method = self._parser.get_method()
        reading.version = self._parser.get_http_version()
        reading.keep_alive = self._parser.should_keep_alive()
        reading.path, _, reading.query = reading.path.partition(b"?")
        if not reading.path.startswith(b"/"):
            reading.path = origin_form(reading.path)
        if reading.version not in _VERSIONS:
            self._refuse_unread(505, "invalid_request_error", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
            return
        self._check_head(reading)

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if self.reading is None:
            return
        self._body_size += len(data)
        if self._body_size > self._context.limits.max_body_bytes:
            self._refuse_too_large()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The request is whole: handle it, or let it wait for the one before it."""
        reading, self.reading = self.reading, None
        if reading is None:
            return
        reading.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self.incoming is None:
            self._accept(reading)
        elif len(self._waiting) < _MAX_PIPELINED:
            self._waiting.append(reading)
            self.transport.pause_reading()
        else:
            self.transport.abort()

    # --- Downstream

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer at once."""
        incoming = self.incoming
        keep = incoming is not None and incoming.keep_alive and not self._context.draining
        plain = keep and incoming is not None and incoming.version == "1.1"
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        if incoming is not None and incoming.method == b"HEAD":
            body = b""
        start = STATUS_LINES.get(status) or status_line(status)
        connection = b"" if plain else connection_line(incoming, keep=keep)
        self._send(b"".join((start, self._context.date_line, headers, connection, length, body)))
        self._done(keep=keep)

    def start(self, status: int, headers: bytes) -> None:
        """The head of an answer of unknown length."""
        incoming = self.incoming
        self._chunked = incoming is not None and incoming.version == "1.1"
        if incoming is not None and not self._chunked:
            incoming.keep_alive = False
        keep = incoming is not None and incoming.keep_alive and not self._context.draining
        self._send(
            b"%b%b%b%b%b\r\n"
            % (
                status_line(status),
                self._context.date_line,
                headers,
                connection_line(incoming, keep=keep),
                b"Transfer-Encoding: chunked\r\n" if self._chunked else b"",
            )
        )

    def write(self, data: bytes) -> None:
        """Some bytes of its body."""
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, *, close: bool = False) -> None:
        """The body is complete."""
        incoming = self.incoming
        if self._chunked:
            self._send(b"0\r\n\r\n")
        keep = incoming is not None and incoming.keep_alive and not self._context.draining
        self._done(keep=keep and not close)

    def abort(self) -> None:
        """Break the connection off, so that the client sees that the body is incomplete."""
        self.flush()
        self._upflow = None
        self._closing = True
        self.transport.abort()

    # --- used by handlers and by the context

    def take_up(self) -> None:
        """Begin to answer the request that has arrived, unless the connection ended in the meantime."""
        incoming = self.incoming
        if incoming is None or self._closing:
            return
        try:
            self._context.dispatch(self, incoming)
        except Exception:  # noqa: BLE001  # reason: a fault of ours must not leave the client without an answer
            _log.exception("answering %s failed", incoming.path.decode("latin-1"))
            if self.incoming is incoming and not self._out:
                self._context.refuse_for_fault(self)

    def serve_with(self, upflow: Upflow) -> None:
        """Whom to tell of a slow or vanished client, until the answer is complete."""
        self._upflow = upflow

    def expire(self) -> None:
        """The deadline has passed."""
        if self.reading is not None and not self._discarding:
            what, setting = ("body", "body") if self._head_complete else ("head", "header")
            seconds = getattr(self._context.limits, f"{setting}_timeout_seconds")
            self._refuse_unread(
                408, "request_timeout", f"The request's {what} was not complete after {seconds:g} s."
            )
            return
        self.deadline = _NEVER
        self.transport.abort()

    def close_if_idle(self) -> None:
        """Close unless a request is being answered; used when the gateway shuts down."""
        if self.incoming is None:
            self.transport.close()

    def abort_now(self) -> None:
        """Close at once; whoever is answering learns that the client is gone."""
        self.transport.abort()

    def flush(self) -> None:
        """Send what was written in this turn of the loop."""
        out = self._out
        if out and not self._closing:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()

    # --- steps

    def _send(self, data: bytes) -> None:
        if not self._out:
            self._context.turn.write(self.flush)
        self._out.append(data)

    def _accept(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.deadline = _NEVER
        incoming.received_at = self._context.clock.monotonic()
        self._context.turn.asked(self.take_up)

    def _done(self, *, keep: bool) -> None:
        """The answer is written: go on to the next request or close."""
        self._upflow = None
        self.incoming = None
        context = self._context
        if self._discarding:
            return
        if not keep:
            self.flush()
            self._closing = True
            self.deadline = context.later + _FLUSH_SECONDS
            self.transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        elif self.reading is None:
            self.deadline = context.later + _IDLE_SECONDS
        else:
            limits = context.limits
            self.deadline = context.later + (
                limits.body_timeout_seconds if self._head_complete else limits.header_timeout_seconds
            )

    def _next(self) -> None:
        if self._closing or self.incoming is not None or not self._waiting:
            return
        incoming = self._waiting.popleft()
        if not self._waiting:
            self.transport.resume_reading()
        self._accept(incoming)

    def _refuse_large_head(self) -> None:
        message = f"The request's head exceeds {_MAX_HEAD_BYTES} bytes."
        self._refuse_unread(431, "invalid_request_error", message)

    def _check_head(self, reading: Incoming) -> None:
        if self._head_bytes + self._received > _MAX_HEAD_BYTES < head_size(reading):
            self._refuse_large_head()
            return
        host, length, expect = framing_headers(reading)
        if host is None and reading.version == "1.1":
            self._refuse_unread(400, "invalid_request_error", "The request has no Host header.")
            return
        if self._parser.should_upgrade():
            self._refuse_unread(400, "invalid_request_error", _NO_UPGRADE)
            return
        if length is not None and int(length) > self._context.limits.max_body_bytes:
            self._refuse_too_large()
            return
        if self.incoming is None:
            context = self._context
            self.deadline = context.later + context.limits.body_timeout_seconds
        if expect is not None and expect.lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse_too_large(self) -> None:
        limit = self._context.limits.max_body_bytes
        self._refuse_unread(
            413, "request_too_large", f"The body is larger than {limit} bytes (server.max_body_bytes)."
        )

    def _refuse_unread(self, status: int, code: str, message: str) -> None:
        """Answer before the request was read, then read no more of it.

        The socket is closed only after a moment: closing with unread bytes would reset the connection, and
        the client might lose the answer.
        """
        if self._discarding or self._closing:
            return
        reading, self.reading = self.reading, None
        if self.incoming is not None:
            # There is no place for an error: what came before is answered, and then the connection ends.
            last = self._waiting[-1] if self._waiting else self.incoming
            last.keep_alive = False
            return
        self._discarding = True
        self.incoming = reading if reading is not None else Incoming()
        self.incoming.keep_alive = False
        self._context.refuse(self, status, code, message)
        self.incoming = None
        self.deadline = self._context.later + _LINGER_SECONDS
        self.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()

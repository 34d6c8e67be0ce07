"""One client connection: reads HTTP/1.1 requests on httptools and writes their answers.

It is the `Downstream` of whatever request it is busy with. Requests of one connection are answered in order,
one at a time; what a client sends ahead waits.
"""

import asyncio
import logging
from typing import Final, cast

from nexus.proxy.downstream import Upflow
from nexus.server.edge import EdgeContext, Incoming, RequestHead
from nexus.server.framing import STATUS_LINES, connection_line, status_line
from nexus.server.reading import RequestReader

_log: Final = logging.getLogger("nexus.server")
_IDLE_SECONDS: Final = 120.0
_LINGER_SECONDS: Final = 2.0
_FLUSH_SECONDS: Final = 30.0
_NEVER: Final = float("inf")
_WRITE_BUFFER: Final = 256 * 1024


class HttpConnection(RequestReader):
    """One client connection. `deadline` is the monotonic time at which `expire` is due."""

    __slots__ = ("_chunked", "_out", "_upflow", "client")

    def __init__(self, context: EdgeContext) -> None:
        super().__init__(context)
        self._upflow: Upflow | None = None
        self._out: list[bytes] = []
        self._chunked = False
        self.client = ""
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

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        if self._upflow is not None:
            self._upflow.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._upflow is not None:
            self._upflow.resume()

    # --- Downstream

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """A whole answer at once."""
        incoming = self.incoming
        keep = incoming is not None and incoming.keep_alive and not self._context.draining
        plain = keep and incoming is not None and incoming.head.version == "1.1"
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        if incoming is not None and incoming.head.method == b"HEAD":
            body = b""
        start = STATUS_LINES.get(status) or status_line(status)
        connection = b"" if plain else connection_line(incoming, keep=keep)
        self._send(b"".join((start, self._context.date_line, headers, connection, length, body)))
        self._done(keep=keep)

    def start(self, status: int, headers: bytes) -> None:
        """The head of an answer of unknown length."""
        incoming = self.incoming
        self._chunked = incoming is not None and incoming.head.version == "1.1"
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

    def fault(self) -> None:
        """The gateway itself failed on the request: say so, unless an answer has begun."""
        if not self._out:
            self._context.refuse_for_fault(self)

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
            _log.exception("answering %s failed", incoming.head.path.decode("latin-1"))
            if self.incoming is incoming:
                self.fault()

    def serve_with(self, upflow: Upflow) -> None:
        """Whom to tell of a slow or vanished client, until the answer is complete."""
        self._upflow = upflow

    def expire(self) -> None:
        """The deadline has passed."""
        if self.reading is not None and not self._discarding:
            what, setting = ("body", "body") if self._head_complete else ("head", "header")
            seconds = getattr(self._context.limits, f"{setting}_timeout_seconds")
            self.refuse_unread(
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

    def refuse_unread(self, status: int, code: str, message: str) -> None:
        """Answer before the request was read, then read no more of it.

        The socket is closed only after a moment: closing with unread bytes would reset the connection, and
        the client might lose the answer.
        """
        if self._discarding or self._closing:
            return
        self._known = None
        reading, self.reading = self.reading, None
        if self.incoming is not None:
            # There is no place for an error: what came before is answered, and then the connection ends.
            last = self._waiting[-1] if self._waiting else self.incoming
            last.keep_alive = False
            return
        self._discarding = True
        self.incoming = reading if reading is not None else Incoming(RequestHead())
        self.incoming.keep_alive = False
        self._context.refuse(self, status, code, message)
        self.incoming = None
        self.deadline = self._context.later + _LINGER_SECONDS
        self.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()

"""The reading half of a client connection: from bytes to whole requests, on httptools.

The head of a request that repeats the one before it is not parsed again.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Final

import httptools

from nexus.proxy.known_head import KnownHead, known_head
from nexus.server.edge import EdgeContext, Incoming, RequestHead
from nexus.server.framing import framing_headers, head_size, origin_form

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_PIPELINED: Final = 64
_NEVER: Final = float("inf")
_NO_UPGRADE: Final = "Upgrading the connection is not supported: send the request without an Upgrade header."
_VERSIONS: Final = frozenset({"1.0", "1.1"})


class RequestReader(asyncio.Protocol, ABC):
    """Reads requests, bounds them, and hands them to `take_up` in order, one at a time.

    `deadline` is the monotonic time at which the connection expires.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_closing",
        "_context",
        "_discarding",
        "_head_bytes",
        "_head_complete",
        "_known",
        "_owed",
        "_parser",
        "_received",
        "_waiting",
        "_whole",
        "deadline",
        "incoming",
        "reading",
        "transport",
    )

    __deletable__ = ("_parser",)  # for who compiles this
    transport: asyncio.Transport

    def __init__(self, context: EdgeContext) -> None:
        self._context = context
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Incoming] = deque()
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_bytes = 0
        self._received = 0
        self._owed = 0  # what is missing of a body whose head was known
        self._head_complete = False
        self._closing = False
        self._discarding = False
        self._known = context.known
        self._whole: Incoming | None = None  # the request that the last read completed
        self.incoming: Incoming | None = None  # the request being answered
        self.reading: Incoming | None = None  # the request being read
        self.deadline = _NEVER

    @abstractmethod
    def take_up(self) -> None:
        """Begin to answer `incoming`."""

    @abstractmethod
    def refuse_unread(self, status: int, code: str, message: str) -> None:
        """Answer before the request was read, then read no more of it."""

    def data_received(self, data: bytes) -> None:
        """Take in what came, with the parser unless it is a request that repeats a known head."""
        if self._discarding or self._closing:
            return
        if self._owed:
            self._take_owed(data)
            return
        is_start = self.reading is None
        known = self._known
        if not is_start or known is None or not self._take_known(known, data):
            self._parse(data, is_start=is_start)

    def _take_known(self, known: KnownHead[RequestHead], data: bytes) -> bool:
        """Take in a request with the known head, or its beginning; False leaves it to the parser."""
        begin, size, missing = known.body_at(data)
        if not begin or size > self._context.limits.max_body_bytes:
            return False
        incoming = Incoming(known.head)
        body = data[begin:]
        if not missing:
            incoming.body = body
            self._take(incoming)
            return True
        self.reading = incoming
        self._owed = missing
        self._body = [body] if body else []
        self._head_complete = True
        if self.incoming is None:
            context = self._context
            self.deadline = context.later + context.limits.body_timeout_seconds
        return True

    def _take_owed(self, data: bytes) -> None:
        """More of the body of a request whose head was known, and perhaps what follows it."""
        rest = data[self._owed :]
        self._body.append(data[: self._owed] if rest else data)
        self._owed -= len(self._body[-1])
        if not self._owed:
            self._complete()
            if rest:
                self.data_received(rest)

    def _parse(self, data: bytes, *, is_start: bool) -> None:
        self._received = len(data)
        self._whole = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A fault of ours, not of the client: the loop logs it and closes the connection.
            raise
        except httptools.HttpParserError as error:
            self.refuse_unread(400, "invalid_request_error", f"The request is not valid HTTP/1.1: {error}")
        except httptools.HttpParserUpgrade:
            # Refused where the head was complete, all but CONNECT, which is no upgrade to the parser.
            self.refuse_unread(400, "invalid_request_error", _NO_UPGRADE)
        else:
            self._know(data, is_start=is_start)
            if self.reading is not None and not self._head_complete:
                self._head_bytes += len(data)
                if self._head_bytes > _MAX_HEAD_BYTES:
                    self._refuse_large_head()

    def _know(self, data: bytes, *, is_start: bool) -> None:
        """Remember the head in `data`, where it is worth it and would mean the same again."""
        whole, self._whole = self._whole, None
        if not is_start:
            if whole is not None and not whole.keep_alive:
                self._known = None
            return
        self._known = None
        reading = self.reading
        if reading is not None and self._head_complete:
            whole = reading
        if whole is None or not whole.keep_alive or whole.head.path not in self._context.posts:
            return
        if whole.head.version == "1.1" and whole.head.header(b"expect") is None:
            self._known = known_head(data, self._body_size, whole.head)
            self._context.known = self._known or self._context.known

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        """A new request starts. What follows one that was refused, or the last one, is never read as one."""
        if self._discarding or self._closing:
            return
        self.reading = Incoming(RequestHead())
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
            self.reading.head.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if self.reading is not None:
            self.reading.head.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: refuse now what need not be read further."""
        reading = self.reading
        if reading is None:
            return
        self._head_complete = True
        head = reading.head
        head.method = self._parser.get_method()
        head.version = self._parser.get_http_version()
        reading.keep_alive = self._parser.should_keep_alive()
        head.path, _, head.query = head.path.partition(b"?")
        if not head.path.startswith(b"/"):
            head.path = origin_form(head.path)
        if head.version not in _VERSIONS:
            self.refuse_unread(505, "invalid_request_error", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
            return
        self._check_head(head)

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
        """The request is whole."""
        self._whole = self.reading
        self._complete()

    # --- steps

    def _complete(self) -> None:
        reading, self.reading = self.reading, None
        if reading is None:
            return
        pieces, self._body = self._body, []  # an idle connection keeps no body
        reading.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._take(reading)

    def _take(self, incoming: Incoming) -> None:
        """Answer a whole request, or let it wait for the one before it."""
        if self.incoming is None:
            self._accept(incoming)
        elif len(self._waiting) < _MAX_PIPELINED:
            self._waiting.append(incoming)
            self.transport.pause_reading()
        else:
            self.transport.abort()

    def _accept(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.deadline = _NEVER
        context = self._context
        incoming.received_at = context.clock.monotonic()
        context.turn.asked(self.take_up)

    def _next(self) -> None:
        if self._closing or self.incoming is not None or not self._waiting:
            return
        incoming = self._waiting.popleft()
        if not self._waiting:
            self.transport.resume_reading()
        self._accept(incoming)

    def _check_head(self, head: RequestHead) -> None:
        if self._head_bytes + self._received > _MAX_HEAD_BYTES < head_size(head):
            self._refuse_large_head()
            return
        host, length, expect = framing_headers(head)
        if host is None and head.version == "1.1":
            self.refuse_unread(400, "invalid_request_error", "The request has no Host header.")
            return
        if self._parser.should_upgrade():
            self.refuse_unread(400, "invalid_request_error", _NO_UPGRADE)
            return
        if length is not None and int(length) > self._context.limits.max_body_bytes:
            self._refuse_too_large()
            return
        if self.incoming is None:
            context = self._context
            self.deadline = context.later + context.limits.body_timeout_seconds
        if expect is not None and expect.lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse_large_head(self) -> None:
        message = f"The request's head exceeds {_MAX_HEAD_BYTES} bytes."
        self.refuse_unread(431, "invalid_request_error", message)

    def _refuse_too_large(self) -> None:
        limit = self._context.limits.max_body_bytes
        self.refuse_unread(
            413, "request_too_large", f"The body is larger than {limit} bytes (server.max_body_bytes)."
        )

"""What all client connections share: limits, keys, handlers, and who is told of refused requests."""

import hashlib
import math
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Final, Protocol

from nexus.core.clock import Clock
from nexus.core.errors import ErrorContext, ErrorReply, ErrorType, error_reply
from nexus.proxy.downstream import Downstream, Upflow
from nexus.proxy.headers import header_text
from nexus.proxy.known_head import KnownHead
from nexus.proxy.turn import Turn
from nexus.server.edge_records import EdgeLimits, Unrouted
from nexus.server.hints import Hints
from nexus.server.trace import TraceIds

_MAX_REQUEST_ID: Final = 128
TICK_SECONDS: Final = 1.0
"""How often `EdgeContext.tick` is due."""


class RequestHead:
    """The head of a request. Header names are in lower case; requests with the same head may share one.

    `hints` is what the headers say to the gateway, once somebody has read them.
    """

    __slots__ = ("headers", "hints", "method", "path", "query", "version")

    def __init__(self) -> None:
        self.method = b""
        self.path = b""
        self.query = b""
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        self.hints: Hints | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, None where it is absent."""
        for each, value in self.headers:
            if each == name:
                return value
        return None


class Incoming:
    """One request as read from a connection. `received_at` is when it was whole, as a monotonic reading."""

    # Defaults of the class, not of each instance: one is made per request.
    body = b""
    keep_alive = True
    received_at = 0.0

    def __init__(self, head: RequestHead) -> None:
        self.head = head


class ClientConnection(Downstream, Protocol):
    """A client's connection as handlers and the context see it.

    `client` is the peer's address, `incoming` the request being answered, `deadline` the monotonic time at
    which `expire` is due.
    """

    client: str
    incoming: Incoming | None
    deadline: float

    def serve_with(self, upflow: Upflow) -> None:
        """Whom to tell of a slow or vanished client, until the answer is complete."""
        ...

    def expire(self) -> None:
        """The deadline has passed."""
        ...

    def close_if_idle(self) -> None:
        """Close unless a request is being answered."""
        ...

    def abort_now(self) -> None:
        """Close at once."""
        ...


Handler = Callable[["EdgeContext", ClientConnection, Incoming], None]
"""Takes one complete request and sees to its answer, now or later, through the connection."""


class EdgeContext:
    """The shared side of all connections.

    Args:
        clock: for deadlines.
        turn: takes up what arrived, and sends what is written.
        limits: bounds on heads, bodies and their duration.
        posts: handlers of the inference paths, by path; only POST is allowed there.
        control: the handler of every other path.
        api_keys: accepted keys; empty means that no key is asked for.
        unrouted: told of each request at an inference path that was refused before it became one.
        trace_ids: makes the ids of requests.

    `known` is the head of a request at an inference path, which new connections may repeat. `asks_for_key`
    says whether requests need a key. A deadline is `later` plus the time something may take.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        turn: Turn,
        limits: EdgeLimits,
        posts: Mapping[bytes, Handler],
        control: Handler,
        api_keys: tuple[str, ...],
        unrouted: Callable[[Unrouted], None],
        trace_ids: TraceIds,
    ) -> None:
        self.clock = clock
        self.turn = turn
        self.known: KnownHead[RequestHead] | None = None
        self.limits = limits
        self.posts = posts
        self.control = control
        self.unrouted = unrouted
        self.trace_ids = trace_ids
        self.connections: set[ClientConnection] = set()
        self.draining = False
        self.date_line = b""
        # Digests are compared, so that the time a comparison takes says nothing about a key.
        self._keys = frozenset(_digest(key.encode()) for key in api_keys)
        self.asks_for_key = bool(self._keys)
        self.tick()

    def tick(self) -> None:
        """Close what has waited too long and refresh the date. Call it every `TICK_SECONDS`."""
        self.date_line = f"Date: {formatdate(self.clock.time(), usegmt=True)}\r\n".encode()
        now = self.clock.monotonic()
        # Deadlines count from here: never early, and late by a tick at most.
        self.later = now + TICK_SECONDS
        for connection in [each for each in self.connections if each.deadline <= now]:
            connection.expire()

    def dispatch(self, connection: ClientConnection, incoming: Incoming) -> None:
        """Hand a request to whoever answers its path."""
        if self.asks_for_key and not self.authorized(incoming):
            self.refuse_without_key(connection)
            return
        handler = self.posts.get(incoming.head.path, self.control)
        if handler is not self.control and incoming.head.method != b"POST":
            message = f"{incoming.head.path.decode('latin-1')} takes POST only."
            self.refuse(connection, 405, "method_not_allowed", message, extra="Allow: POST\r\n")
            return
        handler(self, connection, incoming)

    def authorized(self, incoming: Incoming) -> bool:
        """Whether the request carries one of the gateway's keys, or its path needs none."""
        if incoming.head.path == b"/health" or incoming.head.path.startswith(b"/health/"):
            return True
        scheme, _, token = (incoming.head.header(b"authorization") or b"").partition(b" ")
        if scheme.lower() == b"bearer" and _digest(token.strip()) in self._keys:
            return True
        return _digest((incoming.head.header(b"x-api-key") or b"").strip()) in self._keys

    def refuse_without_key(self, connection: ClientConnection) -> None:
        """Answer a request that carries none of the gateway's keys."""
        self.refuse(
            connection,
            401,
            "invalid_api_key",
            "This gateway needs one of its API keys: send it as `Authorization: Bearer <key>`.",
            "authentication_error",
            extra="WWW-Authenticate: Bearer\r\n",
        )

    def refuse_for_fault(self, connection: ClientConnection) -> None:
        """Answer a request that the gateway itself failed on."""
        message = "The gateway failed to answer; its log says why."
        self.refuse(connection, 500, "internal_error", message, "internal_error")

    def refuse(
        self,
        connection: ClientConnection,
        status: int,
        code: str,
        message: str,
        error_type: ErrorType = "invalid_request_error",
        *,
        param: str | None = None,
        retry_after: float | None = None,
        extra: str = "",
    ) -> None:
        """Answer a request that goes no further, and count it."""
        incoming = connection.incoming
        trace_id = self.trace_ids.next()
        context = ErrorContext(trace_id=trace_id, retry_after_seconds=retry_after)
        reply = error_reply(status, code, message, error_type, param=param, context=context)
        given = incoming.head.header(b"x-request-id") if incoming is not None else None
        request_id = header_text(given.decode("latin-1")[:_MAX_REQUEST_ID]) if given else trace_id
        connection.reply(reply.status, error_headers(reply, request_id, extra), reply.encode())
        if incoming is not None and incoming.head.path in self.posts:
            path = incoming.head.path.decode("latin-1")
            self.unrouted(Unrouted(status, code, path, trace_id, connection.client))


def error_headers(reply: ErrorReply, request_id: str, extra: str = "") -> bytes:
    """The header block of an error that the edge itself gives."""
    lines = (
        f"Content-Type: application/json\r\nX-Nexus-Trace-Id: {reply.error.context.trace_id}\r\n"
        f"X-Request-Id: {request_id}\r\nX-Nexus-Overhead-Ms: 0.000\r\n{extra}"
    )
    if reply.retry_after is not None:
        lines += f"Retry-After: {max(1, math.ceil(reply.retry_after))}\r\n"
    return lines.encode("latin-1")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()

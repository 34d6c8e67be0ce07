"""The inference surfaces: from a complete HTTP request to an exchange."""

from msgspec import Struct

from nexus.core.request import Constraints, Priority, Request, Surface, Task
from nexus.proxy.downstream import ClientHeaders
from nexus.proxy.forward import Forwarder
from nexus.server.body import BodyError, read_body
from nexus.server.edge import ClientConnection, EdgeContext, Incoming

PATHS = {
    b"/v1/chat/completions": Surface.CHAT,
    b"/v1/completions": Surface.COMPLETION,
    b"/v1/embeddings": Surface.EMBEDDING,
}
_DEFAULT_TASK = {
    Surface.CHAT: Task.GENERATE,
    Surface.COMPLETION: Task.GENERATE,
    Surface.EMBEDDING: Task.EMBED,
}
# Everything else that a client sends goes upstream. These are about the client's own connection, or are the
# gateway's: a compressed answer, for one, could not be checked on its way through.
_NOT_FORWARDED = frozenset(
    {
        b"host",
        b"content-length",
        b"content-type",
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"accept-encoding",
        b"proxy-authorization",
        b"proxy-connection",
        b"cookie",
        b"user-agent",
        b"x-api-key",
    }
)
_JSON = b"application/json"
_MAX_TOKEN = 128


class _Hints(Struct):
    """What the client's headers say."""

    restricted: bool = False
    strict: bool = False
    flexible: bool = False
    priority: str = ""
    task: str = ""
    session: str | None = None
    project: str | None = None
    authorization: bytes = b""
    request_id: str = ""
    forwarded: bytes = b""
    content_type: bytes = _JSON
    privacy: str = ""


class InferenceSurface:
    """Handles one inference path.

    `max_concurrent_requests` bounds the requests in flight over all surfaces; beyond it a request is refused
    at once.
    """

    def __init__(self, surface: Surface, forwarder: Forwarder, max_concurrent_requests: int) -> None:
        self._surface = surface
        self._forwarder = forwarder
        self._max_concurrent = max_concurrent_requests

    def __call__(self, context: EdgeContext, connection: ClientConnection, incoming: Incoming) -> None:
        """Turn the request into an exchange, or refuse it with what is wrong with it."""
        refused = self._overloaded(context)
        if refused:
            context.refuse(connection, 503, "overloaded", refused, "service_unavailable", retry_after=1.0)
            return
        hints = _read_headers(incoming.headers)
        if not _is_json(hints.content_type):
            shown = hints.content_type.decode("latin-1")[:80]
            message = f"The content type is {shown!r}; send application/json."
            context.refuse(connection, 415, "unsupported_media_type", message)
            return
        wrong = _wrong_hint(hints)
        fields = read_body(self._surface, incoming.body) if wrong is None else wrong
        if isinstance(fields, BodyError):
            context.refuse(connection, 400, "invalid_request_error", fields.message, param=fields.param)
            return
        request = Request(
            trace_id=context.trace_ids.next(),
            surface=self._surface,
            model=fields.model,
            needs=fields.needs,
            body=incoming.body,
            received_at=incoming.received_at,
            constraints=Constraints(hints.restricted, _flexible(hints)),
            task=Task(hints.task) if hints.task else _DEFAULT_TASK[self._surface],
            priority=Priority(hints.priority) if hints.priority else Priority.NORMAL,
            session=hints.session,
            project=hints.project,
            client=connection.client,
        )
        headers = ClientHeaders(hints.forwarded, hints.authorization, hints.request_id)
        path = incoming.path.decode("latin-1")
        exchange = self._forwarder.forward(request, path, headers, connection)
        if exchange in self._forwarder.active:
            connection.serve_with(exchange)

    def _overloaded(self, context: EdgeContext) -> str:
        """Why no request can be taken on now; empty when one can."""
        if context.draining:
            return "The gateway is shutting down."
        if len(self._forwarder.active) >= self._max_concurrent:
            limit = self._max_concurrent
            return f"{limit} requests are in flight already (server.max_concurrent_requests)."
        return ""


def _read_headers(headers: list[tuple[bytes, bytes]]) -> _Hints:
    hints = _Hints()
    forwarded: list[bytes] = []
    for name, value in headers:
        if name == b"content-type":
            hints.content_type = value
        elif name in _NOT_FORWARDED:
            continue
        elif name == b"authorization":
            hints.authorization = b"Authorization: %b\r\n" % value
        elif name == b"x-request-id":
            hints.request_id = value.decode("latin-1")[:_MAX_TOKEN]
        elif name.startswith(b"x-nexus-"):
            _read_own_header(hints, name, value.decode("latin-1").strip())
        else:
            forwarded.append(b"%b: %b\r\n" % (name, value))
    hints.forwarded = b"".join(forwarded)
    return hints


def _read_own_header(hints: _Hints, name: bytes, value: str) -> None:
    match name:
        case b"x-nexus-privacy":
            hints.privacy = value.lower()
            hints.restricted = hints.privacy == "restricted"
        case b"x-nexus-strict":
            hints.strict = value.lower() not in {"false", "0"}
        case b"x-nexus-flexible":
            hints.flexible = value.lower() not in {"false", "0"}
        case b"x-nexus-priority":
            hints.priority = value.lower()
        case b"x-nexus-task":
            hints.task = value.lower()
        case b"x-nexus-session":
            hints.session = value[:_MAX_TOKEN]
        case b"x-nexus-project":
            hints.project = value[:_MAX_TOKEN]
        case _:
            pass  # a header of a later version, or of somebody else's


def _wrong_hint(hints: _Hints) -> BodyError | None:
    if hints.priority and hints.priority not in set(Priority):
        return BodyError("The header X-Nexus-Priority must be high or normal.")
    if hints.task and hints.task not in set(Task):
        return BodyError(f"The header X-Nexus-Task must be one of {', '.join(Task)}.")
    if hints.privacy not in {"", "restricted", "open"}:
        # A typing error here would otherwise send private text to an open zone.
        return BodyError("The header X-Nexus-Privacy must be restricted; it can only tighten.")
    return None


def _flexible(hints: _Hints) -> bool | None:
    if hints.strict:
        return False
    return True if hints.flexible else None


def _is_json(content_type: bytes) -> bool:
    media = content_type.partition(b";")[0].strip().lower()
    return media == _JSON or media.endswith(b"+json") or not media

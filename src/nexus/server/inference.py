"""The inference surfaces: from a complete HTTP request to an exchange."""

from typing import Final

from nexus.core.request import Constraints, Priority, Request, Surface, Task
from nexus.proxy.downstream import ClientHeaders
from nexus.proxy.forward import Forwarder
from nexus.server.body import BodyError, read_body
from nexus.server.edge import ClientConnection, EdgeContext, Incoming
from nexus.server.hints import Hints, check_hints, flexible, is_json, read_hints
from nexus.server.prefixes import prefix_keys

PATHS: Final = {
    b"/v1/chat/completions": Surface.CHAT,
    b"/v1/completions": Surface.COMPLETION,
    b"/v1/embeddings": Surface.EMBEDDING,
}
_JSON: Final = b"application/json"
_LONG: Final = 1024
# Members of an enumeration are looked up slowly.
_NORMAL: Final = Priority.NORMAL
_UNCONSTRAINED: Final = Constraints()
_PATH_OF: Final = {surface: path.decode() for path, surface in PATHS.items()}
_DEFAULT_TASK: Final = {
    Surface.CHAT: Task.GENERATE,
    Surface.COMPLETION: Task.GENERATE,
    Surface.EMBEDDING: Task.EMBED,
}


class InferenceSurface:
    """Handles one inference path.

    `max_concurrent_requests` bounds the requests in flight over all surfaces; beyond it a request is refused
    at once.
    """

    def __init__(self, surface: Surface, forwarder: Forwarder, max_concurrent_requests: int) -> None:
        self._surface = surface
        self._path = _PATH_OF[surface]
        self._forwarder = forwarder
        self._max_concurrent = max_concurrent_requests

    def __call__(
        self, context: EdgeContext, connection: ClientConnection, incoming: Incoming, answer_lines: str = ""
    ) -> None:
        """Turn the request into an exchange, or refuse it with what is wrong with it.

        `answer_lines` are header lines that an answer of a backend is to carry.
        """
        if context.draining or len(self._forwarder.active) >= self._max_concurrent:
            message = self._overloaded(context)
            context.refuse(connection, 503, "overloaded", message, "service_unavailable", retry_after=1.0)
            return
        head = incoming.head
        hints = head.hints
        if hints is None:
            head.hints = hints = read_hints(head.headers)
        if hints.content_type != _JSON and not is_json(hints.content_type):
            shown = hints.content_type.decode("latin-1")[:80]
            message = f"The content type is {shown!r}; send application/json."
            context.refuse(connection, 415, "unsupported_media_type", message)
            return
        try:
            request = make_request(
                self._surface,
                hints,
                incoming.body,
                trace_id=context.trace_ids.next(),
                received_at=incoming.received_at,
                client=connection.client,
            )
        except BodyError as error:
            context.refuse(connection, 400, "invalid_request_error", error.message, param=error.param)
            return
        headers = hints.relayed
        if answer_lines:
            headers = ClientHeaders(
                headers.forwarded, headers.authorization, headers.request_id, answer_lines
            )
        exchange = self._forwarder.forward(request, incoming.body, headers, connection, path=self._path)
        if exchange in self._forwarder.active:
            connection.serve_with(exchange)

    def _overloaded(self, context: EdgeContext) -> str:
        """Why no request can be taken on now."""
        if context.draining:
            return "The gateway is shutting down."
        limit = self._max_concurrent
        return f"{limit} requests are in flight already (server.max_concurrent_requests)."


def make_request(
    surface: Surface, hints: Hints, body: bytes, *, trace_id: str, received_at: float, client: str
) -> Request:
    """The request that headers and body describe.

    Raises:
        BodyError: something is wrong with one of them.
    """
    if hints.has_own:
        check_hints(hints)
    fields = read_body(surface, body)
    if not hints.has_own:
        # In the order of the record's fields: naming them would make this several times as slow.
        task = _DEFAULT_TASK[surface]
        return Request(
            trace_id,
            surface,
            fields.model,
            fields.needs,
            received_at,
            _UNCONSTRAINED,
            task,
            _NORMAL,
            None,
            None,
            client,
            prefix_keys(body) if len(body) >= _LONG else (),
        )
    return Request(
        trace_id,
        surface,
        fields.model,
        fields.needs,
        received_at,
        constraints=Constraints(hints.restricted, flexible(hints)),
        task=Task(hints.task) if hints.task else _DEFAULT_TASK[surface],
        priority=Priority(hints.priority) if hints.priority else Priority.NORMAL,
        session=hints.session,
        project=hints.project,
        client=client,
        prefixes=prefix_keys(body),
    )

"""POST /v1/routing/explain and GET /v1/requests/{trace_id}: why a request goes, or went, where it does."""

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from nexus.core.clock import Clock
from nexus.core.decision import Decision
from nexus.core.outcome import AttemptOutcome, RequestOutcome
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Request, Surface
from nexus.proxy.context import FleetSource
from nexus.routing.explanation import Explanation, explain
from nexus.routing.pipeline import Router
from nexus.server.answers import ApiError, json_response
from nexus.server.body import BodyError
from nexus.server.elsewhere import Elsewhere, Nobody
from nexus.server.hints import read_hints
from nexus.server.inference import make_request

_TOPIC = "request"


class PastRequest(Protocol):
    """One request that is over."""

    @property
    def outcome(self) -> RequestOutcome:
        """How it ended."""
        ...

    @property
    def decision(self) -> Decision | None:
        """The decision it was routed by; the last one, where it went down a fallback chain."""
        ...


class PastRequests(Protocol):
    """The most recent requests."""

    def get(self, trace_id: str) -> PastRequest | None:
        """The request with this id, None where it is unknown or too old."""
        ...


class ShownAttempt(Struct, frozen=True):
    """One attempt of a past request; times in milliseconds."""

    backend: str
    model: str
    outcome: str
    kind: str | None
    status: int
    latency_ms: float
    ttft_ms: float | None


class ShownRequest(Struct, frozen=True):
    """A past request. `receipt` is None until an outcome was resolved for it."""

    trace_id: str
    decision: Explanation | None
    attempts: tuple[ShownAttempt, ...]
    status: int
    result: str
    latency_ms: float
    receipt: LedgerEntry | None = None


class ExplainSurface:
    """Explains what would be done with a request, and what was done with a past one.

    `receipt_of` gives the receipt of a trace id; None where none are made. `elsewhere` is asked for requests
    that are not known here.
    """

    def __init__(
        self,
        router: Router,
        fleet: FleetSource,
        past: PastRequests,
        clock: Clock,
        receipt_of: Callable[[str], LedgerEntry | None] | None = None,
        *,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._router = router
        self._fleet = fleet
        self._past = past
        self._clock = clock
        self._receipt_of = receipt_of
        self._elsewhere = elsewhere or Nobody()
        self._elsewhere.answer(_TOPIC, self.known)

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [
            Route("/v1/routing/explain", self.preview, methods=["POST"]),
            Route("/v1/requests/{trace_id}", self.past),
        ]

    async def preview(self, http: HttpRequest) -> Response:
        """The decision for a request body as for chat, completions or embeddings, without sending it."""
        body = await http.body()
        try:
            request = make_request(
                _surface(body),
                read_hints(http.headers.raw),
                body,
                trace_id=http.scope["state"]["trace_id"],
                received_at=self._clock.monotonic(),
                client="",
            )
        except BodyError as error:
            raise ApiError(
                400, "invalid_request_error", error.message, "invalid_request_error", param=error.param
            ) from None
        snapshot = self._fleet.snapshot
        decision = self._router.decide(request, snapshot, self._clock.monotonic(), preview=True)
        return json_response(explain(decision, request, snapshot))

    async def past(self, http: HttpRequest) -> Response:
        """A request of the recent past, by the id in its `X-Nexus-Trace-Id` header."""
        trace_id: str = http.path_params["trace_id"]
        name = trace_id.encode("utf-8", "surrogatepass")
        answers = [self.known(name)]
        if not answers[0]:
            answers = await self._elsewhere.ask(_TOPIC, name)
        if not answers:
            message = f"No request {trace_id[:64]} is remembered; only the most recent ones are kept."
            raise ApiError(404, "not_found", message, "not_found_error")
        return Response(answers[0], media_type="application/json")

    def known(self, trace_id: bytes) -> bytes:
        """The JSON document of a past request; empty where it is not known here."""
        found = self._past.get(trace_id.decode("utf-8", "surrogatepass"))
        if found is None:
            return b""
        receipt = self._receipt_of(found.outcome.request.trace_id) if self._receipt_of is not None else None
        return msgspec.json.encode(_shown(found, self._explained(found), receipt))

    def _explained(self, found: PastRequest) -> Explanation | None:
        if found.decision is None:
            return None
        request: Request = found.outcome.request
        return explain(found.decision, request, self._fleet.snapshot)


def _shown(found: PastRequest, decision: Explanation | None, receipt: LedgerEntry | None) -> ShownRequest:
    outcome = found.outcome
    return ShownRequest(
        trace_id=outcome.request.trace_id,
        decision=decision,
        attempts=tuple(_attempt(each) for each in outcome.attempts),
        status=outcome.status,
        result=str(outcome.result),
        latency_ms=outcome.latency_ms,
        receipt=receipt,
    )


def _attempt(outcome: AttemptOutcome) -> ShownAttempt:
    return ShownAttempt(
        backend=outcome.backend_id,
        model=outcome.model,
        outcome=str(outcome.result),
        kind=str(outcome.kind) if outcome.kind is not None else None,
        status=outcome.status,
        latency_ms=outcome.latency_ms,
        ttft_ms=outcome.ttft_ms,
    )


class _Shape(Struct):
    input: msgspec.Raw | None = None
    prompt: msgspec.Raw | None = None
    messages: msgspec.Raw | None = None


def _surface(body: bytes) -> Surface:
    """Which endpoint a body is meant for, from the field that only that endpoint has."""
    try:
        shape = msgspec.json.decode(body, type=_Shape)
    except (msgspec.DecodeError, RecursionError):
        return Surface.CHAT  # what is wrong with it is said when it is read as a chat
    if shape.messages is None and shape.input is not None:
        return Surface.EMBEDDING
    if shape.messages is None and shape.prompt is not None:
        return Surface.COMPLETION
    return Surface.CHAT

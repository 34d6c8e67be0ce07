"""GET /openapi.json: this API, described from the types that it is decoded into and encoded from."""

from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus import __version__
from nexus.core.errors import ErrorBody
from nexus.outcomes.code.wire import GivenVerdicts, ShownSuggestions
from nexus.outcomes.shown import ShownProfiles
from nexus.routing.explanation import Explanation
from nexus.server.explain import ShownRequest
from nexus.server.fields import ChatBody, CompletionBody, EmbeddingBody
from nexus.server.health import Alive, Readiness
from nexus.server.models import ModelEntry, ModelList
from nexus.server.outcomes import GivenOutcome, GivenOutcomes, ShownResults
from nexus.server.root import About
from nexus.telemetry.health import HealthDocument
from nexus.telemetry.stats import StatsDocument

_REF = "#/components/schemas/{name}"
_JSON = "application/json"


class ErrorEnvelope(Struct, frozen=True):
    """Every error has this form."""

    error: ErrorBody


class Operation(Struct, frozen=True):
    """One method of one path; one of `bodies` is sent. `answer` None: the backend's answer as it is."""

    method: str
    path: str
    summary: str
    answer: type | None
    bodies: tuple[type, ...] = ()
    errors: tuple[int, ...] = ()
    text: str = ""


_INFERENCE_ERRORS = (400, 401, 404, 405, 413, 415, 429, 500, 502, 503, 504)
_CONTROL_ERRORS = (400, 401, 405)
OPERATIONS = (
    Operation("post", "/v1/chat/completions", "Chat, streamed or not", None, (ChatBody,), _INFERENCE_ERRORS),
    Operation("post", "/v1/completions", "Legacy completions", None, (CompletionBody,), _INFERENCE_ERRORS),
    Operation("post", "/v1/embeddings", "Embeddings", None, (EmbeddingBody,), _INFERENCE_ERRORS),
    Operation("get", "/v1/models", "Every name a client may ask for", ModelList, errors=_CONTROL_ERRORS),
    Operation("get", "/v1/models/{model}", "One model", ModelEntry, errors=(*_CONTROL_ERRORS, 404)),
    Operation(
        "post",
        "/v1/outcomes",
        "Say whether answers were any good",
        ShownResults,
        (GivenOutcome, GivenOutcomes),
        (*_CONTROL_ERRORS, 404, 415),
    ),
    Operation(
        "get",
        "/v1/suggestions",
        "Code that answers suggested, as fingerprints",
        ShownSuggestions,
        errors=(*_CONTROL_ERRORS, 404),
    ),
    Operation(
        "post",
        "/v1/suggestions",
        "Say what a repository shows of it",
        ShownResults,
        (GivenVerdicts,),
        (*_CONTROL_ERRORS, 404, 415),
    ),
    Operation(
        "get", "/v1/profiles", "What is known of each model", ShownProfiles, errors=(*_CONTROL_ERRORS, 404)
    ),
    Operation(
        "post",
        "/v1/routing/explain",
        "The decision for a request, without sending it",
        Explanation,
        (ChatBody, CompletionBody, EmbeddingBody),
        _CONTROL_ERRORS,
    ),
    Operation(
        "get", "/v1/requests/{trace_id}", "A past request", ShownRequest, errors=(*_CONTROL_ERRORS, 404)
    ),
    Operation("get", "/v1/stats", "The figures of this moment", StatsDocument, errors=_CONTROL_ERRORS),
    Operation("get", "/metrics", "Prometheus text", None, errors=_CONTROL_ERRORS, text="text/plain"),
    Operation("get", "/health", "How the gateway is; 503 when it can't serve", HealthDocument, errors=(405,)),
    Operation("get", "/health/live", "Whether the process runs", Alive, errors=(405,)),
    Operation("get", "/health/ready", "Whether requests can be answered", Readiness, errors=(405,)),
    Operation("get", "/", "What this is", About, errors=_CONTROL_ERRORS),
)
_ALSO_ON_503 = frozenset({"/health", "/health/ready"})


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    types = {each for operation in OPERATIONS for each in (operation.answer, *operation.bodies) if each}
    ordered = sorted({*types, ErrorEnvelope}, key=lambda each: each.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    by_type = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Nexus", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(operation: Operation, schemas: dict[type, dict[str, Any]]) -> dict[str, Any]:
    if operation.answer is not None:
        content: dict[str, Any] = {_JSON: {"schema": schemas[operation.answer]}}
    elif operation.text:
        content = {operation.text: {"schema": {"type": "string"}}}
    else:
        stream = {"schema": {"type": "string"}}
        content = {_JSON: {"schema": {"type": "object"}}, "text/event-stream": stream}
    error = {_JSON: {"schema": schemas[ErrorEnvelope]}}
    responses: dict[str, Any] = {"200": {"description": "The answer", "content": content}}
    for status in operation.errors:
        responses[str(status)] = {"description": "An error", "content": error}
    if operation.path in _ALSO_ON_503:
        responses["503"] = {"description": "Not able to serve", "content": content}
    described: dict[str, Any] = {"summary": operation.summary, "responses": responses}
    if operation.bodies:
        choices = [schemas[body] for body in operation.bodies]
        schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
        described["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    if names:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    return described


class OpenApiSurface:
    """Publishes the description."""

    def __init__(self) -> None:
        self._encoded = msgspec.json.encode(document())

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [Route("/openapi.json", self.show)]

    async def show(self, request: Request) -> Response:  # noqa: ARG002  # Starlette's signature
        """The document."""
        return Response(self._encoded, media_type=_JSON)

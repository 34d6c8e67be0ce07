"""The HTTP side: four paths, and errors that say what happened and what to do."""

import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from time import perf_counter

from openai import OpenAIError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from concierge.llm import Llm
from concierge.retrieval import Passage, Retrieval, build_index
from concierge.sessions import Sessions, Turn
from concierge.settings import HERE, Settings, rate_limiter, read_settings
from concierge.tools import TOOLS, ToolResult, run_tools
from nexus.resilience import (
    CircuitBreaker,
    CircuitOpenError,
    TimeoutExceededError,
    ValidationError,
    get_logger,
    trace_context,
    validate_session_id,
    validate_user_input,
)

MAX_BODY_BYTES = 16_384
_NO_PASSAGES: list[Passage] = []
Handler = Callable[["Concierge", Request], Awaitable[Response]]


class Concierge:
    """The parts of the service."""

    def __init__(self, settings: Settings) -> None:
        self.log = get_logger("concierge")
        self.settings = settings
        self.limiter = rate_limiter()
        self.sessions = Sessions()
        self.retrieval = Retrieval(
            settings.index,
            CircuitBreaker(settings.retrieval_breaker, name="retrieval"),
            settings.retrieval_seconds,
        )
        self.llm = Llm(settings, CircuitBreaker(settings.llm_breaker, name="llm"), self.log)
        for breaker in self.breakers:
            breaker.add_listener(self._breaker_changed)

    @property
    def breakers(self) -> tuple[CircuitBreaker, ...]:
        """The breakers of everything that may fail."""
        return self.retrieval.breaker, self.llm.breaker

    def _breaker_changed(self, name: str, old: str, new: str) -> None:
        self.log.warning("breaker changed", breaker=name, old=str(old), new=str(new))

    async def answer(self, question: str) -> tuple[str, bool, list[Passage], list[ToolResult]]:
        """An answer, whether it is degraded, and what it is based on.

        Raises:
            CircuitOpenError, TimeoutExceededError, OpenAIError: the model can't be had, and no document or
                tool has an answer either.
        """
        degraded = False
        try:
            passages = await self.retrieval.search(question)
        except (CircuitOpenError, TimeoutExceededError, sqlite3.Error) as error:
            self.log.warning("answering without documents", error=error)
            passages, degraded = _NO_PASSAGES, True
        facts = run_tools(question, self.settings.tool_seconds, self.log)
        try:
            return await self.llm.ask(question, passages, facts), degraded, passages, facts
        except (CircuitOpenError, TimeoutExceededError, OpenAIError) as error:
            known = [fact.text for fact in facts] + [passage.text for passage in passages[:1]]
            if not known:
                raise
            self.log.warning("answering without the model", error=error)
            return "\n\n".join(known), True, passages, facts


async def root(concierge: Concierge, request: Request) -> Response:  # noqa: ARG001  # every handler has this form
    """What this is."""
    return JSONResponse({"name": "concierge", "tools": len(TOOLS), "chat": "/api/v1/concierge/chat"})


async def health(concierge: Concierge, request: Request) -> Response:  # noqa: ARG001
    """Services, breakers and the number of tools."""
    states = {breaker.name: breaker.state.value for breaker in concierge.breakers}
    services = {name: "healthy" if state == "closed" else "degraded" for name, state in states.items()}
    status = "healthy" if set(states.values()) == {"closed"} else "degraded"
    return JSONResponse(
        {"status": status, "services": services, "circuit_breakers": states, "tools_count": len(TOOLS)}
    )


async def chat(concierge: Concierge, request: Request) -> Response:
    """One question."""
    if not concierge.limiter.acquire():
        wait = concierge.limiter.retry_after()
        return _error(429, "Rate limit exceeded", headers={"Retry-After": str(max(1, round(wait)))})
    try:
        message, session_id = await _read_chat(request)
    except ValidationError as error:
        return _error(400, str(error), field=error.field)
    try:
        reply, degraded, passages, facts = await concierge.answer(message)
    except (CircuitOpenError, TimeoutExceededError, OpenAIError) as error:
        concierge.log.error("no answer", error=error)  # noqa: TRY400  # the logger's own form
        wait = error.retry_after if isinstance(error, CircuitOpenError) else 1.0
        return _error(
            503,
            "The concierge can't answer now. Try again in a moment.",
            headers={"Retry-After": str(max(1, round(wait)))},
        )
    concierge.sessions.add(session_id, Turn(message, reply, degraded))
    return JSONResponse(
        {
            "session_id": session_id,
            "reply": reply,
            "degraded": degraded,
            "sources": [passage.source for passage in passages],
            "tools": [fact.tool for fact in facts],
        }
    )


async def session(concierge: Concierge, request: Request) -> Response:
    """A conversation so far."""
    try:
        session_id = validate_session_id(request.path_params["session_id"])
    except ValidationError as error:
        return _error(400, str(error), field=error.field)
    turns = concierge.sessions.get(session_id)
    if turns is None:
        return _error(404, f"There is no session {session_id}. Start one at /api/v1/concierge/chat.")
    return JSONResponse({"session_id": session_id, "turns": [asdict(turn) for turn in turns]})


async def _read_chat(request: Request) -> tuple[str, str]:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise ValidationError("body", f"must have at most {MAX_BODY_BYTES} bytes")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise ValidationError("body", "must be JSON") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("message"), str):
        raise ValidationError("message", "must be a text: send a JSON object with it")
    session_id = fields.get("session_id") or secrets.token_hex(8)
    if not isinstance(session_id, str):
        raise ValidationError("session_id", "must be a text")
    return validate_user_input(fields["message"], field="message"), validate_session_id(session_id)


def _error(
    status: int, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "field": field}}, status, headers)


def create_app(settings: Settings | None = None) -> Starlette:
    """The application; builds the index of documents where there is none."""
    settings = settings or read_settings()
    if not settings.index.exists():
        build_index(HERE / "documents", settings.index)
    concierge = Concierge(settings)

    def logged(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            trace_id = secrets.token_hex(8)
            began = perf_counter()
            with trace_context(trace_id):
                response = await handler(concierge, request)
                milliseconds = (perf_counter() - began) * 1000
                concierge.log.api_call(request.method, request.url.path, response.status_code, milliseconds)
            response.headers["X-Trace-Id"] = trace_id
            return response

        return endpoint

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await concierge.llm.close()

    return Starlette(
        routes=[
            Route("/", logged(root)),
            Route("/health", logged(health)),
            Route("/api/v1/concierge/chat", logged(chat), methods=["POST"]),
            Route("/api/v1/concierge/session/{session_id}", logged(session)),
        ],
        lifespan=lifespan,
    )

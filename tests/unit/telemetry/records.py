"""Outcomes and requests for the telemetry tests."""

from typing import Any

from nexus.core.outcome import AttemptOutcome, AttemptResult, RequestOutcome, RequestResult
from nexus.core.request import Needs, Request, Surface

NEW_YEAR_2025 = 1735689600.0


def attempt(
    backend_id: str = "a", result: AttemptResult = AttemptResult.SUCCESS, **fields: Any
) -> AttemptOutcome:
    """One attempt on model `m` that took 40 ms, unless said otherwise."""
    given: dict[str, Any] = {"model": "m", "ended_at": 1.0, "latency_ms": 40.0, **fields}
    return AttemptOutcome(trace_id="t1", backend_id=backend_id, result=result, **given)


def ask(
    model: str = "m", *, surface: Surface = Surface.CHAT, trace_id: str = "t1", stream: bool = False
) -> Request:
    """A request whose body must never show up anywhere."""
    needs = Needs(stream=stream)
    return Request(trace_id, surface, model, needs, 0.5, client="10.0.0.9")


def ended(
    result: RequestResult = RequestResult.SUCCESS,
    *,
    status: int = 200,
    request: Request | None = None,
    attempts: tuple[AttemptOutcome, ...] = (),
    served: AttemptOutcome | None = None,
    **fields: Any,
) -> RequestOutcome:
    """One request that took 50 ms, unless said otherwise."""
    given: dict[str, Any] = {
        "path": "/v1/chat/completions",
        "timestamp": NEW_YEAR_2025 + 0.123,
        "latency_ms": 50.0,
        "overhead_ms": 0.2,
        **fields,
    }
    return RequestOutcome(
        request=request or ask(), status=status, result=result, attempts=attempts, served=served, **given
    )

"""The errors a client gets when no backend's answer can be passed on: what happened, where, what to do."""

import math

from nexus.core.decision import Decision, RejectCause, Rejection, Verdict
from nexus.core.errors import AttemptSummary, ErrorContext, ErrorReply, error_reply
from nexus.core.outcome import AttemptOutcome, AttemptResult
from nexus.core.request import Request
from nexus.proxy.waiting_room import WaitingRoom


def for_decision(
    request: Request, decision: Decision, queue: WaitingRoom, recheck_seconds: float
) -> ErrorReply:
    """Routing found no candidate, and waiting for one was not possible or in vain."""
    if decision.verdict is Verdict.QUEUE:
        return _overloaded(request, decision, queue)
    if decision.cause is RejectCause.UNKNOWN_MODEL:
        return _unknown_model(request, decision)
    if decision.cause is RejectCause.RATE_LIMITED:
        return _rate_limited(request, decision.retry_after, decision.rejections)
    retry_after = recheck_seconds if decision.retry_after is None else decision.retry_after
    return _excluded(request, retry_after, decision.rejections)


def for_busy_probes(request: Request, decision: Decision) -> ErrorReply:
    """Every candidate is an excluded backend that somebody else's request is testing right now."""
    busy = tuple(
        Rejection(
            backend=candidate.view.backend.id,
            reconciler="SchedulerReconciler",
            reason="Excluded; another request is testing whether it has recovered",
            suggested_action="Try again in a moment",
            model=candidate.model,
        )
        for candidate in decision.candidates
    )
    return _excluded(request, 1.0, decision.rejections + busy)


def for_attempts(request: Request, attempts: list[AttemptOutcome]) -> ErrorReply:
    """Every attempt failed."""
    tried = [each for each in attempts if each.result is not AttemptResult.CANCELLED]
    if tried and all(each.result is AttemptResult.RATE_LIMITED for each in tried):
        waits = [each.retry_after for each in tried if each.retry_after is not None]
        return _rate_limited(request, min(waits, default=None), (), tuple(tried))
    context = ErrorContext(
        trace_id=request.trace_id, model=request.model, attempts=tuple(_summary(each) for each in tried)
    )
    detail = "; ".join(f"{each.backend_id}: {each.error or each.kind}" for each in tried)
    count = "1 attempt" if len(tried) == 1 else f"{len(tried)} attempts"
    timeouts = [each.kind is not None and each.kind.is_timeout for each in tried]
    if tried and all(timeouts):
        return error_reply(
            504,
            "upstream_timeout",
            f"No backend answered in time ({count}). {detail}",
            "timeout_error",
            context=context,
        )
    return error_reply(
        502,
        "upstream_error",
        f"Every backend that was tried failed ({count}). {detail}",
        "upstream_error",
        context=context,
    )


def error_event(request: Request, outcome: AttemptOutcome) -> bytes:
    """The one event that ends a stream which broke after its start."""
    reply = for_attempts(request, [outcome])
    return b"data: " + reply.encode() + b"\n\n"


def header_lines(reply: ErrorReply) -> str:
    """The header lines that go with an error, each ended by CRLF."""
    lines = "Content-Type: application/json\r\n"
    if reply.retry_after is not None:
        lines += f"Retry-After: {max(1, math.ceil(reply.retry_after))}\r\n"
    return lines


def _unknown_model(request: Request, decision: Decision) -> ErrorReply:
    message = f'No backend serves the model "{_short(request.model)}".'
    if decision.close_names:
        message += f" Did you mean {' or '.join(decision.close_names)}?"
    else:
        message += " GET /v1/models lists what there is."
    context = ErrorContext(trace_id=request.trace_id, model=_short(request.model))
    return error_reply(404, "model_not_found", message, "not_found_error", param="model", context=context)


def _first_of_each(rejections: tuple[Rejection, ...]) -> tuple[Rejection, ...]:
    """One rejection per backend: a fallback chain asks the same backend once per model."""
    first: dict[str, Rejection] = {}
    for each in rejections:
        first.setdefault(each.backend, each)
    return tuple(first.values())


def _excluded(request: Request, retry_after: float | None, rejections: tuple[Rejection, ...]) -> ErrorReply:
    rejections = _first_of_each(rejections)
    context = ErrorContext(
        trace_id=request.trace_id,
        model=request.model,
        retry_after_seconds=retry_after,
        available_backends=(),
        rejections=rejections,
    )
    reasons = "; ".join(f"{each.backend}: {each.reason}" for each in rejections)
    return error_reply(
        503,
        "no_backend_available",
        f'No backend can take this request for "{request.model}". {reasons}',
        "service_unavailable",
        context=context,
    )


def _rate_limited(
    request: Request,
    retry_after: float | None,
    rejections: tuple[Rejection, ...],
    attempts: tuple[AttemptOutcome, ...] = (),
) -> ErrorReply:
    context = ErrorContext(
        trace_id=request.trace_id,
        model=request.model,
        retry_after_seconds=retry_after,
        rejections=_first_of_each(rejections) or None,
        attempts=tuple(_summary(each) for each in attempts) or None,
    )
    wait = f" Try again in {retry_after:.1f} s." if retry_after is not None else ""
    return error_reply(
        429,
        "rate_limit_exceeded",
        f'Every backend that serves "{request.model}" is rate-limited upstream.{wait}',
        "rate_limit_error",
        context=context,
    )


def _overloaded(request: Request, decision: Decision, queue: WaitingRoom) -> ErrorReply:
    context = ErrorContext(
        trace_id=request.trace_id,
        model=request.model,
        retry_after_seconds=queue.estimate(),
        rejections=decision.rejections or None,
    )
    if queue.closed:
        message = "The gateway is shutting down; requests that waited for a free place are turned away."
    else:
        message = (
            f'Every backend that serves "{request.model}" is at its concurrency limit, and '
            f"{_why_not(queue)}. Try again shortly."
        )
    return error_reply(503, "overloaded", message, "service_unavailable", context=context)


def _why_not(queue: WaitingRoom) -> str:
    if not queue.max_size:
        return "requests do not wait (queue.enabled)"
    if queue.depth >= queue.max_size:
        return f"{queue.depth} requests wait already (queue.max_size)"
    return f"no place was free within {queue.max_wait_seconds:g} s (queue.max_wait_seconds)"


def _summary(outcome: AttemptOutcome) -> AttemptSummary:
    kind = str(outcome.kind) if outcome.kind is not None else str(outcome.result)
    return AttemptSummary(backend=outcome.backend_id, kind=kind, status=outcome.status)


_SHORT = 200


def _short(name: str) -> str:
    return name if len(name) <= _SHORT else name[: _SHORT - 1] + "…"

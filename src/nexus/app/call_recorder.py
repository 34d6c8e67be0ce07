"""What outcome tracking is told of every request that has ended."""

from collections.abc import Sequence
from typing import Final

from nexus.core.decision import Finished
from nexus.core.outcome import AttemptOutcome, AttemptResult, RequestOutcome, RequestResult
from nexus.core.request import Surface, Task
from nexus.outcomes import Call, CallDetails, OutcomeTracker
from nexus.proxy.recording import RequestRecorder

_CLIENT_ERROR: Final = 400
_SUCCESS: Final = AttemptResult.SUCCESS
_CANCELLED: Final = RequestResult.CANCELLED
_EMBEDDING: Final = Surface.EMBEDDING


def record_calls(tracker: OutcomeTracker) -> RequestRecorder:
    """Track the requests that reached a backend; all in memory."""

    def record(finished: Sequence[Finished]) -> None:
        ended = []
        for outcome, decision in finished:
            served = outcome.served
            attempt = served if served is not None else _last(outcome)
            if attempt is None:
                continue
            request = outcome.request
            task, propensity, candidates = request.task, None, None
            if decision is not None and decision.models:
                task = decision.task or task
                candidates = tuple(model.model for model in decision.models)
                # Where another model had to step in, nobody drew it.
                propensity = decision.propensity if candidates[0] == attempt.model else None
            # In the order of the records' fields: naming them would make this several times as slow.
            details = CallDetails(
                attempt.backend_id,
                len(outcome.attempts),
                attempt.cost_usd,
                attempt.ttft_ms,
                propensity,
                candidates,
                request.project,
                request.model if request.model != attempt.model else None,
            )
            if served is not None and served.result is _SUCCESS:
                ended.append(_answered(outcome, served, task, details))
            elif outcome.result is _CANCELLED:
                ended.append(_left(outcome, attempt, task, details))
            else:
                _record_failed(tracker, outcome, attempt, task, details)
        if ended:
            tracker.record_calls(ended)

    return record


def _record_failed(
    tracker: OutcomeTracker,
    outcome: RequestOutcome,
    attempt: AttemptOutcome,
    task: Task,
    details: CallDetails,
) -> None:
    """No answer, or a broken one. What the upstream said of it may quote the prompt, so it stays out."""
    request = outcome.request
    limited = attempt.result is AttemptResult.RATE_LIMITED
    kind = attempt.result if attempt.kind is None else attempt.kind
    error = f"{kind.value} (HTTP {attempt.status})" if attempt.status else kind.value
    tracker.record_start(attempt.model, task, outcome.route_reason, trace_id=request.trace_id)
    tracker.record_failure(
        request.trace_id,
        error,
        code="rate_limit_exceeded" if limited else None,
        retry_after=attempt.retry_after if limited else None,
        details=details,
    )


def _answered(outcome: RequestOutcome, served: AttemptOutcome, task: Task, details: CallDetails) -> Call:
    """The call of a request that a backend answered, if only with a refusal of the client's mistake."""
    good = outcome.status < _CLIENT_ERROR
    tokens = served.output_tokens
    # Whole answers are looked at, so only a stream may be empty.
    said = not served.stream or tokens > 0 or outcome.request.surface is _EMBEDDING
    return Call(
        outcome.request.trace_id,
        served.model,
        task,
        outcome.route_reason,
        0.0,
        details,
        None,
        served.latency_ms,
        served.input_tokens if good else 0,
        tokens if good else 0,
        good and said,
    )


def _left(outcome: RequestOutcome, attempt: AttemptOutcome, task: Task, details: CallDetails) -> Call:
    """The client left: a call, but neither an answer nor a failure, and no measure of speed."""
    return Call(
        outcome.request.trace_id,
        attempt.model,
        task,
        outcome.route_reason,
        0.0,
        details,
        None,
        0.0,
        attempt.input_tokens,
        attempt.output_tokens,
    )


def _last(outcome: RequestOutcome) -> AttemptOutcome | None:
    """The attempt that says how an unanswered request ended: the last one that was not called off."""
    attempts = outcome.attempts
    if outcome.result is not _CANCELLED:
        for attempt in reversed(attempts):
            if attempt.result is not AttemptResult.CANCELLED:
                return attempt
    return attempts[-1] if attempts else None

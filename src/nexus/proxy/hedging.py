"""A second attempt beside one whose first token is overdue, and what attempts without an answer may cost."""

import logging
from collections.abc import Sequence

from nexus.core.backend import Backend
from nexus.core.decision import Candidate
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.proxy.admission import admit
from nexus.proxy.attempt import Attempt
from nexus.proxy.owner import AttemptOwner

_log = logging.getLogger("nexus.proxy")

LEAST_PATIENCE = 2.0
"""Seconds that an attempt has in any case before a second one may start beside it."""

# The request reached the backend, and nothing said that it was not worked on.
_WORKED_ON = frozenset(
    {
        FailureKind.RESET,
        FailureKind.PROTOCOL,
        FailureKind.FIRST_TOKEN_TIMEOUT,
        FailureKind.IDLE_TIMEOUT,
        FailureKind.TOTAL_TIMEOUT,
        FailureKind.UPSTREAM_TIMEOUT,
        FailureKind.MALFORMED,
        FailureKind.EMPTY,
        FailureKind.CUT,
    }
)


def beside(owner: AttemptOwner, first: Attempt, candidates: Sequence[Candidate]) -> Attempt | None:
    """The attempt to start beside a slow one, on the next of these candidates; None where there is none.

    It comes out of the retry budget, and never costs money where the first one costs none.
    """
    shared = owner.shared
    now = shared.clock.monotonic()
    if not shared.retries.allows(now):
        return None
    free = not first.candidate.view.backend.type.is_cloud
    for candidate in candidates:
        if candidate.probe or candidate.degraded or (free and candidate.view.backend.type.is_cloud):
            continue
        gates = admit(candidate)
        if gates is not None:
            shared.retries.take(now)
            target = shared.target(candidate.view.backend)
            _log.info(
                "%s has not begun to answer after %.1f s: %s is asked too",
                *(first.candidate.view.backend.id, now - first.started_at, target.backend.id),
                extra={"trace_id": owner.request.trace_id},
            )
            return Attempt(owner, candidate, target, gates)
    return None


def cancel_loser(loser: Attempt, *, overdue: bool) -> AttemptOutcome:
    """End the attempt that another one has overtaken; `overdue` counts against its backend's breaker."""
    outcome = loser.cancel(overdue=overdue)
    note_billing(outcome, loser.target.backend)
    return outcome


def note_billing(outcome: AttemptOutcome, backend: Backend) -> None:
    """Log an attempt that may be on a cloud provider's bill although it gave no answer."""
    if not backend.type.is_cloud:
        return
    if outcome.result is AttemptResult.CANCELLED or outcome.kind in _WORKED_ON:
        _log.warning(
            "an attempt on %s gave no answer (%s) and may have been billed all the same",
            *(backend.id, outcome.kind or outcome.result),
            extra={"trace_id": outcome.trace_id, "backend": backend.id, "model": outcome.model},
        )

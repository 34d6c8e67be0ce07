"""What is done with every attempt's outcome, one function per receiver."""

import logging
from collections.abc import Sequence
from typing import Final

from nexus.backends.health import HealthMonitor
from nexus.backends.registry import StatusChange
from nexus.core.decision import Finished
from nexus.core.fleet import BackendStatus
from nexus.core.outcome import AttemptOutcome, AttemptResult
from nexus.proxy.recording import AttemptRecorder, RequestRecorder
from nexus.quality import QualityMetricsStore
from nexus.routing.affinity import PrefixAffinity
from nexus.state.spend import SpendStore

_CLIENT_ERROR: Final = 400
_SUCCESS: Final = AttemptResult.SUCCESS  # members of an enumeration are looked up slowly
_log: Final = logging.getLogger("nexus.app")


def record_quality(store: QualityMetricsStore) -> AttemptRecorder:
    """Count successes and failures in the quality windows."""

    def record(outcomes: Sequence[AttemptOutcome]) -> None:
        for outcome in outcomes:
            if outcome.result is _SUCCESS:
                ttft_ms = outcome.ttft_ms if outcome.stream else outcome.first_byte_ms
                if outcome.status >= _CLIENT_ERROR:
                    # A refusal of the client's mistake is quick and says nothing about the speed of answers.
                    ttft_ms = None
                store.record_outcome(
                    outcome.backend_id, True, ttft_ms, model=outcome.model, streamed=outcome.stream
                )
            elif outcome.result is AttemptResult.FAILURE:
                store.record_outcome(
                    outcome.backend_id, False, None, model=outcome.model, streamed=outcome.stream
                )

    return record


def record_evidence(monitor: HealthMonitor) -> AttemptRecorder:
    """Tell the health checks of connections that worked or failed."""

    def record(outcomes: Sequence[AttemptOutcome]) -> None:
        for outcome in outcomes:
            if outcome.kind is not None and outcome.kind.is_connection:
                monitor.evidence(outcome.backend_id, False, outcome.error)
            elif outcome.status:
                monitor.evidence(outcome.backend_id, True)

    return record


def record_spend(spend: SpendStore) -> AttemptRecorder:
    """Add up what attempts cost."""

    def record(outcomes: Sequence[AttemptOutcome]) -> None:
        for outcome in outcomes:
            if outcome.cost_usd:
                spend.add(outcome.cost_usd)

    return record


def record_affinity(affinity: PrefixAffinity) -> RequestRecorder:
    """Remember which backend has the beginning of a prompt cached now."""

    def record(finished: Sequence[Finished]) -> None:
        for outcome, _ in finished:
            request, served = outcome.request, outcome.served
            if served is not None and (request.prefixes or request.session):
                affinity.remember(request, served.model, served.backend_id, served.ended_at)

    return record


def log_status(change: StatusChange) -> None:
    """Log what the health checks found out."""
    bad = change.new is BackendStatus.UNHEALTHY
    log = _log.warning if bad else _log.info
    reason = f": {change.reason}" if change.reason else ""
    log("backend %s is %s (was %s)%s", change.backend.id, change.new, change.old, reason)

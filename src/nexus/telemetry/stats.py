"""The document of `/v1/stats`: the same figures as `/metrics`, for people and scripts."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import UNSET, Struct, UnsetType

from nexus.config.model import QualitySettings
from nexus.core.fleet import BackendView, FleetSnapshot
from nexus.core.quality import AgentQualityMetrics
from nexus.telemetry.condition import (
    BackendCondition,
    BreakerWord,
    Condition,
    breaker_word,
    fleet_conditions,
)
from nexus.telemetry.counters import BackendCounters, TrafficCounters

_NOTHING = BackendCounters()
_MEDIAN = 0.5
_TAIL = 0.95


class TtftQuantiles(Protocol):
    """Who can tell how long the first token takes; the quality store does."""

    def ttft_quantile(self, agent_id: str, q: float) -> float | None:
        """Milliseconds within which a share `q` of the recent first tokens came; None: nothing measured."""
        ...


class RequestStats(Struct, frozen=True):
    """Client requests since the start; `total` is the sum of the others."""

    total: int
    success: int
    errors: int
    cancelled: int
    rejected: int


class ModelQualityStats(Struct, frozen=True):
    """The figures of one model on one backend."""

    error_rate_1h: float
    avg_ttft_ms: int
    success_rate_24h: float
    request_count_1h: int
    last_failure_seconds_ago: float | None
    state: str
    excluded_reason: str | None


class QualityStats(Struct, frozen=True):
    """The figures of one backend. The quantiles are None until a time was measured."""

    error_rate_1h: float
    avg_ttft_ms: int
    success_rate_24h: float
    request_count_1h: int
    last_failure_seconds_ago: float | None
    ttft_p50_ms: int | None
    ttft_p95_ms: int | None
    state: str
    excluded_reason: str | None
    models: dict[str, ModelQualityStats]


class BackendStats(Struct, frozen=True):
    """One backend. Without history `quality` is null, and the three figures before it are left out."""

    id: str
    name: str
    type: str
    zone: str
    tier: int
    priority: int
    status: str
    breaker: BreakerWord
    requests: int
    average_latency_ms: float
    pending: int
    models: tuple[str, ...]
    quality: QualityStats | None
    error_rate_1h: float | UnsetType = UNSET
    avg_ttft_ms: int | UnsetType = UNSET
    success_rate_24h: float | UnsetType = UNSET


class ModelStats(Struct, frozen=True):
    """One model: how many requests it has answered, and who serves it."""

    id: str
    requests: int
    backends: tuple[str, ...]


class StatsDocument(Struct, frozen=True):
    """All of `/v1/stats`, ready for `msgspec.json.encode`.

    `avg_queue_time_ms` is over the requests that waited for a free place. `worker` is the number of the
    process that answers, left out where there is only one; the figures are those of all.
    """

    version: str
    uptime_seconds: float
    total_requests: int
    requests: RequestStats
    avg_queue_time_ms: float
    config: Mapping[str, Mapping[str, Any]]
    backends: tuple[BackendStats, ...]
    models: tuple[ModelStats, ...]
    worker: int | UnsetType = UNSET


def build_stats(
    *,
    snapshot: FleetSnapshot,
    counters: TrafficCounters,
    quantiles: TtftQuantiles,
    settings: QualitySettings,
    version: str,
    uptime_seconds: float,
    now: float,
    worker: int | UnsetType = UNSET,
) -> StatsDocument:
    """The document as of `now` (monotonic seconds)."""
    conditions = fleet_conditions(snapshot, settings, now)
    return StatsDocument(
        version=version,
        uptime_seconds=round(uptime_seconds, 3),
        total_requests=counters.total,
        requests=RequestStats(
            total=counters.total,
            success=counters.success,
            errors=counters.errors,
            cancelled=counters.cancelled,
            rejected=counters.rejected,
        ),
        avg_queue_time_ms=round(counters.mean_wait_ms, 3),
        config={"quality": settings.model_dump(mode="json")},
        backends=tuple(
            _backend(view, counters, conditions[view.backend.id], quantiles, now)
            for view in snapshot.backends
        ),
        models=tuple(_models(snapshot, counters)),
        worker=worker,
    )


def _models(snapshot: FleetSnapshot, counters: TrafficCounters) -> Iterable[ModelStats]:
    for model, views in sorted(snapshot.by_model.items()):
        yield ModelStats(model, counters.models.get(model, 0), tuple(view.backend.id for view in views))


def _backend(
    view: BackendView,
    counters: TrafficCounters,
    condition: BackendCondition,
    quantiles: TtftQuantiles,
    now: float,
) -> BackendStats:
    backend = view.backend
    counted = counters.backends.get(backend.id, _NOTHING)
    metrics = view.quality.metrics if view.quality is not None else None
    return BackendStats(
        id=backend.id,
        name=backend.name,
        type=backend.type.value,
        zone=backend.zone.value,
        tier=backend.tier,
        priority=backend.priority,
        status=view.status.value,
        breaker=breaker_word(view.live.breaker),
        requests=counted.requests,
        average_latency_ms=round(counted.mean_latency_ms, 3),
        pending=view.live.pending,
        models=tuple(sorted(view.models)),
        quality=_quality(view, metrics, condition, quantiles, now) if metrics is not None else None,
        error_rate_1h=metrics.error_rate_1h if metrics is not None else UNSET,
        avg_ttft_ms=metrics.avg_ttft_ms if metrics is not None else UNSET,
        success_rate_24h=metrics.success_rate_24h if metrics is not None else UNSET,
    )


def _quality(
    view: BackendView,
    metrics: AgentQualityMetrics,
    condition: BackendCondition,
    quantiles: TtftQuantiles,
    now: float,
) -> QualityStats:
    agent_id = view.backend.id
    return QualityStats(
        error_rate_1h=metrics.error_rate_1h,
        avg_ttft_ms=metrics.avg_ttft_ms,
        success_rate_24h=metrics.success_rate_24h,
        request_count_1h=metrics.request_count_1h,
        last_failure_seconds_ago=_seconds_ago(metrics, now),
        ttft_p50_ms=_whole(quantiles.ttft_quantile(agent_id, _MEDIAN)),
        ttft_p95_ms=_whole(quantiles.ttft_quantile(agent_id, _TAIL)),
        state=condition.overall.state.value,
        excluded_reason=condition.overall.excluded_reason,
        models={
            model: _model(figures.metrics, condition.models[model], now)
            for model, figures in view.model_quality.items()
            if model in condition.models
        },
    )


def _model(metrics: AgentQualityMetrics, condition: Condition, now: float) -> ModelQualityStats:
    return ModelQualityStats(
        error_rate_1h=metrics.error_rate_1h,
        avg_ttft_ms=metrics.avg_ttft_ms,
        success_rate_24h=metrics.success_rate_24h,
        request_count_1h=metrics.request_count_1h,
        last_failure_seconds_ago=_seconds_ago(metrics, now),
        state=condition.state.value,
        excluded_reason=condition.excluded_reason,
    )


def _seconds_ago(metrics: AgentQualityMetrics, now: float) -> float | None:
    if metrics.last_failure_ts is None:
        return None
    return round(max(0.0, now - metrics.last_failure_ts), 3)


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds)

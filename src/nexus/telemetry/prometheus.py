"""`/metrics`: everything is read when Prometheus asks, nothing is kept twice."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString

from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.telemetry import metric_table as table
from nexus.telemetry.condition import BREAKER_CODES, breaker_word
from nexus.telemetry.counters import RESULTS, SURFACES, BackendCounters, TrafficCounters
from nexus.telemetry.histogram import Histogram, StageTimes
from nexus.telemetry.outcomes import OutcomeSource, outcome_families

PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_NOTHING = BackendCounters()


class FleetSource(Protocol):
    """Who holds the current picture of all backends."""

    @property
    def snapshot(self) -> FleetSnapshot:
        """The picture of this moment."""
        ...


class LogLosses(Protocol):
    """Who knows how many log lines could not be written."""

    @property
    def overflowed(self) -> int:
        """Lines dropped because the reader of the log is too slow."""
        ...

    @property
    def unwritten(self) -> int:
        """Lines lost to errors in writing."""
        ...


class Queue(Protocol):
    """Where requests wait."""

    @property
    def depth(self) -> int:
        """How many do."""
        ...


class Retries(Protocol):
    """Who knows how often was tried again."""

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        ...

    @property
    def refused(self) -> int:
        """Those that were not allowed."""
        ...


class ProcessFigures(Protocol):
    """Who reads what the operating system says of the process."""

    def collect(self) -> Iterable[Metric]:
        """The families that prometheus_client's `ProcessCollector` gives."""
        ...


class Metrics:
    """Renders the metrics of one gateway.

    Args:
        fleet: the current snapshot, with the published quality figures.
        counters: what has happened.
        stages: how long the routing stages took.
        losses: log lines lost, over all logs.
        version: the program's.
        rolled_up: whether `quality.rollup_series` is on, asked at each scrape.
        queue, retries: where requests wait, and how often was tried again; None: the series are left out.
        outcomes: who counts outcomes and receipts; None: the series are left out.
        process: what the operating system says; None: of this process.
    """

    def __init__(
        self,
        *,
        fleet: FleetSource,
        counters: TrafficCounters,
        stages: StageTimes,
        losses: Iterable[LogLosses],
        version: str,
        rolled_up: Callable[[], bool],
        queue: Queue | None = None,
        retries: Retries | None = None,
        outcomes: OutcomeSource | None = None,
        process: ProcessFigures | None = None,
    ) -> None:
        self._fleet = fleet
        self._counters = counters
        self._stages = stages
        self._losses = tuple(losses)
        self._version = version
        self._rolled_up = rolled_up
        self._queue = queue
        self._retries = retries
        self._outcomes = outcomes
        self._process = process or ProcessCollector(registry=None)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The body and its content type: OpenMetrics where the `Accept` header asks for it."""
        if _wants_openmetrics(accept):
            body: bytes = generate_openmetrics(self._registry)  # type: ignore[no-untyped-call]
            return body, OPENMETRICS
        return generate_latest(self._registry), PLAIN_TEXT

    def describe(self) -> Iterable[Metric]:
        """What the registry asks at registration: no names, since no other collector can clash with ours."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families as of now."""
        snapshot = self._fleet.snapshot
        self._counters.prune({view.backend.id for view in snapshot.backends}, snapshot.by_model)
        yield from self._requests()
        yield from self._backends(snapshot)
        yield from self._quality(snapshot)
        yield from self._routing()
        yield from self._flow()
        if self._outcomes is not None:
            yield from outcome_families(self._outcomes.counts())
        yield self._log_losses()
        yield _info(table.BUILD_INFO, {"version": self._version})
        yield from _process_metrics(self._process)

    def _requests(self) -> Iterator[Metric]:
        counters = self._counters
        requests = _counter(table.REQUESTS)
        for status, cells in sorted(counters.statuses.items()):
            for index, count in enumerate(cells):
                if count:
                    surface, result = divmod(index, len(RESULTS))
                    requests.add_metric((SURFACES[surface], RESULTS[result], str(status)), count)
        yield requests
        codes = _counter(table.REQUEST_ERRORS)
        for code, count in sorted(counters.codes.items()):
            codes.add_metric((code,), count)
        yield codes
        models = _counter(table.MODEL_REQUESTS)
        for model, count in sorted(counters.models.items()):
            models.add_metric((model,), count)
        yield models
        yield _histogram(table.REQUEST_DURATION, [((), counters.duration)])
        yield _histogram(table.OVERHEAD, [((), counters.overhead)])

    def _backends(self, snapshot: FleetSnapshot) -> Iterator[Metric]:
        rows = [(view, self._counters.backends.get(view.backend.id, _NOTHING)) for view in snapshot.backends]
        up, state, pending = (_gauge(each) for each in (table.BACKEND_UP, table.BREAKER_STATE, table.PENDING))
        changes, attempts, tokens, cost = (
            _counter(each) for each in (table.BREAKER_TRANSITIONS, table.ATTEMPTS, table.TOKENS, table.COST)
        )
        for view, counted in rows:
            agent = view.backend.id
            up.add_metric((agent,), view.status is BackendStatus.HEALTHY)
            state.add_metric((agent,), BREAKER_CODES[breaker_word(view.live.breaker)])
            pending.add_metric((agent,), view.live.pending)
            for word in BREAKER_CODES:
                changes.add_metric((agent, word), counted.transitions.get(word, 0))
            _add_attempts(attempts, agent, counted)
            tokens.add_metric((agent, "input"), counted.input_tokens)
            tokens.add_metric((agent, "output"), counted.output_tokens)
            cost.add_metric((agent,), counted.cost_usd)
        yield from (up, state, pending, changes, attempts, tokens, cost)
        yield _histogram(
            table.AGENT_QUEUE_TIME, [((view.backend.id,), counted.queue_time) for view, counted in rows]
        )
        yield _histogram(table.AGENT_TTFT, [((view.backend.id,), counted.ttft) for view, counted in rows])

    def _quality(self, snapshot: FleetSnapshot) -> Iterator[Metric]:
        errors, successes, requests = (
            _gauge(each)
            for each in (table.AGENT_ERROR_RATE, table.AGENT_SUCCESS_RATE, table.AGENT_REQUEST_COUNT)
        )
        for view in snapshot.backends:
            if view.quality is not None:
                figures = view.quality.metrics
                agent = (view.backend.id,)
                errors.add_metric(agent, figures.error_rate_1h)
                successes.add_metric(agent, figures.success_rate_24h)
                requests.add_metric(agent, figures.request_count_1h)
        yield from (errors, successes, requests)
        rolled_up = self._rolled_up()
        yield _rollup(snapshot.backends) if rolled_up else _by_model(snapshot.backends)

    def _routing(self) -> Iterator[Metric]:
        stages = self._stages
        yield _histogram(table.QUALITY_RECOMPUTE, [((), self._counters.recompute)])
        yield _histogram(
            table.RECONCILER_DURATION,
            [((name,), each) for name, each in zip(stages.names, stages.histograms, strict=True)],
        )

    def _flow(self) -> Iterator[Metric]:
        if self._queue is not None:
            depth = _gauge(table.QUEUE_DEPTH)
            depth.add_metric((), self._queue.depth)
            yield depth
        if self._retries is not None:
            made, refused = _counter(table.RETRIES), _counter(table.RETRIES_REFUSED)
            made.add_metric((), self._retries.retries)
            refused.add_metric((), self._retries.refused)
            yield from (made, refused)

    def _log_losses(self) -> Metric:
        lost = _counter(table.LOG_LINES_LOST)
        lost.add_metric(("overflow",), sum(each.overflowed for each in self._losses))
        lost.add_metric(("write_error",), sum(each.unwritten for each in self._losses))
        return lost


def _add_attempts(family: CounterMetricFamily, agent: str, counted: BackendCounters) -> None:
    family.add_metric((agent, "success", ""), counted.success)
    family.add_metric((agent, "rate_limited", ""), counted.rate_limited)
    family.add_metric((agent, "cancelled", ""), counted.cancelled)
    for kind, count in sorted(counted.failures.items()):
        family.add_metric((agent, "failure", kind), count)


def _rollup(views: tuple[BackendView, ...]) -> Metric:
    family = _gauge(table.BACKEND_ERROR_RATE)
    for view in views:
        if view.quality is not None:
            family.add_metric((view.backend.id,), view.quality.metrics.error_rate_1h)
    return family


def _by_model(views: tuple[BackendView, ...]) -> Metric:
    """One series per model that the backend serves now: old names would stay for a day."""
    family = _gauge(table.AGENT_MODEL_ERROR_RATE)
    for view in views:
        for model, figures in view.model_quality.items():
            if model in view.models:
                family.add_metric((view.backend.id, model), figures.metrics.error_rate_1h)
    return family


def _process_metrics(process: ProcessFigures) -> Iterator[Metric]:
    known = {each.name.removesuffix("_total"): each for each in table.PROCESS_METRICS}
    for family in process.collect():
        if family.name in known:
            family.documentation = known[family.name].help
            yield family


def _gauge(spec: table.MetricSpec) -> GaugeMetricFamily:
    return GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)


def _counter(spec: table.MetricSpec) -> CounterMetricFamily:
    return CounterMetricFamily(spec.name, spec.help, labels=spec.labels)


def _info(spec: table.MetricSpec, value: dict[str, str]) -> InfoMetricFamily:
    return InfoMetricFamily(spec.name.removesuffix("_info"), spec.help, value=value)


def _histogram(
    spec: table.MetricSpec, rows: Iterable[tuple[tuple[str, ...], Histogram]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
    bounds = [*map(floatToGoString, spec.bounds), "+Inf"]
    for labels, histogram in rows:
        counts = histogram.cumulative()
        family.add_metric(labels, list(zip(bounds, counts, strict=True)), histogram.total)
    return family


def _wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is accepted, and not less than plain text."""
    openmetrics = plain = 0.0
    for part in accept.lower().split(","):
        media, *parameters = (each.strip() for each in part.split(";"))
        weight = _weight(parameters)
        if media == "application/openmetrics-text":
            openmetrics = max(openmetrics, weight)
        elif media == "text/plain":
            plain = max(plain, weight)
    return openmetrics > 0.0 and openmetrics >= plain


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0

"""The composition root: from a configuration to a running gateway. The only file that names all the parts."""

import asyncio
import gc
import logging
import os
import random
import sys

import uvloop

from nexus import __version__
from nexus.backends.discovery import discover
from nexus.backends.health import HealthMonitor
from nexus.backends.prices import PriceList
from nexus.backends.registry import Fleet, StatusChange
from nexus.config.data_dir import create_data_dir
from nexus.config.load import LoadedConfig
from nexus.config.model import BreakerSettings, Config, QualitySettings
from nexus.core.backend import Backend
from nexus.core.clock import Clock, SystemClock
from nexus.core.fleet import BackendStatus
from nexus.core.outcome import AttemptOutcome, AttemptResult
from nexus.dialects.table import dialect_for
from nexus.proxy.context import ProxyContext
from nexus.proxy.fetch import PoolFetch
from nexus.proxy.forward import Forwarder
from nexus.proxy.recovery import Recovery
from nexus.proxy.upstream import UpstreamPool
from nexus.proxy.write_batch import WriteBatch
from nexus.quality import QualityConfig, QualityMetricsStore
from nexus.quality.loop import QualityLoop
from nexus.resilience.breaker_config import CircuitBreakerConfig
from nexus.routing.pipeline import Router
from nexus.server.asgi import AsgiBridge
from nexus.server.banner import banner
from nexus.server.control import control_plane
from nexus.server.edge import EdgeContext, EdgeLimits
from nexus.server.explain import ExplainSurface
from nexus.server.health import HealthSurface
from nexus.server.inference import PATHS, InferenceSurface
from nexus.server.models import ModelsSurface
from nexus.server.root import RootSurface
from nexus.server.service import Periodic, Service
from nexus.server.stats import StatsSurface
from nexus.server.trace import TraceIds
from nexus.state.spend import SpendStore
from nexus.telemetry.counters import TrafficCounters
from nexus.telemetry.health import HealthDocument, HealthWord, build_health, is_ready
from nexus.telemetry.histogram import StageTimes
from nexus.telemetry.logging import ProcessLog, set_up_logging
from nexus.telemetry.prometheus import Metrics
from nexus.telemetry.recent import RecentRequests
from nexus.telemetry.request_log import RequestLog
from nexus.telemetry.stats import StatsDocument, build_stats

_log = logging.getLogger("nexus.app")
_CLIENT_ERROR = 400
_GC_THRESHOLD = 20_000
_FIRST_CHECKS_SECONDS = 2.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def run(loaded: LoadedConfig) -> int:
    """Run the gateway until it is told to stop; returns the exit code.

    Raises:
        NexusError: it can't start; the message says what to do.
    """
    config = loaded.config
    create_data_dir(config.data_dir)
    process_log = set_up_logging(config.logging)
    try:
        uvloop.run(_serve(config, process_log))
    finally:
        process_log.close()
    return 0


async def _serve(config: Config, process_log: ProcessLog) -> None:
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    batch = WriteBatch(loop)
    pool = UpstreamPool(loop, batch, clock, config.timeouts.connect_seconds)
    fetch = PoolFetch(pool)
    backends = tuple(each.to_backend(os.environ) for each in config.backends)
    if not backends and config.discovery.enabled:
        backends = await discover(fetch, own_port=config.server.port)
    for backend in backends:
        dialect_for(backend.type)  # a type that can't be spoken yet is said now, not at the first request
    prices = PriceList(clock)
    if any(backend.type.is_cloud for backend in backends):
        await asyncio.to_thread(prices.load)
    gateway = Gateway(config, backends, clock=clock, pool=pool, prices=prices, process_log=process_log)
    monitor = gateway.monitor
    monitor.start()
    try:
        async with asyncio.timeout(_FIRST_CHECKS_SECONDS):
            await monitor.first_checks()
    except TimeoutError:
        _log.warning("not every backend has answered its first check yet")
    try:
        port = await gateway.service.listen(config.server.host, config.server.port)
        _announce(config, gateway, port, pretty=process_log.pretty)
        _settle_memory()
        await gateway.service.run()
    finally:
        await monitor.stop()
        await pool.close()
        gateway.finish()


def _settle_memory() -> None:
    """Take what lives as long as the process out of garbage collection, and collect the rest less often.

    Requests leave no reference cycles behind, so there is little to find and much to search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)


def _announce(config: Config, gateway: "Gateway", port: int, *, pretty: bool) -> None:
    """Say where to point a client at, and what was found behind it."""
    errors = {backend.id: gateway.fleet.last_error(backend.id) for backend in gateway.fleet.backends}
    text = banner(gateway.fleet.snapshot, errors, config.server.host, port)
    # The banner is for the person at the terminal; in the JSON format standard output holds log lines only.
    print(text, file=sys.stdout if pretty else sys.stderr, flush=True)  # not an event to log: a greeting
    if config.server.host not in _LOOPBACK and not gateway.edge.asks_for_key:
        _log.warning(
            "anyone who reaches %s:%d can use this gateway: set server.api_keys_env",
            *(config.server.host, port),
        )
    if config.server.workers > 1:
        _log.warning("server.workers = %d has no effect yet: one process serves", config.server.workers)


class Gateway:
    """All parts of one gateway, wired. Needs a running event loop; nothing happens until `service` runs."""

    def __init__(
        self,
        config: Config,
        backends: tuple[Backend, ...],
        *,
        clock: Clock,
        pool: UpstreamPool,
        prices: PriceList,
        process_log: ProcessLog,
    ) -> None:
        self._config = config
        self._clock = clock
        self._pool = pool
        self._started_at = clock.monotonic()
        rng = random.Random()
        self.counters = TrafficCounters()
        self.stages = StageTimes()
        self.recent = RecentRequests()
        self.request_log = RequestLog(process_log.sink, clock, pretty=process_log.pretty)
        self.spend = SpendStore(config.data_dir / "spend.json", clock)
        self.store = QualityMetricsStore(_quality_config(config.quality), clock)
        self._quality_loop = QualityLoop(self.store, clock)
        self.fleet = Fleet(backends, quality_views=self.store.snapshot, prices=prices, spend=self.spend.meter)
        self.fleet.on_change(_log_status)
        self.monitor = HealthMonitor(self.fleet, PoolFetch(pool), config.health_check, clock)
        self.recovery = self._recovery(rng)
        self.router = Router(
            config.routing, config.quality, config.breaker, rng=rng, stage_observer=self.stages
        )
        self.forwarder = self._forwarder()
        self.metrics = Metrics(
            fleet=self.fleet,
            counters=self.counters,
            stages=self.stages,
            losses=(process_log.sink, self.request_log),
            version=__version__,
            rolled_up=lambda: config.quality.rollup_series,
        )
        self._losses = (process_log.sink, self.request_log)
        self.edge = self._edge()
        self.service = self._service()

    def finish(self) -> None:
        """Write what is still in memory."""
        self.request_log.flush()
        self.spend.flush()

    # --- wiring

    def _recovery(self, rng: random.Random) -> Recovery:
        settings = self._config.breaker
        breaker = _breaker_config(settings)
        recovery = Recovery(
            fleet=self.fleet,
            forgive=self.store.forgive,
            quality=self._config.quality,
            breaker=breaker if settings.enabled else None,
            gate=breaker,
            on_breaker=self.counters.record_transition,
            clock=self._clock,
            rng=rng,
        )
        recovery.equip()
        self.fleet.on_members(recovery.equip)
        return recovery

    def _forwarder(self) -> Forwarder:
        config = self._config
        return Forwarder(
            ProxyContext(
                fleet=self.fleet,
                router=self.router,
                pool=self._pool,
                clock=self._clock,
                dialect_for=lambda backend: dialect_for(backend.type),
                timeouts=config.timeouts,
                max_retries=config.retry.max_retries,
                try_degraded=config.quality.on_all_degraded == "include",
                forward_authorization=not config.server.api_keys_env,
                attempt_recorders=(
                    self.counters.record_attempt,
                    self._record_quality,
                    self._record_evidence,
                    self._record_spend,
                ),
                request_recorders=(
                    self.counters.record_request,
                    self.request_log.record_request,
                    self.recent.record_request,
                ),
            )
        )

    def _edge(self) -> EdgeContext:
        config, server = self._config, self._config.server
        surfaces = (
            RootSurface(),
            ModelsSurface(self.fleet, config.routing.aliases, int(self._clock.time())),
            StatsSurface(self._stats, self.metrics),
            HealthSurface(self._health, self._ready),
            ExplainSurface(self.router, self.fleet, self.recent, self._clock),
        )
        return EdgeContext(
            clock=self._clock,
            batch=self._pool.batch,
            limits=EdgeLimits(
                server.max_body_bytes, server.header_timeout_seconds, server.body_timeout_seconds
            ),
            posts={
                path: InferenceSurface(surface, self.forwarder, server.max_concurrent_requests)
                for path, surface in PATHS.items()
            },
            control=AsgiBridge(control_plane(surfaces)),
            api_keys=_api_keys(server.api_keys_env),
            unrouted=self._record_unrouted,
            trace_ids=TraceIds(),
        )

    def _service(self) -> Service:
        return Service(
            edge=self.edge,
            active=lambda: len(self.forwarder.active),
            clock=self._clock,
            grace_seconds=self._config.server.shutdown_grace_seconds,
            periodics=(
                Periodic("deadlines", 0.05, self.forwarder.tick),
                Periodic("request log", 0.1, self.request_log.flush),
                Periodic("connections", 1.0, self.edge.tick),
                Periodic("idle upstreams", 5.0, self._pool.sweep),
                Periodic("spend", 5.0, self.spend.flush_async),
                Periodic("quality", self._config.quality.metrics_interval_seconds, self._refresh_quality),
            ),
        )

    # --- background work

    def _refresh_quality(self) -> None:
        """Remake the published figures, and act on them."""
        present = {backend.id for backend in self.fleet.backends}
        for agent_id in [each for each in self.store.snapshot() if each not in present]:
            self.store.remove_agent(agent_id)
        self.counters.recompute.observe(self._quality_loop.tick())
        self.fleet.publish()
        self.recovery.review()
        self.counters.prune(present, self.fleet.snapshot.by_model)

    # --- recorders

    def _record_quality(self, outcome: AttemptOutcome) -> None:
        if outcome.result is AttemptResult.SUCCESS:
            ttft_ms = outcome.ttft_ms if outcome.stream else outcome.first_byte_ms
            if outcome.status >= _CLIENT_ERROR:
                # A refusal of the client's mistake is quick and says nothing about the speed of answers.
                ttft_ms = None
            self.store.record_outcome(
                outcome.backend_id, True, ttft_ms, model=outcome.model, streamed=outcome.stream
            )
        elif outcome.result is AttemptResult.FAILURE:
            self.store.record_outcome(
                outcome.backend_id, False, None, model=outcome.model, streamed=outcome.stream
            )

    def _record_evidence(self, outcome: AttemptOutcome) -> None:
        if outcome.kind is not None and outcome.kind.is_connection:
            self.monitor.evidence(outcome.backend_id, False, outcome.error)
        elif outcome.status:
            self.monitor.evidence(outcome.backend_id, True)

    def _record_spend(self, outcome: AttemptOutcome) -> None:
        if outcome.cost_usd:
            self.spend.add(outcome.cost_usd)

    def _record_unrouted(self, status: int, code: str, path: str) -> None:
        self.counters.count_unrouted(status, code, path)
        self.request_log.record_unrouted(status, code, path)

    # --- documents

    def _uptime(self) -> float:
        return self._clock.monotonic() - self._started_at

    def _stats(self) -> StatsDocument:
        return build_stats(
            snapshot=self.fleet.snapshot,
            counters=self.counters,
            quantiles=self.store,
            settings=self._config.quality,
            version=__version__,
            uptime_seconds=self._uptime(),
            now=self._clock.monotonic(),
        )

    def _health(self) -> HealthDocument:
        lost = any(each.unwritten for each in self._losses)
        log: HealthWord = "degraded" if lost else "healthy"
        return build_health(
            snapshot=self.fleet.snapshot,
            services={"log": log},
            version=__version__,
            uptime_seconds=self._uptime(),
            checks_enabled=self._config.health_check.enabled,
            draining=self.edge.draining,
        )

    def _ready(self) -> bool:
        return is_ready(
            self.fleet.snapshot,
            checks_enabled=self._config.health_check.enabled,
            draining=self.edge.draining,
        )


def _quality_config(settings: QualitySettings) -> QualityConfig:
    return QualityConfig(
        error_rate_threshold=settings.error_rate_threshold,
        ttft_penalty_threshold_ms=settings.ttft_penalty_threshold_ms,
        metrics_interval_seconds=settings.metrics_interval_seconds,
        min_samples=settings.min_samples,
    )


def _breaker_config(settings: BreakerSettings) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(
        failure_threshold=settings.failure_threshold,
        success_threshold=settings.success_threshold,
        timeout_seconds=settings.timeout_seconds,
        first_timeout_seconds=min(settings.first_timeout_seconds, settings.timeout_seconds),
        max_half_open=settings.max_half_open,
    )


def _api_keys(variable: str) -> tuple[str, ...]:
    keys = os.environ.get(variable, "") if variable else ""
    return tuple(key.strip() for key in keys.split(",") if key.strip())


def _log_status(change: StatusChange) -> None:
    bad = change.new is BackendStatus.UNHEALTHY
    log = _log.warning if bad else _log.info
    reason = f": {change.reason}" if change.reason else ""
    log("backend %s is %s (was %s)%s", change.backend.id, change.new, change.old, reason)

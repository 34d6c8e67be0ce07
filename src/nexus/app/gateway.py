"""All parts of one gateway, wired."""

import asyncio
import random
from collections.abc import Mapping

from nexus import __version__
from nexus.app.bounds import api_keys, breaker_config, guard_rules, proxy_limits, quality_config, queue_bounds
from nexus.app.choosing import Choosing
from nexus.app.documents import Documents
from nexus.app.learning import Learning
from nexus.app.outcomes import Outcomes
from nexus.app.patience import FirstTokenPatience
from nexus.app.quality_history import QualityHistory
from nexus.app.recorders import log_status, record_affinity, record_evidence, record_quality, record_spend
from nexus.backends.health import HealthMonitor
from nexus.backends.prices import PriceList
from nexus.backends.registry import Fleet
from nexus.config.model import Config
from nexus.core.backend import Backend
from nexus.core.clock import Clock
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.request import Request
from nexus.dialects.table import dialect_for
from nexus.proxy.context import AttemptWatch, ProxyContext
from nexus.proxy.fast_path import FastPath
from nexus.proxy.fetch import PoolFetch
from nexus.proxy.forward import Forwarder
from nexus.proxy.probing import Prober
from nexus.proxy.recording import Recording
from nexus.proxy.recovery import Recovery
from nexus.proxy.retry_budget import RetryBudget
from nexus.proxy.upstream import UpstreamPool
from nexus.proxy.waiting_room import WaitingRoom
from nexus.quality import QualityMetricsStore
from nexus.quality.learner import AttemptLearner
from nexus.quality.loop import QualityLoop
from nexus.resilience.breaker_config import BreakerState
from nexus.routing.affinity import PrefixAffinity
from nexus.routing.pipeline import Router
from nexus.server.asgi import AsgiBridge
from nexus.server.control import control_plane
from nexus.server.edge import TICK_SECONDS, EdgeContext, Handler
from nexus.server.edge_records import EdgeLimits, Unrouted
from nexus.server.elsewhere import Elsewhere
from nexus.server.explain import ExplainSurface
from nexus.server.health import HealthSurface
from nexus.server.inference import PATHS, InferenceSurface
from nexus.server.models import ModelsSurface
from nexus.server.openapi import OpenApiSurface
from nexus.server.outcomes import OutcomesSurface
from nexus.server.rate_limits import Buckets, RateLimiting, RateLimitSettings
from nexus.server.root import RootSurface
from nexus.server.service import Periodic, Service
from nexus.server.stats import StatsSurface
from nexus.server.suggestions import SuggestionsSurface
from nexus.server.trace import TraceIds
from nexus.state.spend import SpendStore
from nexus.telemetry.counters import TrafficCounters
from nexus.telemetry.histogram import StageTimes
from nexus.telemetry.logging import ProcessLog
from nexus.telemetry.prometheus import Metrics
from nexus.telemetry.recent import RecentRequests
from nexus.telemetry.request_log import RequestLog


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
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._config = config
        self._elsewhere = elsewhere
        self._started = config.server
        self._process_log = process_log
        self._clock = clock
        self._pool = pool
        rng = random.Random()
        self.counters = TrafficCounters()
        self.stages = StageTimes()
        self.recent = RecentRequests()
        self.request_log = RequestLog(process_log.sink, clock, pretty=process_log.pretty)
        self.spend = SpendStore(config.data_dir / "spend.json", clock)
        self.choosing = Choosing(config, rng)
        self.outcomes: Outcomes | None = None
        if config.outcomes.enabled:
            self.outcomes = self._tracked(config)
            self.choosing.heed(self.outcomes.tracker.is_excluded)
        self.store = QualityMetricsStore(quality_config(config.quality), clock)
        self._quality_loop = QualityLoop(self.store, clock)
        self._history = QualityHistory(self.store, config, clock)
        self.fleet = Fleet(backends, quality_views=self.store.snapshot, prices=prices, spend=self.spend.meter)
        self.fleet.on_change(log_status)
        self.monitor = HealthMonitor(self.fleet, PoolFetch(pool), config.health_check, clock)
        self._tuning = tuning = ExpectedTimeSettings()
        self.learner = AttemptLearner(tuning)
        self._learning = Learning(self.learner, self.fleet, clock)
        self._watch = self._watching()
        self.fast_path = self._fast_path(rng)
        self._prober = Prober(self.fleet, self.fast_path, pool, clock, lambda each: dialect_for(each.type))
        self.recovery = self._recovery(rng)
        self._affinity = PrefixAffinity()
        self.router = self._router(rng)
        self.retries = RetryBudget(config.retry, rng)
        self.queue = _waiting_room(config, clock, self.counters)
        self.forwarder = self._forwarder()
        self._losses = (process_log.sink, self.request_log)
        self.metrics = self._metrics()
        self.edge = self._edge()
        self.service = self._service()

    def start(self) -> None:
        """Take over what was kept, and begin to keep more."""
        if self.outcomes is not None:
            self.outcomes.load()
            self.outcomes.start()
            self.choosing.start()
        if self._history.load():
            self._refresh_quality()

    async def finish(self) -> None:
        """Write what is still in memory."""
        self.forwarder.context.recording.tell()
        if self.outcomes is not None:
            await self.choosing.stop()
            await self.outcomes.stop()
        await self._history.stop()
        self.request_log.flush()
        self.spend.flush()

    def apply(self, config: Config, backends: tuple[Backend, ...]) -> None:
        """Make this the running configuration, as far as it can change without a restart.

        Requests under way keep the decision they were made with; backends that are gone finish what they do.
        """
        self._config = config
        self._process_log.apply_levels(config.logging)
        self.store.configure(quality_config(config.quality))
        self.router.configure(config.routing, config.quality, config.breaker)
        self.recovery.configure(config.quality, breaker_config(config.breaker))
        self.retries.settings = config.retry
        self.queue.max_size, self.queue.max_wait_seconds = queue_bounds(config)
        self.forwarder.context.configure(proxy_limits(config))
        self._pool.opener.connect_seconds = config.timeouts.connect_seconds
        self._documents.configure(config)
        self._aliases.clear()
        self._aliases.update(config.routing.aliases)
        if backends != self.fleet.backends:
            self.fleet.replace_all(backends)
        self.fast_path.configure(
            breaker_config(config.breaker),
            guard_rules(config.breaker, config.quality),
            enabled=config.breaker.enabled,
        )
        if config.rate_limit != self._rate_limit:
            self.edge.posts = self._posts(config)

    # --- wiring

    def _tracked(self, config: Config) -> Outcomes:
        return Outcomes(config, self._clock, receivers=(self.choosing.receive,))

    def _router(self, rng: random.Random) -> Router:
        config = self._config
        return Router(
            config.routing,
            config.quality,
            config.breaker,
            rng=rng,
            stage_observer=self.stages,
            tuning=self._tuning,
            queueing=config.queue.enabled,
            chooser=self.choosing.chooser if config.outcomes.enabled else None,
            affinity=self._affinity,
        )

    def _metrics(self) -> Metrics:
        return Metrics(
            fleet=self.fleet,
            counters=self.counters,
            stages=self.stages,
            losses=self._losses,
            version=__version__,
            rolled_up=lambda: self._config.quality.rollup_series,
            queue=self.queue,
            retries=self.retries,
            outcomes=self.outcomes,
        )

    def _fast_path(self, rng: random.Random) -> FastPath:
        config = self._config
        path = FastPath(
            self.fleet,
            breaker=breaker_config(config.breaker),
            rules=guard_rules(config.breaker, config.quality),
            clock=self._clock,
            rng=rng,
            enabled=config.breaker.enabled,
            on_change=self._breaker_changed,
            limit_of=self.learner.limit_of,
        )
        path.equip()
        self.fleet.on_members(path.equip)
        return path

    def _recovery(self, rng: random.Random) -> Recovery:
        return Recovery(
            fleet=self.fleet,
            forgive=self._forgive,
            quality=self._config.quality,
            gate=breaker_config(self._config.breaker),
            clock=self._clock,
            rng=rng,
        )

    def _forwarder(self) -> Forwarder:
        config = self._config
        return Forwarder(
            ProxyContext(
                fleet=self.fleet,
                router=self.router,
                pool=self._pool,
                clock=self._clock,
                dialect_for=lambda backend: dialect_for(backend.type),
                limits=proxy_limits(config),
                retries=self.retries,
                queue=self.queue,
                patience=FirstTokenPatience(self.store, self._tuning),
                forward_authorization=not config.server.api_keys_env,
                watch=self._watch,
                recording=self._recording(),
                listener=self.outcomes.conversations if self.outcomes is not None else None,
                order=self._pool.turn,
            )
        )

    def _watching(self) -> AttemptWatch:
        """Who is told of attempts from their start to their end."""
        return self.learner

    def _recording(self) -> Recording:
        return Recording(
            self._watch,
            (
                self.counters.record_attempts,
                record_quality(self.store),
                record_evidence(self.monitor),
                record_spend(self.spend),
            ),
            (
                self.counters.record_requests,
                self.request_log.record_requests,
                self.recent.record_requests,
                record_affinity(self._affinity),
                *((self.outcomes.record_requests,) if self.outcomes is not None else ()),
            ),
            self._pool.turn.then,
        )

    def _edge(self) -> EdgeContext:
        config, server = self._config, self._config.server
        self._aliases = dict(config.routing.aliases)
        self._documents = documents = Documents(
            config,
            clock=self._clock,
            fleet=self.fleet,
            counters=self._shown,
            store=self.store,
            losses=self._losses,
            draining=lambda: self.edge.draining,
        )
        tracker = self.outcomes.tracker if self.outcomes is not None else None
        surfaces = (
            RootSurface(),
            OpenApiSurface(),
            ModelsSurface(self.fleet, self._aliases, int(self._clock.time()), auto=self.outcomes is not None),
            StatsSurface(documents.stats, self.metrics),
            HealthSurface(documents.health, documents.ready),
            ExplainSurface(
                self.router,
                self.fleet,
                self.recent,
                self._clock,
                tracker.receipt if tracker else None,
                elsewhere=self._elsewhere,
            ),
            OutcomesSurface(tracker, self._in_flight, self._elsewhere),
            SuggestionsSurface(self.outcomes, self._elsewhere),
        )
        return EdgeContext(
            clock=self._clock,
            turn=self._pool.turn,
            limits=EdgeLimits(
                server.max_body_bytes, server.header_timeout_seconds, server.body_timeout_seconds
            ),
            posts=self._posts(config),
            # What is asked about may have ended within the same turn of the loop.
            control=AsgiBridge(control_plane(surfaces), first=self.forwarder.context.recording.tell),
            api_keys=api_keys(server.api_keys_env),
            unrouted=self._record_unrouted,
            trace_ids=TraceIds(),
        )

    def _posts(self, config: Config) -> Mapping[bytes, Handler]:
        """The handlers of the inference paths, behind the rate limit where it is on."""
        self._rate_limit = config.rate_limit
        most = self._started.max_concurrent_requests
        surfaces = {path: InferenceSurface(surface, self.forwarder, most) for path, surface in PATHS.items()}
        if not config.rate_limit.enabled:
            return surfaces
        call_later = asyncio.get_running_loop().call_later
        limiting = RateLimiting(config.rate_limit, self._clock, call_later, self._buckets(config.rate_limit))
        return {path: limiting.guard(surface) for path, surface in surfaces.items()}

    def _buckets(self, settings: RateLimitSettings) -> Buckets:
        return Buckets(settings)

    def _service(self) -> Service:
        return Service(
            edge=self.edge,
            active=lambda: len(self.forwarder.active),
            clock=self._clock,
            grace_seconds=self._config.server.shutdown_grace_seconds,
            on_drain=self.forwarder.drain,
            periodics=(
                Periodic("deadlines", 0.05, self.forwarder.tick),
                Periodic("queue", 0.25, self.forwarder.sweep),
                Periodic("ejected backends", 0.25, self.fast_path.review),
                Periodic("tests of ejected backends", 0.5, self._probe),
                Periodic("request log", 0.1, self.request_log.flush),
                Periodic("connections", TICK_SECONDS, self.edge.tick),
                Periodic("idle upstreams", 5.0, self._pool.sweep),
                Periodic("spend", 5.0, self.spend.flush_async),
                Periodic(
                    "quality", lambda: self._config.quality.metrics_interval_seconds, self._refresh_quality
                ),
                *(self.outcomes.periodics() if self.outcomes is not None else ()),
                *self._history.periodics(),
            ),
        )

    # --- background work

    def _shown(self) -> TrafficCounters:
        return self.counters

    def _probe(self) -> None:
        self._prober.tick()

    def _refresh_quality(self) -> None:
        """Remake the published figures, and act on them."""
        present = {backend.id for backend in self.fleet.backends}
        for agent_id in [each for each in self.store.snapshot() if each not in present]:
            self.store.remove_agent(agent_id)
        self.counters.recompute.observe(self._quality_loop.tick())
        self.fleet.publish()
        self.recovery.review()
        self.counters.prune(present, self.fleet.snapshot.by_model)
        self._learning.prune()

    def _breaker_changed(self, backend_id: str, old: BreakerState, new: BreakerState) -> None:
        self.counters.record_transition(backend_id, old, new)
        self._learning.breaker_changed(backend_id, old, new)
        if old is BreakerState.HALF_OPEN and new is BreakerState.CLOSED:
            self.recovery.recovered(backend_id)
            # Its tests were answered, which says more than the check that is still to come.
            for _ in range(self._config.health_check.recovery_threshold):
                self.monitor.evidence(backend_id, True)

    def _forgive(self, backend_id: str, model: str) -> None:
        self.store.forgive(backend_id, model)
        self._learning.forgiven(backend_id, model)

    def _in_flight(self, trace_id: str) -> Request | None:
        active = self.forwarder.active
        return next((each.request for each in active if each.request.trace_id == trace_id), None)

    def _record_unrouted(self, refused: Unrouted) -> None:
        status, code, path = refused.status, refused.code, refused.path
        self.counters.count_unrouted(status, code, path)
        self.request_log.record_unrouted(status, code, path, trace_id=refused.trace_id, client=refused.client)


def _waiting_room(config: Config, clock: Clock, counters: TrafficCounters) -> WaitingRoom:
    most, longest = queue_bounds(config)
    return WaitingRoom(max_size=most, max_wait_seconds=longest, clock=clock, on_leave=counters.record_wait)

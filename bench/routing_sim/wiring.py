"""The product's parts, put together as its gateway does, less sockets, telemetry and health checks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from nexus.app.bounds import breaker_config, guard_rules, quality_config
from nexus.app.learning import Learning
from nexus.app.patience import FirstTokenPatience
from nexus.app.recorders import record_quality
from nexus.backends.registry import Fleet
from nexus.config.model import BreakerSettings, QualitySettings, RetrySettings, RoutingConfig, TimeoutSettings
from nexus.core.backend import Backend
from nexus.core.clock import Clock
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus
from nexus.core.live import SpendMeter
from nexus.dialects.table import dialect_for
from nexus.proxy.calling import Caller
from nexus.proxy.context import ProxyContext
from nexus.proxy.fast_path import BreakerListener, FastPath
from nexus.proxy.forward import Forwarder
from nexus.proxy.limits import ProxyLimits
from nexus.proxy.probing import Prober
from nexus.proxy.recording import AttemptRecorder, Recording
from nexus.proxy.recovery import Recovery
from nexus.proxy.retry_budget import RetryBudget
from nexus.proxy.waiting_room import WaitingRoom
from nexus.quality import QualityMetricsStore
from nexus.quality.learner import AttemptLearner
from nexus.quality.loop import QualityLoop
from nexus.resilience.breaker_config import BreakerState
from nexus.routing.pipeline import Router

_DEADLINE_TICK = 0.1
_REVIEW_TICK = 0.25
_PROBE_TICK = 0.5


@dataclass(frozen=True)
class Parts:
    """One wired gateway. `periodics` are (seconds, action): its background work."""

    fleet: Fleet
    forwarder: Forwarder
    periodics: tuple[tuple[float, Callable[[], object]], ...]


@dataclass(frozen=True)
class Product:
    """One configuration of the product."""

    routing: RoutingConfig
    quality: QualitySettings = field(default_factory=QualitySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    tuning: ExpectedTimeSettings = field(default_factory=ExpectedTimeSettings)

    def wire(
        self,
        backends: tuple[Backend, ...],
        *,
        clock: Clock,
        pool: Caller,
        rng: Random,
        recorder: AttemptRecorder,
    ) -> Parts:
        """A gateway over these backends; `recorder` is told of all attempts."""
        store = QualityMetricsStore(quality_config(self.quality), clock)
        loop = QualityLoop(store, clock)
        fleet = Fleet(backends, quality_views=store.snapshot, prices=lambda _, __: None, spend=SpendMeter())
        for backend in backends:
            fleet.set_status(backend.id, BackendStatus.HEALTHY)
        learner = AttemptLearner(self.tuning)
        learning = Learning(learner, fleet, clock)

        recovery = self._recovery(fleet, store, learning, clock, rng)

        def changed(backend_id: str, old: BreakerState, new: BreakerState) -> None:
            learning.breaker_changed(backend_id, old, new)
            if old is BreakerState.HALF_OPEN and new is BreakerState.CLOSED:
                recovery.recovered(backend_id)

        path = self._fast_path(fleet, learner, changed, clock, rng)
        context = self._context(fleet, store, learner, pool, clock, rng, recorder)
        forwarder = Forwarder(context)

        def refresh() -> None:
            loop.tick()
            fleet.publish()
            recovery.review()

        periodics: list[tuple[float, Callable[[], object]]] = [
            (_DEADLINE_TICK, forwarder.tick),
            (_REVIEW_TICK, forwarder.sweep),
            (self.quality.metrics_interval_seconds, refresh),
        ]
        if path is not None:
            prober = Prober(fleet, path, pool, clock, lambda backend: dialect_for(backend.type))
            periodics.append((_REVIEW_TICK, path.review))
            periodics.append((_PROBE_TICK, prober.tick))
        return Parts(fleet, forwarder, tuple(periodics))

    def _recovery(
        self, fleet: Fleet, store: QualityMetricsStore, learning: Learning, clock: Clock, rng: Random
    ) -> Recovery:
        def forgive(backend_id: str, model: str) -> None:
            store.forgive(backend_id, model)
            learning.forgiven(backend_id, model)

        gate = breaker_config(self.breaker)
        return Recovery(fleet=fleet, forgive=forgive, quality=self.quality, gate=gate, clock=clock, rng=rng)

    def _context(  # noqa: PLR0917 - the parts of one gateway
        self,
        fleet: Fleet,
        store: QualityMetricsStore,
        learner: AttemptLearner,
        pool: Caller,
        clock: Clock,
        rng: Random,
        recorder: AttemptRecorder,
    ) -> ProxyContext:
        router = Router(self.routing, self.quality, self.breaker, rng=rng, tuning=self.tuning, queueing=True)
        return ProxyContext(
            fleet=fleet,
            router=router,
            pool=pool,
            clock=clock,
            dialect_for=lambda backend: dialect_for(backend.type),
            limits=ProxyLimits(
                timeouts=TimeoutSettings(), try_degraded=self.quality.on_all_degraded == "include"
            ),
            retries=RetryBudget(RetrySettings(), rng),
            queue=WaitingRoom(max_size=100, max_wait_seconds=30.0, clock=clock),
            patience=FirstTokenPatience(store, self.tuning),
            forward_authorization=False,
            watch=learner,
            recording=Recording(learner, (record_quality(store), recorder), ()),
        )

    def _fast_path(
        self, fleet: Fleet, learner: AttemptLearner, changed: BreakerListener, clock: Clock, rng: Random
    ) -> FastPath | None:
        if not self.breaker.enabled:
            return None
        path = FastPath(
            fleet,
            breaker=breaker_config(self.breaker),
            rules=guard_rules(self.breaker, self.quality),
            clock=clock,
            rng=rng,
            on_change=changed,
            limit_of=learner.limit_of,
        )
        path.equip()
        fleet.on_members(path.equip)
        return path

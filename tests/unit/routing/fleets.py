"""Small fleets, requests and routers for the routing tests."""

from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any

from nexus.config.model import BreakerSettings, BudgetConfig, QualitySettings, RoutingConfig
from nexus.core.backend import Backend, BackendType, ModelInfo, Zone
from nexus.core.decision import Candidate, Decision
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot, Price
from nexus.core.live import BackendLive, Gate, SpendMeter
from nexus.core.quality import AgentQualityMetrics, QualityView
from nexus.core.request import Constraints, Needs, Request, Surface
from nexus.routing.affinity import PrefixAffinity
from nexus.routing.pipeline import Router

NOW = 1000.0


class FixedGate:
    """A gate in a fixed state: closed, willing (`permits`) or refusing for `wait` seconds."""

    def __init__(self, *, is_closed: bool = False, permits: bool = False, wait: float = 0.0) -> None:
        self.is_closed = is_closed
        self._permits = permits or is_closed
        self._wait = wait

    def permits(self) -> bool:
        return self._permits

    def retry_after(self) -> float:
        return self._wait

    def allow(self) -> bool:
        raise AssertionError("routing reserves nothing")

    def release(self) -> None:
        raise AssertionError("routing reserves nothing")

    def record_success(self) -> None:
        raise AssertionError("routing records nothing")

    def record_failure(self) -> None:
        raise AssertionError("routing records nothing")

    def end_wait(self) -> None:
        raise AssertionError("routing ends no waits")


class Observed:
    """The stages that were reported, and the seconds that each took."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, float]] = []

    def observe(self, stage: int, seconds: float) -> None:
        self.calls.append((stage, seconds))


def ticking() -> Callable[[], float]:
    """A timer that goes on by a second at each reading."""
    ticks = count()
    return lambda: float(next(ticks))


def figures(rate: float = 0.0, count: int = 100, ttft_ms: int = 0) -> QualityView:
    return QualityView(AgentQualityMetrics(rate, ttft_ms, 1 - rate, None, count), rate, count)


def serve(
    backend_id: str,
    models: str | dict[str, ModelInfo] = "m",
    *,
    kind: BackendType = BackendType.VLLM,
    zone: Zone = Zone.RESTRICTED,
    tier: int = 1,
    priority: int = 50,
    limit: int = 0,
    status: BackendStatus = BackendStatus.HEALTHY,
    pending: int = 0,
    latency_ms: float = 0.0,
    blocked_until: float = 0.0,
    breaker: Gate | None = None,
    gate: Gate | None = None,
    rate: float | None = None,
    count: int = 100,
    ttft_ms: int = 0,
    pairs: dict[str, QualityView] | None = None,
    price: Price | None = None,
) -> BackendView:
    """A backend that serves the models named in `models` (separated by spaces)."""
    infos = {name: ModelInfo(name) for name in models.split()} if isinstance(models, str) else models
    live = BackendLive()
    live.pending, live.latency_ms, live.blocked_until, live.breaker = (
        pending,
        latency_ms,
        blocked_until,
        breaker,
    )
    if gate is not None:
        live.gates = dict.fromkeys(infos, gate)
    quality = figures(rate or 0.0, count, ttft_ms) if rate is not None or ttft_ms else None
    backend = Backend(
        id=backend_id,
        name=backend_id.upper(),
        url=f"http://{backend_id}",
        type=kind,
        zone=zone,
        tier=tier,
        priority=priority,
        max_concurrency=limit,
    )
    prices = dict.fromkeys(infos, price) if price is not None else {}
    return BackendView(backend, status, infos, live, quality, pairs or {}, prices)


def fleet(*views: BackendView, month_usd: float = 0.0) -> FleetSnapshot:
    by_model: dict[str, tuple[BackendView, ...]] = {}
    for view in views:
        for model in view.models:
            by_model[model] = (*by_model.get(model, ()), view)
    spend = SpendMeter()
    spend.month_usd = month_usd
    return FleetSnapshot(1, views, by_model, spend)


def ask(
    model: str = "m",
    *,
    needs: Needs | None = None,
    restricted: bool = False,
    flexible: bool | None = None,
    surface: Surface = Surface.CHAT,
) -> Request:
    return Request(
        "trace",
        surface,
        model,
        needs or Needs(),
        0.0,
        Constraints(restricted=restricted, flexible=flexible),
    )


def router(
    *,
    quality: QualitySettings | None = None,
    breaker: BreakerSettings | None = None,
    seed: int = 1,
    observer: Any = None,
    timer: Any = None,
    tuning: ExpectedTimeSettings | None = None,
    queueing: bool = False,
    affinity: PrefixAffinity | None = None,
    **routing: Any,
) -> Router:
    """A router with these `[routing]` settings; `smart` unless they say otherwise: its scores are exact."""
    routing.setdefault("strategy", "smart")
    if isinstance(routing.get("budget"), dict):
        routing["budget"] = BudgetConfig(**routing["budget"])
    extra = {"timer": timer} if timer is not None else {}
    return Router(
        RoutingConfig(**routing),
        quality or QualitySettings(),
        breaker or BreakerSettings(),
        rng=Random(seed),
        stage_observer=observer,
        tuning=tuning,
        affinity=affinity,
        queueing=queueing,
        **extra,
    )


def decide(snapshot: FleetSnapshot, request: Request | None = None, **settings: Any) -> Decision:
    """One decision of a fresh router."""
    return router(**settings).decide(request or ask(), snapshot, NOW)


def weighed(view: BackendView, **settings: Any) -> Candidate:
    """A backend that alone serves the model, weighed all the same, as for an explanation."""
    (candidate,) = router(**settings).decide(ask(), fleet(view), NOW, preview=True).candidates
    return candidate


def order(decision: Decision) -> list[str]:
    """The ids of the candidates, best first."""
    return [candidate.view.backend.id for candidate in decision.candidates]


def refusals(decision: Decision) -> dict[str, tuple[str, str]]:
    """Backend id → the reconciler that refused it, and its reason."""
    return {each.backend: (each.reconciler, each.reason) for each in decision.rejections}


def ids(views: Sequence[BackendView]) -> list[str]:
    return [view.backend.id for view in views]

"""One picture of all backends that a routing decision reads.

A `FleetSnapshot` is immutable and is swapped as a whole by background work. The only things in it that move
are the live gauges (`BackendLive`, `SpendMeter`): numbers that change with every attempt and that a decision
reads once.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from nexus.core.backend import Backend, ModelInfo
from nexus.core.learned import PairLearned
from nexus.core.quality import QualityView


class BackendStatus(StrEnum):
    """What the health checks say."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class Gate(Protocol):
    """The part of a circuit breaker that routing reads and the proxy drives."""

    is_closed: bool

    def permits(self) -> bool:
        """Whether a call would be let through now; reserves nothing."""
        ...

    def allow(self) -> bool:
        """Reserve a call. True must be followed by exactly one `record_*` or `release`."""
        ...

    def release(self) -> None:
        """Give a reserved call back without a verdict (it was cancelled or never made)."""
        ...

    def record_success(self) -> None:
        """The reserved call worked."""
        ...

    def record_failure(self) -> None:
        """The reserved call failed."""
        ...

    def retry_after(self) -> float:
        """Seconds until a call may be let through; 0 when one may now."""
        ...

    def end_wait(self) -> None:
        """Let a call through now if waiting is all that kept it."""
        ...


class BackendLive:
    """The moving numbers of one backend. Written by the proxy and its recorders, read by routing.

    `pending` counts attempts in flight, `latency_ms` is a smoothed time to answer (0: unknown),
    `blocked_until` is the monotonic time until which the backend asked to be left alone (429) and
    `throttles` how many 429s came in a row, `breaker` is the backend's own breaker (None: the fast path is
    off), and `gates` holds a gate per model that the hourly rule has excluded. `learned` is what attempts
    taught of each model here, and `recovered_at` when the backend last came back after being out.
    """

    __slots__ = (
        "blocked_until",
        "breaker",
        "gates",
        "latency_ms",
        "learned",
        "pending",
        "recovered_at",
        "requests",
        "throttles",
    )

    def __init__(self) -> None:
        self.pending = 0
        self.requests = 0
        self.latency_ms = 0.0
        self.blocked_until = 0.0
        self.throttles = 0
        self.breaker: Gate | None = None
        self.gates: dict[str, Gate] = {}
        self.learned: dict[str, PairLearned] = {}
        self.recovered_at = float("-inf")


class SpendMeter:
    """What this calendar month (UTC) has cost so far, in USD."""

    __slots__ = ("month", "month_usd")

    def __init__(self) -> None:
        self.month = ""
        self.month_usd = 0.0


class Price(Struct, frozen=True, gc=False):
    """USD per million tokens."""

    input_per_mtok: float
    output_per_mtok: float

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """USD for this many tokens."""
        return (input_tokens * self.input_per_mtok + output_tokens * self.output_per_mtok) / 1e6


class BackendView(Struct, frozen=True):
    """One backend as of a snapshot. `prices` lacks a model whose price is unknown (unknown is not free)."""

    backend: Backend
    status: BackendStatus
    models: Mapping[str, ModelInfo]
    live: BackendLive
    quality: QualityView | None = None
    model_quality: Mapping[str, QualityView] = {}
    prices: Mapping[str, Price] = {}

    def quality_for(self, model: str, min_samples: int) -> QualityView | None:
        """The pair's own figures where it has enough outcomes, else the backend's roll-up."""
        pair = self.model_quality.get(model)
        if pair is not None and pair.judged_count >= min_samples:
            return pair
        return self.quality


class FleetSnapshot(Struct, frozen=True):
    """Every backend at one moment. `by_model` lists, for each model name, the backends that serve it."""

    version: int
    backends: tuple[BackendView, ...]
    by_model: Mapping[str, tuple[BackendView, ...]]
    spend: SpendMeter

    def view(self, backend_id: str) -> BackendView | None:
        """The backend with this id, or None."""
        for view in self.backends:
            if view.backend.id == backend_id:
                return view
        return None

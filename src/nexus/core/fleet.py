"""One picture of all backends that a routing decision reads.

A `FleetSnapshot` is immutable and is swapped as a whole by background work. The only things in it that move
are the live gauges (`BackendLive`, `SpendMeter`): numbers that change with every attempt and that a decision
reads once.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from nexus.core.backend import Backend, ModelInfo
from nexus.core.live import BackendLive, SpendMeter
from nexus.core.quality import QualityView


class BackendStatus(StrEnum):
    """What the health checks say."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


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

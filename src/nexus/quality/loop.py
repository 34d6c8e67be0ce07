"""One round of the quality loop. Whoever runs the program decides when."""

from msgspec import Struct

from nexus.core.clock import Clock, SystemClock
from nexus.core.quality import QualityView, exceeds
from nexus.quality.store import QualityMetricsStore


class OverThreshold(Struct, frozen=True):
    """Something whose judged error rate is at or over the threshold.

    `model` None is the agent as a whole, which judges every model without enough outcomes of its own.
    """

    agent_id: str
    model: str | None
    error_rate: float
    count: int


class QualityLoop:
    """Remakes the figures of a store and says who is over the threshold.

    Args:
        store: the store; its configuration has the threshold and the time between two rounds.
        clock: what measures a round.
    """

    def __init__(self, store: QualityMetricsStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock if clock is not None else SystemClock()

    def tick(self) -> float:
        """Recompute; returns the seconds that it took."""
        start = self._clock.monotonic()
        self._store.recompute_all()
        return self._clock.monotonic() - start

    def over_threshold(self) -> tuple[OverThreshold, ...]:
        """As of the last recompute, sorted by agent, the agent as a whole before its models."""
        found = []
        for agent_id, figures in sorted(self._store.snapshot().items()):
            views = [(None, figures.rollup), *sorted(figures.models.items())]
            found += [
                OverThreshold(agent_id, model, view.judged_rate, view.judged_count)
                for model, view in views
                if self._exceeds(view)
            ]
        return tuple(found)

    def _exceeds(self, view: QualityView) -> bool:
        config = self._store.config
        return exceeds(view, config.error_rate_threshold, config.min_samples)

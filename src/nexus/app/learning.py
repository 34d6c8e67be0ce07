"""Keeps what is learned of backends in step with their comings and goings."""

from nexus.backends.registry import Fleet, StatusChange
from nexus.core.clock import Clock
from nexus.core.fleet import BackendStatus
from nexus.quality.learner import AttemptLearner
from nexus.resilience.breaker_config import BreakerState


class Learning:
    """Tells the learner who is back, who is forgiven and who is gone."""

    def __init__(self, learner: AttemptLearner, fleet: Fleet, clock: Clock) -> None:
        self._learner = learner
        self._fleet = fleet
        self._clock = clock
        fleet.on_change(self._status_changed)
        fleet.on_members(self.prune)

    def breaker_changed(self, backend_id: str, old: BreakerState, new: BreakerState) -> None:
        """A breaker that closes after its tests means a slow start; one that is released means none."""
        if old is BreakerState.HALF_OPEN and new is BreakerState.CLOSED:
            self._recovered(backend_id)

    def forgiven(self, backend_id: str, model: str) -> None:
        """A model on a backend has recovered from a high error rate."""
        view = self._fleet.snapshot.view(backend_id)
        if view is not None:
            self._learner.forgive(view.live, model)
            view.live.recovered_at = self._clock.monotonic()

    def prune(self) -> None:
        """Forget models and backends that are gone."""
        snapshot = self._fleet.snapshot
        self._learner.retain([view.live for view in snapshot.backends], snapshot.by_model)

    def _status_changed(self, change: StatusChange) -> None:
        if change.old is BackendStatus.UNHEALTHY and change.new is BackendStatus.HEALTHY:
            self._recovered(change.backend.id)

    def _recovered(self, backend_id: str) -> None:
        view = self._fleet.snapshot.view(backend_id)
        if view is not None:
            self._learner.recovered(view.live, self._clock.monotonic())

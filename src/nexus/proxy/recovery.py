"""How excluded models get back in: a gate per excluded model of a backend.

A gate is put up when the hourly error rate excludes a (backend, model) pair. Like a breaker (see
`nexus.proxy.fast_path`) it lets one live request at a time through once its wait is over, and closes after
enough successes; then the store forgets the failures from before.
"""

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

from nexus.core.clock import Clock
from nexus.core.fleet import BackendView, FleetSnapshot
from nexus.core.quality import exceeds
from nexus.resilience.breaker import CircuitBreaker
from nexus.resilience.breaker_config import BreakerState, CircuitBreakerConfig

_log = logging.getLogger("nexus.quality.recovery")


class RecoverySettings(Protocol):
    """The quality settings that decide about exclusion."""

    @property
    def enabled(self) -> bool:
        """Whether quality excludes at all."""
        ...

    @property
    def recovery(self) -> str:
        """`probe` or `window`."""
        ...

    @property
    def error_rate_threshold(self) -> float:
        """The share of failures from which on a pair is excluded."""
        ...

    @property
    def min_samples(self) -> int:
        """Outcomes a rate needs before it counts."""
        ...


class Fleet(Protocol):
    """The backends, and the way to publish a new picture of them."""

    snapshot: FleetSnapshot

    def publish(self) -> FleetSnapshot:
        """Swap in a snapshot with the current figures."""
        ...


class Recovery:
    """Puts gates on backends and takes them away again.

    Args:
        fleet: the backends.
        forgive: told (backend id, model) when a pair has recovered through probes.
        quality: when a pair is excluded.
        gate: how gates open and close.
        clock, rng: time, and the jitter of waits.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        forgive: Callable[[str, str], None],
        quality: RecoverySettings,
        gate: CircuitBreakerConfig,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._fleet = fleet
        self._forgive = forgive
        self._quality = quality
        self._gate_config = gate
        self._clock = clock
        self._rng = rng

    def configure(self, quality: RecoverySettings, gate: CircuitBreakerConfig) -> None:
        """Replace the settings; gates that are up keep theirs, unless gates are not used any more."""
        self._quality = quality
        self._gate_config = gate
        if not quality.enabled or quality.recovery != "probe":
            for view in self._fleet.snapshot.backends:
                view.live.gates.clear()

    def review(self) -> None:
        """Put up gates where the hourly rule excludes, take them away where it no longer does.

        Call it after each recompute, once the snapshot has the new figures.
        """
        if not self._quality.enabled or self._quality.recovery != "probe":
            return
        for view in self._fleet.snapshot.backends:
            for model in view.models:
                self._review_pair(view, model)

    def recovered(self, backend_id: str) -> None:
        """A backend's breaker closed after its tests: if all its models were excluded, they are back too.

        Otherwise a second round of waits and tests would begin. Where only some models are excluded their
        gates stay: the tests may have been of another model.
        """
        view = self._fleet.snapshot.view(backend_id)
        if view is None or not self._quality.enabled or self._quality.recovery != "probe":
            return
        if not all(self._excludes(view, model) for model in view.models):
            return
        for model in view.models:
            self._forgive(backend_id, model)
            view.live.gates.pop(model, None)
        self._fleet.publish()

    def _excludes(self, view: BackendView, model: str) -> bool:
        settings = self._quality
        figures = view.quality_for(model, settings.min_samples)
        return figures is not None and exceeds(figures, settings.error_rate_threshold, settings.min_samples)

    def _review_pair(self, view: BackendView, model: str) -> None:
        settings = self._quality
        figures = view.quality_for(model, settings.min_samples)
        excluded = self._excludes(view, model)
        gates = view.live.gates
        if excluded and model not in gates:
            gate = CircuitBreaker(
                self._gate_config, name=f"{view.backend.id}/{model}", clock=self._clock, rng=self._rng
            )
            gate.trip()
            gate.add_listener(partial(self._gate_changed, view.backend.id, model))
            gates[model] = gate
            _log.warning(
                "%s is excluded for %s: error rate %.1f%%",
                view.backend.id,
                model,
                100.0 * figures.judged_rate if figures is not None else 0.0,
            )
        elif not excluded and model in gates:
            del gates[model]
            _log.info("%s is back for %s: its old failures have aged out", view.backend.id, model)

    def _gate_changed(self, backend_id: str, model: str, _: str, __: str, new: str) -> None:
        if new != BreakerState.CLOSED:
            return
        self._forgive(backend_id, model)
        view = self._fleet.snapshot.view(backend_id)
        if view is not None:
            view.live.gates.pop(model, None)
        self._fleet.publish()
        _log.info("%s is back for %s: its probes succeeded", backend_id, model)

"""The fast path: a circuit breaker per backend that opens only where the guard of the fleet agrees.

    path = FastPath(fleet, breaker=CircuitBreakerConfig(...), rules=GuardRules(), clock=clock, rng=rng)
    path.equip()                     # after each change of members: every `view.live` gets its breaker
    path.record("a", False, now)     # or what attempts do: `view.live.breaker.record_failure()`
    path.review()                    # a few times a second: lets back in what the others can't do without
    path.is_out("a")                 # open or half-open

The live path and a simulation drive it alike: admission reserves and settles `view.live.breaker`, and both
read `is_closed` and `permits()` there. A closed breaker hands its outcomes to the guard; an open or half-open
one follows its own rules (growing waits, single test calls).
"""

import logging
import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from nexus.core.backend import Backend
from nexus.core.clock import Clock
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.quality.guard import EjectionGuard
from nexus.quality.guard_rules import GuardRules, Peer
from nexus.resilience.breaker import CircuitBreaker
from nexus.resilience.breaker_config import BreakerState, CircuitBreakerConfig

_log: Final = logging.getLogger("nexus.quality.recovery")
_SPARED_LOG_SECONDS: Final = 30.0

BreakerListener = Callable[[str, BreakerState, BreakerState], object]


def configured_limit(view: BackendView) -> int | None:
    """The concurrency that the configuration states, None without one."""
    return view.backend.max_concurrency or None


class SnapshotSource(Protocol):
    """Who holds the current picture of all backends."""

    snapshot: FleetSnapshot


class GuardedBreaker(CircuitBreaker):
    """A breaker that, while closed, leaves the decision to open to the fast path.

    `retired`: its backend is gone, so stragglers count for nobody.
    """

    __slots__ = ("_path", "retired")

    def __init__(self, path: "FastPath", backend: Backend, clock: Clock, rng: random.Random) -> None:
        super().__init__(path.breaker, name=backend.id, clock=clock, rng=rng)
        self._path = path
        self.retired = False

    def record_success(self, ticket: int | None = None) -> None:
        """The call worked."""
        if self.retired:
            return
        if self.is_closed:
            self._path.guard.record(self.name, True, self._clock.monotonic())
        else:
            super().record_success(ticket)

    def record_failure(self, ticket: int | None = None) -> None:
        """The call failed."""
        if self.retired:
            return
        if self.is_closed:
            self._path.failed(self)
        else:
            super().record_failure(ticket)


class FastPath:
    """Breakers of all backends and the guard over them.

    Args:
        fleet: the backends, with their models, statuses and live gauges.
        breaker: waits, and the successes that close a breaker. Its `failure_threshold` is not used: the
            guard's is.
        rules: when a breaker may open.
        clock, rng: time, and the jitter of waits.
        enabled: whether backends get breakers at all.
        on_change: told (backend id, old state, new state) of each change of a breaker.
        limit_of: how many requests a backend takes at once, None where that is not known.
    """

    def __init__(
        self,
        fleet: SnapshotSource,
        *,
        breaker: CircuitBreakerConfig,
        rules: GuardRules,
        clock: Clock,
        rng: random.Random,
        enabled: bool = True,
        on_change: BreakerListener = lambda *_: None,
        limit_of: Callable[[BackendView], int | None] = configured_limit,
    ) -> None:
        self.breaker = breaker
        self.guard = EjectionGuard(rules)
        self._enabled = enabled
        self._fleet = fleet
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._limit_of = limit_of
        self._breakers: dict[str, GuardedBreaker] = {}
        self._out: set[str] = set()
        self._spared_at: dict[str, float] = {}

    def equip(self) -> None:
        """Give every new backend a breaker, and forget those that are gone."""
        if not self._enabled:
            return
        present = {view.backend.id: view for view in self._fleet.snapshot.backends}
        for backend_id in [each for each in self._breakers if each not in present]:
            self._drop(backend_id)
        for backend_id, view in present.items():
            breaker = self._breakers.get(backend_id)
            if breaker is None or view.live.breaker is not breaker:
                self._drop(backend_id)
                breaker = GuardedBreaker(self, view.backend, self._clock, self._rng)
                breaker.add_listener(self._changed)
                self._breakers[backend_id] = view.live.breaker = breaker

    def configure(self, breaker: CircuitBreakerConfig, rules: GuardRules, *, enabled: bool = True) -> None:
        """Replace the settings; open breakers keep the wait they have begun. Off: all are taken off."""
        self.breaker = breaker
        self.guard.rules = rules
        self._enabled = enabled
        for each in self._breakers.values():
            each.config = breaker
        if enabled:
            self.equip()
            return
        for view in self._fleet.snapshot.backends:
            view.live.breaker = None
        for backend_id in list(self._breakers):
            self._drop(backend_id)

    def is_out(self, backend_id: str) -> bool:
        """Whether its breaker is open or half-open."""
        return backend_id in self._out

    @property
    def anyone_out(self) -> bool:
        """Whether some breaker is open or half-open."""
        return bool(self._out)

    def breaker_of(self, backend_id: str) -> GuardedBreaker | None:
        """The breaker of a backend, None where it has none."""
        return self._breakers.get(backend_id)

    def record(self, backend_id: str, success: bool, now: float) -> None:
        """An attempt ended. While the breaker is not closed it is a straggler's end and changes nothing."""
        breaker = self._breakers.get(backend_id)
        if breaker is None or not breaker.is_closed:
            return
        if success:
            self.guard.record(backend_id, True, now)
        else:
            self._failed(breaker, now)

    def failed(self, breaker: GuardedBreaker) -> None:
        """An attempt failed while this breaker was closed."""
        self._failed(breaker, self._clock.monotonic())

    def review(self) -> None:
        """Let back in those that the others can't do without. A comparison while nobody is out."""
        if self._out:
            self._release(self._clock.monotonic())

    def _failed(self, breaker: GuardedBreaker, now: float) -> None:
        guard = self.guard
        guard.record(breaker.name, False, now)
        pools = self._pools(breaker.name)
        if guard.should_eject(breaker.name, pools, now):
            breaker.trip()
        elif guard.should_eject(breaker.name, (), now):
            self._note_spared(breaker.name, now)
        if self._out:
            self._release(now)

    def _release(self, now: float) -> None:
        for backend_id in sorted(self._out):
            if self.guard.should_release(backend_id, self._pools(backend_id), now):
                _log.warning(
                    "%s is used again although it failed: the others can't do without it", backend_id
                )
                self._breakers[backend_id].reset()

    def _note_spared(self, backend_id: str, now: float) -> None:
        last = self._spared_at.get(backend_id)
        if last is None or now - last >= _SPARED_LOG_SECONDS:
            self._spared_at[backend_id] = now
            _log.warning("%s keeps failing but stays in use: the others fail too, or are too few", backend_id)

    def _changed(self, backend_id: str, old: BreakerState, new: BreakerState) -> None:
        if new is BreakerState.CLOSED:
            self._out.discard(backend_id)
            self.guard.forget(backend_id)
        else:
            self._out.add(backend_id)
        log = _log.warning if new is BreakerState.OPEN else _log.info
        log("the breaker of %s went from %s to %s", backend_id, old, new)
        self._on_change(backend_id, old, new)

    def _drop(self, backend_id: str) -> None:
        breaker = self._breakers.pop(backend_id, None)
        if breaker is not None:
            breaker.retired = True
        self._out.discard(backend_id)
        self._spared_at.pop(backend_id, None)
        self.guard.forget(backend_id)

    def _pools(self, backend_id: str) -> Sequence[Sequence[Peer]]:
        """For each model of this backend, everybody who serves it."""
        snapshot = self._fleet.snapshot
        view = snapshot.view(backend_id)
        if view is None:
            return ()
        pools = [snapshot.by_model.get(model, ()) for model in view.models]
        distinct = {tuple(each.backend.id for each in pool): pool for pool in pools}
        return [[self._peer(each) for each in pool] for pool in distinct.values()]

    def _peer(self, view: BackendView) -> Peer:
        backend_id = view.backend.id
        return Peer(
            backend_id,
            ejected=backend_id in self._out,
            down=view.status is BackendStatus.UNHEALTHY,
            pending=view.live.pending,
            limit=self._limit_of(view),
        )

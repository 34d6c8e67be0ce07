"""Drops backends that can't take an attempt now, and puts the rest in the order they would be tried."""

import logging
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from nexus.config.model import QualitySettings
from nexus.core.decision import Candidate
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.learned import queueing_limit
from nexus.routing.availability import breaker_holds
from nexus.routing.intent import Intent, Mark
from nexus.routing.plan import NO_LIMIT, Leg, Option
from nexus.routing.strategies.protocol import Strategy

TITLE: Final = "SchedulerReconciler"
_WARN_INTERVAL_SECONDS: Final = 10.0
_MAX_WARNED: Final = 1024

_log: Final = logging.getLogger("nexus.routing.reconciler.scheduler")


class _Sorted:
    """What sorting out the candidates found.

    `sound` need no caution, `testing` are excluded ones that may be tested now, `over` are over the error
    threshold and were let through by quality, `held` are kept out by their breakers and nothing else.
    """

    __slots__ = ("held", "over", "sound", "testing")

    def __init__(self) -> None:
        self.sound: list[Option] = []
        self.testing: list[Option] = []
        self.over: list[Option] = []
        self.held: list[Option] = []


class SchedulerReconciler:
    """Excludes unhealthy, breaker-open, rate-limited and full backends; ranks the others by the strategy.

    One backend that may be tested goes first, further ones go last, so that a request meets one test before
    it meets a sound backend. Where no sound backend is left and `on_all_degraded = "include"`, the backends
    over the threshold, and those whose breaker alone keeps them out, are ranked all the same and marked
    degraded; `fallback_backend` goes before them.

    A backend is full at its configured limit. Where requests can wait, one without is full at its learned
    limit, once that is known well enough.
    """

    def __init__(
        self,
        strategy: Strategy,
        quality: QualitySettings,
        *,
        breakers: bool,
        learned_limits: ExpectedTimeSettings | None = None,
    ) -> None:
        self._strategy = strategy
        self._learned = learned_limits
        self._include = quality.on_all_degraded == "include"
        self._preferred = quality.fallback_backend
        self._threshold = quality.error_rate_threshold
        self._min_samples = quality.min_samples
        self._breakers = breakers
        self._warned: dict[str, float] = {}

    def name(self) -> str:
        """`scheduler`."""
        return "scheduler"

    def concerns(self, _leg: Leg) -> bool:
        """Always: it ranks the candidates."""
        return True

    def reconcile(self, intent: Intent) -> None:
        """Set `ranked`; `candidates` become the ones in it."""
        if intent.marks is None and self.all_sound(intent.candidates, intent.now):
            intent.ranked = self._strategy.rank(intent, intent.candidates)
            return
        found = self._sort_out(intent)
        if found.sound:
            self._reject_held(intent, found.held)
            self._rank_sound(intent, found)
        else:
            self._rank_degraded(intent, found)

    def all_sound(self, options: Sequence[Option], now: float) -> bool:
        """Whether nothing stands in anybody's way: the usual case, and so the one made cheap."""
        breakers, learned = self._breakers, self._learned
        for option in options:
            live = option.live
            if live.blocked_until > now or live.pending >= option.limit or option.unhealthy:
                return False
            if learned is not None and live.pending > 1 and live.pending >= self._limit(option):
                return False
            if breakers and (breaker := live.breaker) is not None and not breaker.is_closed:
                return False
        return True

    def _sort_out(self, intent: Intent) -> _Sorted:
        found = _Sorted()
        marks = intent.marks or {}
        for option in intent.candidates:
            open_breaker = self._breakers and breaker_holds(option)
            obstacle = _obstacle(option, intent.now, self._limit(option))
            if open_breaker and obstacle is None:
                found.held.append(option)
            elif open_breaker and not option.unhealthy:
                self._reject_held(intent, [option])
            elif obstacle is not None:
                intent.reject(option, TITLE, *obstacle)
                _note_obstacle(intent, option)
            elif marks.get(option.backend_id) is Mark.DEGRADED:
                found.over.append(option)
            elif option.backend_id in marks or self._half_open(option):
                found.testing.append(option)
            else:
                found.sound.append(option)
        return found

    def _limit(self, option: Option) -> int:
        """How many requests the backend may have; `NO_LIMIT` where that is not known."""
        if option.limit != NO_LIMIT or self._learned is None:
            return option.limit
        learned = queueing_limit(option.live.learned.get(option.model), self._learned)
        return NO_LIMIT if learned is None else learned

    def _half_open(self, option: Option) -> bool:
        breaker = option.live.breaker
        return self._breakers and breaker is not None and not breaker.is_closed

    def _reject_held(self, intent: Intent, held: Sequence[Option]) -> None:
        for option in held:
            breaker = option.live.breaker
            wait = breaker.retry_after() if breaker is not None else 0.0
            intent.note_wait(wait)
            when = f"it is tested in {wait:.1f} s" if wait > 0 else "another request is testing it"
            action = "Wait until it has recovered, or check the backend"
            intent.reject(option, TITLE, f"Circuit breaker is open, {when}", action)

    def _rank_sound(self, intent: Intent, found: _Sorted) -> None:
        # Quality lets backends over the threshold through only where no other is available, so `over` is
        # empty here, unless something changed between two readings; then they go to the very end.
        options = [*found.sound, *found.testing, *found.over]
        ranked = self._strategy.rank(intent, options)
        testing = {option.backend_id for option in found.testing}
        over = {option.backend_id for option in found.over}
        probes = [replace(c, probe=True) for c in ranked if c.view.backend.id in testing]
        degraded = [self._degraded(c) for c in ranked if c.view.backend.id in over]
        sound = [c for c in ranked if c.view.backend.id not in testing and c.view.backend.id not in over]
        intent.candidates = options
        intent.ranked = (*probes[:1], *sound, *probes[1:], *degraded)

    def _rank_degraded(self, intent: Intent, found: _Sorted) -> None:
        """Nobody sound is left: `include` uses what there is, otherwise only tests may be made."""
        # An open breaker is tried only where every breaker is open: not beside a backend that merely fails
        # often, and not instead of waiting for one that is full or throttled.
        if found.held and (found.over or not self._include or intent.saturated or intent.blocked):
            self._reject_held(intent, found.held)
            found.held = []
        options = [*found.testing, *found.over, *found.held]
        intent.candidates = options
        if not options:
            return
        ranked = self._strategy.rank(intent, options)
        testing = {option.backend_id for option in found.testing}
        if not self._include:
            intent.ranked = tuple(replace(c, probe=True) for c in ranked)
            return
        self._warn(intent)
        intent.ranked = self._in_degraded_order([self._degraded(c) for c in ranked], testing)

    def _in_degraded_order(self, ranked: list[Candidate], testing: set[str]) -> tuple[Candidate, ...]:
        """The preferred backend goes first, else the best one to test; only the first can be a test."""
        first = next((c for c in ranked if c.view.backend.id == self._preferred), None)
        if first is None:
            first = next((c for c in ranked if c.view.backend.id in testing), ranked[0])
        rest = (c for c in ranked if c is not first)
        if first.view.backend.id in testing:
            return (replace(first, probe=True), *rest)
        return (first, *rest)

    def _degraded(self, candidate: Candidate) -> Candidate:
        quality = candidate.view.quality_for(candidate.model, self._min_samples)
        terms = candidate.terms
        if quality is not None:
            terms = (
                *terms,
                ("error_rate_1h", quality.judged_rate),
                ("error_rate_threshold", self._threshold),
            )
        return replace(candidate, degraded=True, terms=terms)

    def _warn(self, intent: Intent) -> None:
        """At most one line per model in ten seconds: a degraded fleet must not flood the log."""
        model = intent.plan.model
        last = self._warned.get(model)
        if intent.preview or (last is not None and intent.now - last < _WARN_INTERVAL_SECONDS):
            return
        if len(self._warned) >= _MAX_WARNED:
            self._warned.clear()
        self._warned[model] = intent.now
        _log.warning("Every usable backend of model %s is degraded; they are used all the same", model)


def _obstacle(option: Option, now: float, limit: int) -> tuple[str, str] | None:
    """What else than a breaker stands in the way, and what to do about it."""
    live = option.live
    if option.unhealthy:
        return "Health checks fail", "Start or repair the backend"
    if live.blocked_until > now:
        wait = live.blocked_until - now
        return f"Rate-limited by the backend for another {wait:.1f} s", "Wait, or raise the backend's quota"
    if live.pending >= limit:
        kind = "limit" if limit == option.limit else "learned limit"
        reason = f"At its {kind} of {limit} concurrent requests ({live.pending} pending)"
        verb = "raise" if limit == option.limit else "set"
        return reason, f"Wait for a free place, or {verb} max_concurrency of the backend"
    return None


def _note_obstacle(intent: Intent, option: Option) -> None:
    live = option.live
    if option.unhealthy:
        return
    if live.blocked_until > intent.now:
        intent.note_block(live.blocked_until - intent.now)
    else:
        intent.saturated = True

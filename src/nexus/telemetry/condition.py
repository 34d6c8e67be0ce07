"""Whether each backend is being used, and if not, why: the words of `/v1/stats` and the gauges.

This says for the whole fleet what routing says for one request, from the same figures.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from nexus.config.model import QualitySettings
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.core.live import Gate
from nexus.core.quality import QualityView, exceeds

BreakerWord = Literal["closed", "half_open", "open"]
BREAKER_CODES: Mapping[BreakerWord, int] = {"closed": 0, "half_open": 1, "open": 2}


class QualityState(StrEnum):
    """`degraded`: over the threshold but still used. `excluded`: not used. `probing`: being tested."""

    OK = "ok"
    DEGRADED = "degraded"
    EXCLUDED = "excluded"
    PROBING = "probing"


class Condition(Struct, frozen=True, gc=False):
    """A state, and the reason where the state is `excluded`."""

    state: QualityState
    excluded_reason: str | None = None


class BackendCondition(Struct, frozen=True):
    """The condition of a backend as a whole, and with each of its models."""

    overall: Condition
    models: Mapping[str, Condition]


@runtime_checkable
class _Stateful(Protocol):
    @property
    def state(self) -> str: ...


def breaker_word(gate: Gate | None) -> BreakerWord:
    """The state of a gate; `closed` where there is none.

    A gate that does not say its state counts as half-open while it lets a call through.
    """
    if gate is None or gate.is_closed:
        return "closed"
    if isinstance(gate, _Stateful):
        for word in BREAKER_CODES:
            if gate.state == word:
                return word
    return "half_open" if gate.permits() else "open"


def is_shut_out(view: BackendView, now: float) -> bool:
    """Whether health checks, a 429's wait (until after `now`, monotonic) or the breaker keep it from use."""
    breaker = view.live.breaker
    return (
        view.status is BackendStatus.UNHEALTHY
        or view.live.blocked_until > now
        or (breaker is not None and not breaker.is_closed and not breaker.permits())
    )


def fleet_conditions(
    snapshot: FleetSnapshot, settings: QualitySettings, now: float
) -> dict[str, BackendCondition]:
    """The condition of every backend, by id; `now` is monotonic."""
    judge = _Judge(settings, now)
    pairs: dict[str, dict[str, Condition]] = {view.backend.id: {} for view in snapshot.backends}
    for model, views in snapshot.by_model.items():
        for view, condition in zip(views, judge.conditions(model, views), strict=True):
            pairs.setdefault(view.backend.id, {})[model] = condition
    return {
        view.backend.id: BackendCondition(judge.overall(view, pairs[view.backend.id]), pairs[view.backend.id])
        for view in snapshot.backends
    }


class _Standing(Struct, frozen=True):
    """One backend before it is compared with the others.

    `rate` is what the hourly rule says: `ok`, `degraded` or `probing`. `usable`: nothing shuts it out.
    """

    view: BackendView
    rate: QualityState
    breaker: BreakerWord
    usable: bool


class _Judge:
    """The quality rule, applied to the backends of one model at a time."""

    def __init__(self, settings: QualitySettings, now: float) -> None:
        self._settings = settings
        self._now = now
        self._include = settings.on_all_degraded == "include"

    def conditions(self, model: str, views: Sequence[BackendView]) -> list[Condition]:
        """The condition of each of these backends, with regard to the others."""
        standings = [self._standing(view, model) for view in views]
        usable = [each for each in standings if each.usable]
        passing = [each for each in usable if each.rate is not QualityState.DEGRADED]
        # Who is over the threshold gives way to whoever is not; an open breaker gives way to them too.
        below = any(each.rate is QualityState.OK for each in usable) or not self._include
        sound = any(each.rate is QualityState.OK and each.breaker == "closed" for each in passing)
        let_in = len(usable) > len(passing) and not below
        return [self._condition(model, each, below=below, held=sound or let_in) for each in standings]

    def _standing(self, view: BackendView, model: str) -> _Standing:
        return _Standing(
            view, self._rate(view, model), breaker_word(view.live.breaker), not is_shut_out(view, self._now)
        )

    def _rate(self, view: BackendView, model: str) -> QualityState:
        if not self._exceeds(view.quality_for(model, self._settings.min_samples)):
            return QualityState.OK
        gate = view.live.gates.get(model) if self._settings.recovery == "probe" else None
        if gate is None:
            return QualityState.DEGRADED
        states: dict[BreakerWord, QualityState] = {
            "closed": QualityState.OK,
            "half_open": QualityState.PROBING,
            "open": QualityState.DEGRADED,
        }
        return states[breaker_word(gate)]

    def _condition(self, model: str, standing: _Standing, *, below: bool, held: bool) -> Condition:
        if standing.rate is QualityState.DEGRADED and below and self._settings.enabled:
            figures = standing.view.quality_for(model, self._settings.min_samples)
            return Condition(QualityState.EXCLUDED, self._reason(figures))
        breaker = standing.view.live.breaker
        if breaker is not None and standing.breaker == "open":
            if held or not self._include:
                when = f"it is tested in {breaker.retry_after():.1f} s"
                return Condition(QualityState.EXCLUDED, f"Circuit breaker is open, {when}")
            return Condition(QualityState.DEGRADED)
        if standing.breaker == "half_open" and standing.rate is QualityState.OK:
            return Condition(QualityState.PROBING)
        return Condition(standing.rate)

    def overall(self, view: BackendView, models: Mapping[str, Condition]) -> Condition:
        """One word for all models: theirs where they agree, else the backend's own figures decide."""
        conditions = list(models.values()) or self.conditions("", [view])
        states = {condition.state for condition in conditions}
        if len(states) == 1:
            return conditions[0]
        if QualityState.OK in states:
            return Condition(QualityState.DEGRADED if self._exceeds(view.quality) else QualityState.OK)
        return Condition(QualityState.PROBING if QualityState.PROBING in states else QualityState.DEGRADED)

    def _exceeds(self, figures: QualityView | None) -> bool:
        return figures is not None and exceeds(
            figures, self._settings.error_rate_threshold, self._settings.min_samples
        )

    def _reason(self, figures: QualityView | None) -> str:
        rate = figures.judged_rate if figures is not None else 0.0
        return f"Error rate {rate:.1%} exceeds threshold {self._settings.error_rate_threshold:.1%}"

"""Whether each backend is being used, and if not, why: the words of `/v1/stats` and the gauges.

This says for the whole fleet what routing says for one request, from the same figures.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from nexus.config.model import QualitySettings
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot, Gate
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
        marks = {view.backend.id: judge.mark(view, model) for view in views}
        usable = {view.backend.id for view in views if not is_shut_out(view, now)}
        sound = {each for each in usable if marks[each] is QualityState.OK}
        for view in views:
            backend_id = view.backend.id
            # A backend over the threshold gives way to a sound one, an open breaker to whoever can be tried.
            others = usable if breaker_word(view.live.breaker) == "open" else sound
            condition = judge.condition(
                view, model, marks[backend_id], alternative=not others <= {backend_id}
            )
            pairs.setdefault(backend_id, {})[model] = condition
    return {
        view.backend.id: BackendCondition(judge.overall(view, pairs[view.backend.id]), pairs[view.backend.id])
        for view in snapshot.backends
    }


class _Judge:
    """The quality rule, applied to one pair of backend and model at a time."""

    def __init__(self, settings: QualitySettings, now: float) -> None:
        self._settings = settings
        self._now = now

    def mark(self, view: BackendView, model: str) -> QualityState:
        """What the pair's own figures and gates say, whatever the others do: never `excluded`."""
        word = breaker_word(view.live.breaker)
        if word != "closed":
            return QualityState.PROBING if word == "half_open" else QualityState.DEGRADED
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

    def condition(self, view: BackendView, model: str, mark: QualityState, *, alternative: bool) -> Condition:
        """`degraded` becomes `excluded` where requests go elsewhere, or nowhere."""
        if mark is not QualityState.DEGRADED:
            return Condition(mark)
        breaker = view.live.breaker
        if breaker is not None and breaker_word(breaker) == "open":
            reason = f"Circuit breaker is open, it is tested in {breaker.retry_after():.1f} s"
        elif self._settings.enabled:
            reason = self._reason(view.quality_for(model, self._settings.min_samples))
        else:
            return Condition(mark)
        if alternative or self._settings.on_all_degraded == "reject":
            return Condition(QualityState.EXCLUDED, reason)
        return Condition(mark)

    def overall(self, view: BackendView, models: Mapping[str, Condition]) -> Condition:
        """One word for all models: theirs where they agree, else the backend's own figures decide."""
        conditions = list(models.values()) or [
            self.condition(view, "", self.mark(view, ""), alternative=False)
        ]
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

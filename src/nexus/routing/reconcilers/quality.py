"""Leaves out backends that fail too often."""

import logging
from typing import Final

from nexus.config.model import QualitySettings
from nexus.routing.availability import is_available
from nexus.routing.intent import Intent, Mark
from nexus.routing.plan import Leg, Option

TITLE: Final = "QualityReconciler"
ACTION: Final = "Wait for the error rate to decrease, or check the backend"

_log: Final = logging.getLogger("nexus.routing.reconciler.quality")


class QualityReconciler:
    """Excludes a backend whose error rate is at or over the threshold and that has not recovered since.

    The rate is the pair's own where backend and model have enough outcomes together, else the backend's.
    With `recovery = "probe"` a gate decides: closed, it has recovered and passes; willing, it stays as a
    candidate that tests it; otherwise it is out. With `on_all_degraded = "include"` nobody is excluded while
    no backend below the threshold is available.
    """

    def __init__(self, settings: QualitySettings, *, breakers: bool) -> None:
        self._enabled = settings.enabled
        self._threshold = settings.error_rate_threshold
        self._probes = settings.recovery == "probe"
        self._include = settings.on_all_degraded == "include"
        self._breakers = breakers

    def name(self) -> str:
        """`quality`."""
        return "quality"

    def concerns(self, leg: Leg) -> bool:
        """Only where a backend is over the threshold, or every word is logged."""
        return self._enabled and (bool(leg.plan.exceeded) or _log.isEnabledFor(logging.DEBUG))

    def reconcile(self, intent: Intent) -> None:
        """Drop or mark the candidates that are over the threshold."""
        if not self._enabled:
            return
        if intent.plan.exceeded:
            self._judge(intent)
        if _log.isEnabledFor(logging.DEBUG):
            self._trace(intent)

    def _judge(self, intent: Intent) -> None:
        marks: dict[str, Mark] = {}
        for option in intent.plan.exceeded:
            mark = self._mark(option)
            if mark is not None:
                marks[option.backend_id] = mark
        if self._include and not self._has_alternative(intent, marks):
            intent.marks = marks or None
            return
        kept = []
        for option in intent.candidates:
            mark = marks.get(option.backend_id)
            if mark is Mark.DEGRADED:
                self._exclude(intent, option)
                continue
            if mark is Mark.PROBE:
                intent.marks = marks
            kept.append(option)
        intent.candidates = kept

    def _mark(self, option: Option) -> Mark | None:
        gate = option.live.gates.get(option.model) if self._probes else None
        if gate is None:
            return Mark.DEGRADED
        if gate.is_closed:
            return None
        return Mark.PROBE if gate.permits() else Mark.DEGRADED

    def _has_alternative(self, intent: Intent, marks: dict[str, Mark]) -> bool:
        """Whether a candidate that is not over the threshold could take the request now or soon."""
        return any(
            option.backend_id not in marks and is_available(option, intent.now, breakers=self._breakers)
            for option in intent.candidates
        )

    def _exclude(self, intent: Intent, option: Option) -> None:
        if option.excess is not None:
            intent.reject(option, TITLE, option.excess, ACTION)
        gate = option.live.gates.get(option.model) if self._probes else None
        if gate is not None:
            intent.note_wait(gate.retry_after())

    def _trace(self, intent: Intent) -> None:
        """One debug line per backend of the model that got this far."""
        kept = {option.backend_id for option in intent.candidates}
        out = {r.backend for r in intent.rejections if r.reconciler == TITLE and r.model == intent.plan.model}
        for option in intent.plan.options:
            if option.backend_id in kept or option.backend_id in out:
                fields = {
                    "agent_id": option.backend_id,
                    "error_rate_1h": option.quality.metrics.error_rate_1h if option.quality else 0.0,
                    "threshold": self._threshold,
                    "excluded": option.backend_id in out,
                }
                _log.debug("quality %s", fields, extra=fields)

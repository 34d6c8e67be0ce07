"""Requests that leave the model open: which model is tried first, and what comes after it."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from nexus.core.choice import ModelArm, ModelChoice, ModelChooser
from nexus.core.decision import Candidate, Rejection
from nexus.core.request import Surface, Task
from nexus.routing.intent import Intent
from nexus.routing.names import named_task
from nexus.routing.plan import Leg

_ANALYZER = "RequestAnalyzer"
_QUALITY = "QualityReconciler"
_SCHEDULER = "SchedulerReconciler"


class Chosen(Struct, frozen=True):
    """What came of a request that leaves the model open.

    `candidates` are those of the first model, then those of the next, each backend once. `leg` is that of the
    first model.
    """

    choice: ModelChoice
    candidates: tuple[Candidate, ...]
    leg: Leg
    task: Task

    @property
    def reason(self) -> str:
        """The route reason: `adaptive:` and sticky, explore or exploit."""
        if self.choice.sticky:
            return "adaptive:sticky"
        return "adaptive:explore" if self.choice.explored else "adaptive:exploit"

    @property
    def propensity(self) -> float:
        """The probability with which the first model was chosen."""
        return self.choice.ranking[0].propensity


class _Found(Struct):
    """What the stages left of one model: backends in order, and what the budget made of them."""

    leg: Leg
    ranked: Sequence[Candidate]
    factor: float

    @property
    def is_sound(self) -> bool:
        return any(not candidate.degraded for candidate in self.ranked)


def choose(
    intent: Intent, legs: Sequence[Leg], run: Callable[[Intent], None], chooser: ModelChooser
) -> Chosen | None:
    """Run the stages for every model, then rank the models that are left; None where none is.

    The stages judge each model by its own policies and those of the name asked for, so what they exclude is
    excluded from exploration too. What stood in the way of any model is kept in the intent.
    """
    found = _run_all(intent, legs, run)
    if not found:
        return None
    if any(each.is_sound for each in found.values()):
        found = _without_degraded(intent, found)
    task = named_task(intent.route.resolved) or intent.request.task
    arms = tuple(_arm(model, each) for model, each in found.items())
    choice = chooser.choose(
        task, arms, conversation=intent.request.session, now=intent.now, preview=intent.preview
    )
    order = [found[each.model] for each in choice.ranking]
    return Chosen(choice, _each_backend_once(intent, order), order[0].leg, task)


def _run_all(intent: Intent, legs: Sequence[Leg], run: Callable[[Intent], None]) -> dict[str, _Found]:
    found = {}
    saturated = blocked = False
    for leg in legs:
        intent.enter(leg)
        if _is_for_embeddings(intent, leg):
            continue
        run(intent)
        saturated = saturated or intent.saturated
        blocked = blocked or intent.blocked
        ranked = intent.ranked
        if ranked:
            factors = intent.factors or {}
            found[leg.plan.model] = _Found(leg, ranked, factors.get(ranked[0].view.backend.id, 1.0))
    intent.saturated = saturated
    intent.blocked = blocked
    return found


def _is_for_embeddings(intent: Intent, leg: Leg) -> bool:
    """Leaves out models that are known to embed where text is to be written."""
    options = leg.plan.options
    if intent.request.surface is Surface.EMBEDDING or not all(each.info.embedding for each in options):
        return False
    reason = f'Model "{leg.plan.model}" makes embeddings, and text is asked for'
    for option in options:
        intent.reject(option, _ANALYZER, reason, "Ask for embeddings at /v1/embeddings")
    return True


def _without_degraded(intent: Intent, found: dict[str, _Found]) -> dict[str, _Found]:
    """Where a sound backend serves any of the models, degraded ones are used for none."""
    kept = {}
    for model, each in found.items():
        sound = tuple(candidate for candidate in each.ranked if not candidate.degraded)
        intent.rejections.extend(
            _rejection(
                candidate,
                _QUALITY,
                "Degraded, and another model has a sound backend",
                "Wait until it has recovered, or ask for this model by its name",
            )
            for candidate in each.ranked
            if candidate.degraded
        )
        if sound:
            kept[model] = _Found(each.leg, sound, each.factor)
    return kept


def _arm(model: str, found: _Found) -> ModelArm:
    first = found.ranked[0]
    cost = first.cost_usd
    if cost is None and not first.view.backend.type.is_cloud:
        cost = 0.0
    latency_ms = first.view.live.latency_ms
    return ModelArm(model, cost, latency_ms / 1000.0 if latency_ms > 0 else None, found.factor)


def _each_backend_once(intent: Intent, order: Sequence[_Found]) -> tuple[Candidate, ...]:
    """The candidates of all models in their order; a retry never goes to the same backend."""
    candidates: dict[str, Candidate] = {}
    for each in order:
        for candidate in each.ranked:
            first = candidates.setdefault(candidate.view.backend.id, candidate)
            if first is not candidate:
                reason = f'This backend stands higher already with model "{first.model}"'
                action = "Nothing: a retry goes to another backend"
                intent.rejections.append(_rejection(candidate, _SCHEDULER, reason, action))
    return tuple(candidates.values())


def _rejection(candidate: Candidate, title: str, reason: str, action: str) -> Rejection:
    return Rejection(candidate.view.backend.id, title, reason, action, candidate.model)

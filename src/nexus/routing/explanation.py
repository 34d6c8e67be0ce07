"""Why a decision came out as it did, as people and other programs read it."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import msgspec
from msgspec import Struct

from nexus.core.choice import RankedModel
from nexus.core.decision import Candidate, Decision, Verdict
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import FleetSnapshot
from nexus.core.request import Needs, Request

_TIE_WIDTH = 1e-6
_NOISE = ExpectedTimeSettings().noise
_STEPS = 64


class ExplainedConstraints(Struct, frozen=True):
    """What held for the request: privacy, the lowest tier (None: any), and what a header said of tiers."""

    restricted: bool
    required_tier: int | None
    flexible: bool | None


class ExplainedRequest(Struct, frozen=True):
    """What was asked for."""

    model: str
    resolved_model: str
    task: str
    needs: Needs
    constraints: ExplainedConstraints


class ExplainedCandidate(Struct, frozen=True):
    """One backend and what became of it.

    `rank` counts from 1 and is None for excluded ones, as is `score`; the score is also None where a strategy
    ranked the candidate without weighing it. `terms` are the numbers the score was made of, and the estimated
    cost where it is known. `reason` says why it was excluded, or why it is used although it would normally
    not be; else it is None.
    """

    backend: str
    model: str
    status: Literal["chosen", "ranked", "excluded"]
    rank: int | None
    score: float | None
    terms: Mapping[str, float]
    excluded_by: str | None
    reason: str | None
    suggested_action: str | None


class ExplainedModel(Struct, frozen=True):
    """One model there was to choose from, and the numbers behind its utility (see `nexus.core.choice`)."""

    model: str
    rank: int
    utility: float
    propensity: float
    terms: Mapping[str, float]


class Explanation(Struct, frozen=True, omit_defaults=True):
    """The whole decision. `propensity` is the chance the chosen backend had; None where none was chosen.

    Where the request left the model open, `propensity` is the chance the chosen model had, `models` are those
    there was to choose from, the score of a candidate is its model's utility, and its terms begin with those
    of its model; `backend_score` is the score within the model. Else there is no `models`.
    """

    request: ExplainedRequest
    outcome: str
    chosen: str | None
    route_reason: str
    candidates: tuple[ExplainedCandidate, ...]
    propensity: float | None
    models: tuple[ExplainedModel, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The same as plain dicts, lists, strings and numbers."""
        return cast("dict[str, object]", msgspec.to_builtins(self))


def explain(decision: Decision, request: Request, snapshot: FleetSnapshot) -> Explanation:
    """Put a decision into words: every backend of the snapshot appears, with its rank or its exclusion."""
    models = {each.model: each for each in decision.models}
    candidates = [
        _ranked(candidate, rank, models.get(candidate.model))
        for rank, candidate in enumerate(decision.candidates, 1)
    ]
    candidates.extend(
        _excluded(each.backend, each.model, each.reconciler, each.reason, each.suggested_action)
        for each in decision.rejections
    )
    mentioned = {each.backend for each in candidates}
    reason = _not_serving(decision)
    candidates.extend(
        _excluded(
            view.backend.id,
            decision.resolved_model,
            "RequestAnalyzer",
            reason,
            "Load the model on this backend, or ask for one that it serves",
        )
        for view in snapshot.backends
        if view.backend.id not in mentioned
    )
    routed = decision.verdict is Verdict.ROUTE
    constraints = ExplainedConstraints(
        decision.restricted or request.constraints.restricted,
        decision.required_tier,
        request.constraints.flexible,
    )
    return Explanation(
        request=ExplainedRequest(
            decision.model,
            decision.resolved_model,
            (decision.task or request.task).value,
            request.needs,
            constraints,
        ),
        outcome=decision.verdict.value,
        chosen=decision.candidates[0].view.backend.id if routed else None,
        route_reason=decision.route_reason,
        candidates=tuple(candidates),
        propensity=_chance(decision) if routed else None,
        models=tuple(
            ExplainedModel(each.model, rank, each.utility, each.propensity, dict(each.terms))
            for rank, each in enumerate(decision.models, 1)
        ),
    )


def _ranked(candidate: Candidate, rank: int, model: RankedModel | None) -> ExplainedCandidate:
    score = candidate.score if candidate.score > -math.inf else None
    terms = dict(candidate.terms)
    if model is not None:
        terms = {**model.terms, **({} if score is None else {"backend_score": score}), **terms}
        score = model.utility
    if candidate.cost_usd is not None:
        terms["cost_usd"] = candidate.cost_usd
    return ExplainedCandidate(
        backend=candidate.view.backend.id,
        model=candidate.model,
        status="chosen" if rank == 1 else "ranked",
        rank=rank,
        score=score,
        terms=terms,
        excluded_by=None,
        reason=_caution(candidate),
        suggested_action=None,
    )


def _caution(candidate: Candidate) -> str | None:
    if candidate.degraded:
        return "Degraded, used because no better backend is available"
    if candidate.probe:
        return "Excluded until now, this attempt tests whether it has recovered"
    return None


def _excluded(backend: str, model: str, reconciler: str, reason: str, action: str) -> ExplainedCandidate:
    return ExplainedCandidate(
        backend=backend,
        model=model,
        status="excluded",
        rank=None,
        score=None,
        terms={},
        excluded_by=reconciler,
        reason=reason,
        suggested_action=action,
    )


def _not_serving(decision: Decision) -> str:
    if decision.models:
        return "Serves no model"
    reason = f'Does not serve model "{decision.resolved_model}"'
    if decision.served_model != decision.resolved_model:
        reason += f' or its fallback "{decision.served_model}"'
    return reason


def _chance(decision: Decision) -> float:
    """The propensity of the model where it was open, else that of the backend."""
    return _propensity(decision.candidates) if decision.propensity is None else decision.propensity


def _propensity(candidates: Sequence[Candidate]) -> float:
    """The chance of the first candidate to be first; 1 where a rule put it there.

    Of equal scores it is one in their number. Where the costs were stirred with noise it is worked out from
    the costs without it. A test, or a preferred backend, is put first by rule, which shows in its being alone
    of its kind or in a better score further down.
    """
    first = candidates[0]
    if first.probe or len(candidates) == 1:
        return 1.0
    if any(name == "noise" for name, _ in first.terms):
        return _noisy_propensity(candidates)
    if any(each.score > first.score + _TIE_WIDTH for each in candidates):
        return 1.0
    ties = sum(
        each.score > first.score - _TIE_WIDTH for each in candidates if each.degraded == first.degraded
    )
    return 1.0 / ties


def _noisy_propensity(candidates: Sequence[Candidate]) -> float:
    """The chance of the first one's cost to be least, each cost being multiplied by 1 ± noise, uniformly."""
    first = candidates[0]
    weighed = [each for each in candidates if each.score > -math.inf]
    rivals = [
        each
        for each in weighed[1:]
        if each.degraded == first.degraded and each.view.backend.priority == first.view.backend.priority
    ]
    if any(each.score > first.score for each in rivals):
        return 1.0
    cost = _calm_cost(first)
    others = [_calm_cost(each) for each in rivals]
    width = 2.0 * _NOISE
    total = 0.0
    for step in range(_STEPS):
        drawn = cost * (1.0 - _NOISE + width * (step + 0.5) / _STEPS)
        chance = 1.0
        for other in others:
            chance *= min(1.0, max(0.0, (1.0 + _NOISE - drawn / other) / width))
        total += chance
    return total / _STEPS * len(weighed) / len(candidates)


def _calm_cost(candidate: Candidate) -> float:
    return -candidate.score / dict(candidate.terms)["noise"]

"""`smart`: a weighted score of priority, load and latency, lowered by budget and slow first tokens."""

from collections.abc import Sequence
from random import Random
from typing import Final

from nexus.config.model import QualitySettings, RoutingWeights
from nexus.core.decision import Candidate
from nexus.routing.intent import Intent
from nexus.routing.plan import NO_LIMIT, ModelPlan, Option
from nexus.routing.scoring import (
    FULL_SCORE,
    LATENCY_HALF_MS,
    LOAD_HALF,
    PRIORITY_HALF,
    normalised,
    reward_factor,
    ttft_penalty_factor,
)
from nexus.routing.strategies.protocol import TIE_WIDTH, estimated_cost

Term = tuple[str, float]
_MAX_MODELS: Final = 4096
_POINTS: Final = 3


class _Row:
    """An option with its latest candidate, and the gauges that candidate was made from.

    Between two decisions the gauges of most backends have not moved; their candidates are used again.
    """

    __slots__ = (
        "candidate",
        "factors",
        "latency_ms",
        "live",
        "load_half",
        "option",
        "pending",
        "points",
        "score",
    )

    def __init__(self, option: Option, priority: Term, factors: tuple[Term, ...]) -> None:
        self.option = option
        self.live = option.live
        self.load_half = LOAD_HALF if option.limit == NO_LIMIT else float(option.limit)
        self.points = priority
        self.factors = factors
        self.pending = -1
        self.latency_ms = -1.0
        self.score = 0.0
        self.candidate = Candidate(option.view, option.model, 0.0)


class Smart:
    """Scores from 0 to 1000 (to 1300 with `reward_good`).

    The terms of a candidate are three numbers of points (`priority`, `load`, `latency`), then the factors
    that were applied to their sum, where they are not 1: `budget`, `ttft_penalty`, `reward`.
    """

    def __init__(self, weights: RoutingWeights, quality: QualitySettings, rng: Random) -> None:
        total = weights.priority + weights.load + weights.latency
        self._priority = FULL_SCORE * weights.priority / total
        self._load = FULL_SCORE * weights.load / total
        self._latency = FULL_SCORE * weights.latency / total
        # With quality switched off no measured quality may move a score.
        self._threshold = quality.ttft_penalty_threshold_ms if quality.enabled else 0
        self._rewards = quality.reward_good and quality.enabled
        self._min_samples = quality.min_samples
        self._draw = rng.random
        self._rows: dict[str, tuple[ModelPlan, tuple[_Row, ...]]] = {}

    def name(self) -> str:
        """`smart`."""
        return "smart"

    def rank(self, intent: Intent, options: Sequence[Option]) -> Sequence[Candidate]:
        """Highest score first, ties in random order."""
        plan = intent.plan
        known = self._rows.get(plan.model)
        every = known[1] if known is not None and known[0] is plan else self._make_rows(plan)
        rows = every if options is plan.options else [every[option.index] for option in options]
        draw = self._draw
        keys = []
        for row in rows:
            live = row.live
            if live.pending != row.pending or live.latency_ms != row.latency_ms:
                self._refresh(row)
            keys.append(row.score + draw() * TIE_WIDTH)
        if intent.factors is None and intent.costs is None:
            order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
            return tuple(rows[position].candidate for position in order)
        candidates = [_for_request(row, intent) for row in rows]
        keys = [candidate.score + draw() * TIE_WIDTH for candidate in candidates]
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
        return tuple(candidates[position] for position in order)

    def _make_rows(self, plan: ModelPlan) -> tuple[_Row, ...]:
        rows = []
        for option in plan.options:
            penalty = ttft_penalty_factor(option.avg_ttft_ms, self._threshold)
            reward = reward_factor(option.quality, self._min_samples) if self._rewards else 1.0
            named = (("ttft_penalty", penalty), ("reward", reward))
            priority = self._priority * normalised(option.priority, PRIORITY_HALF)
            rows.append(_Row(option, ("priority", priority), tuple(term for term in named if term[1] != 1.0)))
        if len(self._rows) >= _MAX_MODELS:
            self._rows.clear()
        made = tuple(rows)
        self._rows[plan.model] = (plan, made)
        return made

    def _refresh(self, row: _Row) -> None:
        """Score a backend whose gauges have moved."""
        pending = row.live.pending
        latency_ms = row.live.latency_ms
        load = self._load * normalised(pending, row.load_half)
        latency = self._latency * normalised(latency_ms, LATENCY_HALF_MS)
        score = row.points[1] + load + latency
        for _, factor in row.factors:
            score *= factor
        row.pending = pending
        row.latency_ms = latency_ms
        row.score = score
        terms = (row.points, ("load", load), ("latency", latency), *row.factors)
        row.candidate = Candidate(row.option.view, row.option.model, score, terms)


def _for_request(row: _Row, intent: Intent) -> Candidate:
    """The candidate with what depends on the request: the budget's factor and the estimated cost."""
    option = row.option
    factor = 1.0 if intent.factors is None else intent.factors.get(option.backend_id, 1.0)
    cost = estimated_cost(intent, option)
    if factor == 1.0 and cost is None:
        return row.candidate
    terms = tuple(row.candidate.terms)
    if factor != 1.0:
        terms = (*terms[:_POINTS], ("budget", factor), *terms[_POINTS:])
    return Candidate(option.view, option.model, row.score * factor, terms, cost_usd=cost)

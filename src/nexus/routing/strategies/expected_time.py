"""`expected_time`: where the expected time to a successful first token is least.

    cost = f(L) · slowness · (pending / ramp + 1) / limit · (1 + penalty) / budget · noise · affinity
    penalty = min(most, max(0, odds(e) - odds(q)) · failure_cost / (min(f(L), usual f) · median slowness))

f(L) is the model's line over the prompt's length, e a lower bound of the backend's recent share of failures,
q that share over all candidates: only what is significantly worse than the fleet is penalised, so when all
fail alike the load is balanced as if none did. What is learned is described in `nexus.core.learned`.
"""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from msgspec.structs import replace

from nexus.core.decision import Candidate
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.learned import (
    LengthLine,
    ModelLearned,
    PairLearned,
    carried_limit,
    slowness_now,
    untried_limit,
)
from nexus.routing.affinity import PrefixAffinity
from nexus.routing.intent import Intent
from nexus.routing.plan import NO_LIMIT, Option
from nexus.routing.strategies.costs import CostTerms, Warm
from nexus.routing.strategies.protocol import estimated_cost
from nexus.routing.strategies.ranking import Ranking

# A share of failures this near to 1 has odds enough to reach any penalty.
_MOST_SHARE: Final = 0.999
_NEGLIGIBLE_FAILURES: Final = 1e-3


class ExpectedTime:
    """The score is the negated cost, in seconds; the terms are the factors of the cost in the order above.

    `slowness` is the one used: within the dead band it is the median, and a first token long overdue raises
    it. `penalty` is the factor for failures, with the two shares it was made from. Between two backends whose
    costs differ by no more than the noise the choice is left to chance.
    """

    def __init__(
        self,
        settings: ExpectedTimeSettings,
        rng: Random,
        *,
        quality: bool = True,
        affinity: PrefixAffinity | None = None,
    ) -> None:
        self._settings = settings
        self._affinity = affinity
        self._rng = rng
        # With quality switched off no measured failure may move a score.
        self._penalise = quality

    def name(self) -> str:
        """`expected-time`."""
        return "expected-time"

    def rank(self, intent: Intent, options: Sequence[Option]) -> Sequence[Candidate]:
        """Least cost first, but a lower priority number before it while that costs at most twice as much.

        Of many candidates a random sample is compared; the others follow in turn, from a random place on.
        """
        settings = self._settings
        if len(options) == 1:
            return tuple(self._weigh(intent, options))
        warm = self._warm(intent, options)
        mixed = _differ_in_priority(options)
        if len(options) <= settings.exact_up_to or mixed or intent.preview:
            return tuple(self._sorted(self._weigh(intent, options), warm, mixed=mixed))
        drawn = self._rng.sample(range(len(options)), settings.sample)
        if warm is not None and warm.index not in drawn:
            drawn[-1] = warm.index  # the one that has the prompt cached is always compared
        ranked = self._sorted(self._weigh(intent, [options[index] for index in drawn]), warm, mixed=False)
        ranking, costs = Ranking(ranked, options, drawn), intent.costs
        if costs is None:
            return ranking
        return (*ranked, *(_with_price(candidate, costs) for candidate in ranking[len(ranked) :]))

    def _warm(self, intent: Intent, options: Sequence[Option]) -> Warm | None:
        """Who has the beginning of the prompt cached, if that is one of these."""
        request = intent.request
        if self._affinity is None or not (request.prefixes or request.session):
            return None
        found = self._affinity.find(request, options[0].model, intent.now)
        if found is None:
            return None
        backend_id, share = found
        for index, option in enumerate(options):
            if option.backend_id == backend_id:
                return Warm(index, backend_id, share)
        return None

    def _favour(self, candidate: Candidate, share: float) -> Candidate:
        """The candidate with the cost lowered by the share of the prompt that it has cached."""
        factor = 1.0 - (1.0 - self._settings.cached_cost) * share
        terms = (*candidate.terms, ("affinity", factor))
        return replace(candidate, score=candidate.score * factor, terms=terms)

    def _sorted(self, candidates: list[Candidate], warm: Warm | None, *, mixed: bool) -> list[Candidate]:
        if warm is not None:
            for index, candidate in enumerate(candidates):
                if candidate.view.backend.id == warm.backend_id:
                    candidates[index] = self._favour(candidate, warm.share)
        candidates.sort(key=_score, reverse=True)
        if not mixed:
            return candidates
        least = candidates[0].score * self._settings.priority_tolerance
        near = [each for each in candidates if each.score >= least]
        near.sort(key=_priority)
        return [*near, *candidates[len(near) :]]

    def _weigh(self, intent: Intent, options: Sequence[Option]) -> list[Candidate]:
        model: ModelLearned | None = None
        failing = False
        for option in options:
            pair = option.live.learned.get(option.model)
            if pair is not None:
                if model is None:
                    model = pair.model
                if pair.failures > _NEGLIGIBLE_FAILURES:
                    failing = True
        if failing and self._penalise:
            pairs = [option.live.learned.get(option.model) for option in options]
            shares, fleet_share = self._failure_shares(pairs, intent.now)
            return _Reckoning(self._settings, self._rng, intent, model, fleet_share).weigh(options, shares)
        return _Reckoning(self._settings, self._rng, intent, model, 0.0).weigh(options, None)

    def _failure_shares(self, pairs: Sequence[PairLearned | None], now: float) -> tuple[list[float], float]:
        """Lower bounds of each one's share of failures, less one failure, and the mean of the shares.

        Not the share of all outcomes together: whoever fails fast has the most outcomes, and would make its
        own failures look normal.
        """
        settings = self._settings
        shares = []
        total = 0.0
        for pair in pairs:
            share = 0.0
            if pair is not None and pair.failures > _NEGLIGIBLE_FAILURES:
                kept = math.exp((pair.counted_at - now) / settings.error_memory)
                failures = pair.failures * kept
                if failures > _NEGLIGIBLE_FAILURES:
                    count = failures + pair.successes * kept
                    total += failures / count
                    # One failure proves nothing: whoever had no more is tried again soon.
                    if failures > 1.0:
                        share = min(_MOST_SHARE, lower_bound(failures - 1.0, count, settings.confidence))
            shares.append(share)
        return shares, min(_MOST_SHARE, total / len(pairs))


class _Reckoning:
    """What one decision needs for the cost of each of its candidates."""

    __slots__ = (
        "_draw",
        "_expected",
        "_fleet_share",
        "_high",
        "_intent",
        "_line",
        "_low",
        "_middle",
        "_model",
        "_now",
        "_settings",
    )

    def __init__(
        self,
        settings: ExpectedTimeSettings,
        rng: Random,
        intent: Intent,
        model: ModelLearned | None,
        fleet_share: float,
    ) -> None:
        self._settings = settings
        self._draw = rng.random
        self._intent = intent
        self._now = intent.now
        self._fleet_share = fleet_share
        self._model: ModelLearned | None = None
        if model is not None:
            self.turn_to(model)
        else:
            self._line: LengthLine | None = None
            self._expected = settings.first_guess
            self._middle = self._low = self._high = 1.0

    def turn_to(self, model: ModelLearned) -> None:
        """Reckon with this model's line and median. Unknown backends are taken for middling ones of it."""
        needs = self._intent.request.needs
        self._model = model
        self._middle = middle = model.median
        band = self._settings.dead_band * middle
        self._low, self._high = middle - band, middle + band
        line = model.streamed if needs.stream else model.whole
        self._line = line
        self._expected = line.base + line.slope * needs.input_tokens

    def weigh(self, options: Sequence[Option], shares: Sequence[float] | None) -> list[Candidate]:
        """The candidates with costs; `shares` are the lower bounds of their failures (None: nobody fails).

        One loop over all of them, because calls are what costs most here.
        """
        settings, intent, now, draw = self._settings, self._intent, self._now, self._draw
        plain = intent.factors is None and intent.costs is None
        width = 2.0 * settings.noise
        candidates = []
        for index, option in enumerate(options):
            live = option.live
            limit = float(option.limit)
            unlimited = option.limit == NO_LIMIT
            pair = live.learned.get(option.model)
            if pair is None:
                slowness = self._middle
                if unlimited:
                    limit = settings.first_limit if self._model is None else untried_limit(self._model)
            else:
                if pair.model is not self._model:
                    self.turn_to(pair.model)
                slowness = pair.slowness
                if slowness <= 0.0 or now - pair.slowness_at > settings.relax_after:
                    slowness = slowness_now(pair, settings, now)
                if self._low <= slowness <= self._high:
                    slowness = self._middle
                if pair.waiting:
                    slowness = self._overdue(pair, slowness)
                if unlimited:
                    limit = carried_limit(pair, settings)
            share = 0.0 if shares is None else shares[index]
            penalty = self._penalty(share) if share > self._fleet_share else 1.0
            since = now - live.recovered_at
            ramp = 1.0 if since >= settings.ramp_seconds else self._ramp(since)
            noise = 1.0 + width * (draw() - 0.5)
            pending = live.pending
            cost = self._expected * slowness * (pending / ramp + 1.0) / limit * penalty * noise
            terms = CostTerms(
                self._expected, slowness, pending, limit, share, self._fleet_share, penalty, ramp, noise
            )
            if plain:
                candidates.append(Candidate(option.view, option.model, -cost, terms))
            else:
                candidates.append(self._priced(option, cost, terms))
        return candidates

    def _priced(self, option: Option, cost: float, terms: CostTerms) -> Candidate:
        intent = self._intent
        budget = 1.0 if intent.factors is None else intent.factors.get(option.backend_id, 1.0)
        price = estimated_cost(intent, option)
        return Candidate(
            option.view, option.model, -cost / budget, (*terms, ("budget", budget)), cost_usd=price
        )

    def _ramp(self, since: float) -> float:
        settings = self._settings
        return settings.ramp_start + (1.0 - settings.ramp_start) * since / settings.ramp_seconds

    def _overdue(self, pair: PairLearned, slowness: float) -> float:
        """What the silence of a backend that owes a first token makes of its slowness."""
        # Only silence counts: while others get first tokens, one that hangs is not the backend's pace.
        oldest = next(iter(pair.waiting))
        silence = self._now - max(oldest.sent_at, pair.slowness_at)
        return max(slowness, silence / oldest.patience)

    def _penalty(self, share: float) -> float:
        settings, fleet = self._settings, self._fleet_share
        excess = share / (1.0 - share) - fleet / (1.0 - fleet)
        # A failure costs at least the time to a usual first token: a long prompt, for which the fixed cost is
        # small, must not be the one that is risked.
        usual = self._expected if self._line is None else self._line.usual
        expected = min(self._expected, usual) * self._middle
        return 1.0 + min(settings.most_penalty, excess * settings.failure_cost / expected)


def lower_bound(failures: float, count: float, z: float) -> float:
    """Lower end of the Wilson score interval for a share (Wilson 1927), in [0, 1], of decayed counts."""
    share = failures / count
    square = z * z
    spread = z * math.sqrt(share * (1.0 - share) / count + square / (4.0 * count * count))
    return max(0.0, (share + square / (2.0 * count) - spread) / (1.0 + square / count))


def _differ_in_priority(options: Sequence[Option]) -> bool:
    priority = options[0].priority
    for option in options:  # noqa: SIM110 - a loop is much faster than `any` with a generator
        if option.priority != priority:
            return True
    return False


def _with_price(candidate: Candidate, costs: Mapping[str, float]) -> Candidate:
    price = costs.get(candidate.view.backend.id)
    return candidate if price is None else replace(candidate, cost_usd=price)


def _score(candidate: Candidate) -> float:
    return candidate.score


def _priority(candidate: Candidate) -> int:
    return candidate.view.backend.priority

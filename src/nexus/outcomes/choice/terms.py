"""The numbers behind a choice, worked out when somebody reads them."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from nexus.core.choice import ModelArm
from nexus.outcomes.choice.beta import chances_of_best
from nexus.outcomes.choice.evidence import Belief

_LEAST_SPREAD = 1e-9


class Standing(Struct, eq=False):
    """One arm as it stands at a choice: what is believed of its quality, and its utility with the terms."""

    arm: ModelArm
    belief: Belief
    utility: float
    cost_term: float
    time_term: float


class Field:
    """All arms of one choice beside each other."""

    __slots__ = ("_chances", "_standings", "_weight")

    def __init__(self, standings: Sequence[Standing], quality_weight: float) -> None:
        self._standings = standings
        self._weight = quality_weight
        self._chances: tuple[float, ...] | None = None

    def chance(self, standing: Standing) -> float:
        """The probability that this arm has the highest utility."""
        if self._chances is None:
            spreads = [max(_LEAST_SPREAD, self._weight * each.belief.spread) for each in self._standings]
            self._chances = chances_of_best([each.utility for each in self._standings], spreads)
        return self._chances[self._standings.index(standing)]


class ChoiceTerms(Mapping[str, float]):
    """The terms of one model in one choice.

    `quality` with `quality_low` and `quality_high` (90 %), `samples` (the effective number of answers behind
    it), `prior_share`, `cost_term`, `time_term`, `best` (the probability of having the highest utility),
    `propensity`, and `budget_factor` where the budget lowered the utility. They stay what they were at the
    choice; most are worked out at the first look, because most choices are never looked at.
    """

    __slots__ = ("_field", "_made", "_propensity", "_standing")

    def __init__(self, field: Field, standing: Standing, propensity: float) -> None:
        self._field = field
        self._standing = standing
        self._propensity = propensity
        self._made: dict[str, float] | None = None

    def __getitem__(self, key: str) -> float:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, float]:
        made = self._made
        if made is None:
            standing = self._standing
            belief = standing.belief
            made = self._made = {
                "quality": belief.mean,
                "quality_low": belief.low,
                "quality_high": belief.high,
                "samples": belief.samples,
                "prior_share": belief.prior_share,
                "cost_term": standing.cost_term,
                "time_term": standing.time_term,
                "best": self._field.chance(standing),
                "propensity": self._propensity,
            }
            if standing.arm.factor != 1.0:
                made["budget_factor"] = standing.arm.factor
        return made

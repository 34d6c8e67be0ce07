"""Choosing a model for a request that leaves it open: what the chooser is given and what it answers."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from nexus.core.request import Task


class ModelArm(Struct, frozen=True, gc=False):
    """One model that could answer. Cost is USD for this request, time in seconds; None: unknown.

    `factor` multiplies a utility over 0: under 1 for a model that the budget discourages.
    """

    model: str
    cost_usd: float | None = None
    expected_seconds: float | None = None
    factor: float = 1.0


class RankedModel(Struct, frozen=True):
    """One model with its utility (higher is better) and the terms it is made of, for the explanation.

    `propensity` is the probability in [0, 1] with which this model would be chosen first.
    """

    model: str
    utility: float
    propensity: float
    terms: Mapping[str, float]


class ModelChoice(Struct, frozen=True):
    """The models in the order in which they should be tried.

    `explored`: the first one was drawn at random to learn about it. `sticky`: it was kept because the
    conversation had it before.
    """

    ranking: tuple[RankedModel, ...]
    explored: bool = False
    sticky: bool = False


class ModelChooser(Protocol):
    """Ranks models by what is known of their answers."""

    def choose(
        self, task: Task, arms: tuple[ModelArm, ...], *, conversation: str | None, now: float, preview: bool
    ) -> ModelChoice:
        """Rank all `arms` (at least one) for a task.

        `conversation` keys stickiness (None: none), `now` is monotonic seconds. `preview` is for explaining:
        nothing is drawn at random that a later call would notice.
        """
        ...

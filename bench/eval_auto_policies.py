"""The ways to choose a model that are compared: ours, and baselines that exist only here."""

from random import Random
from typing import Protocol

from nexus.core.choice import ModelArm
from nexus.core.request import Task
from nexus.outcomes.choice.beta import with_moments
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.settings import ChoiceSettings

EMA_WEIGHT = 0.2
EMA_START = 0.5


class Policy(Protocol):
    """Chooses a model for each request and is told, later and rarely, what became of it."""

    def choose(self, task: Task, at: int) -> int:
        """The position of the chosen model. `at` counts requests."""
        ...

    def paid(self, arm: int, task: Task, cost_usd: float) -> None:
        """What the request cost: known at once."""
        ...

    def told(self, arm: int, task: Task, quality: float) -> None:
        """A signal arrived."""
        ...


class Hierarchical:
    """The chooser of the gateway, as it is."""

    def __init__(self, models: tuple[str, ...], settings: ChoiceSettings, rng: Random) -> None:
        self.chooser = AdaptiveChooser(settings, rng)
        self.models = models
        self.arms = tuple(ModelArm(model) for model in models)
        self.places = {model: place for place, model in enumerate(models)}

    def choose(self, task: Task, at: int) -> int:
        choice = self.chooser.choose(task, self.arms, conversation=None, now=float(at), preview=False)
        return self.places[choice.ranking[0].model]

    def paid(self, arm: int, task: Task, cost_usd: float) -> None:
        self.chooser.observe(self.models[arm], task, cost_usd=cost_usd)

    def told(self, arm: int, task: Task, quality: float) -> None:
        self.chooser.observe(self.models[arm], task, quality=quality)


class Thompson(Hierarchical):
    """Draws a quality for each model from the same distributions, and takes the best draw every time."""

    def __init__(self, models: tuple[str, ...], settings: ChoiceSettings, rng: Random) -> None:
        super().__init__(models, settings, rng)
        self.rng = rng
        self.weight = settings.cost_weight

    def choose(self, task: Task, at: int) -> int:
        del at
        utilities = []
        for model, arm in zip(self.models, self.arms, strict=True):
            standing = self.chooser.standing(task, arm)
            a, b = with_moments(standing.belief.mean, standing.belief.spread**2)
            utilities.append((self.rng.betavariate(a, b) - self.weight * standing.cost_term, model))
        return self.places[max(utilities)[1]]


class Ema:
    """An exponential moving average of quality per model and task, from 0.5, with even exploration."""

    def __init__(self, models: tuple[str, ...], settings: ChoiceSettings, rng: Random) -> None:
        self.settings = settings
        self.rng = rng
        self.count = len(models)
        self.averages: dict[tuple[int, Task], float] = {}
        self.costs = [(0.0, 0)] * self.count

    def choose(self, task: Task, at: int) -> int:
        del at
        if self.rng.random() < self.settings.exploration:
            return self.rng.randrange(self.count)
        return max(range(self.count), key=lambda arm: (self.utility(arm, task), self.rng.random()))

    def utility(self, arm: int, task: Task) -> float:
        total, count = self.costs[arm]
        cost = total / count if count else 0.5
        return self.averages.get((arm, task), EMA_START) - self.settings.cost_weight * cost

    def paid(self, arm: int, task: Task, cost_usd: float) -> None:
        del task
        total, count = self.costs[arm]
        self.costs[arm] = (total + self.settings.cost_term(cost_usd), count + 1)

    def told(self, arm: int, task: Task, quality: float) -> None:
        known = self.averages.get((arm, task), EMA_START)
        self.averages[arm, task] = (1 - EMA_WEIGHT) * known + EMA_WEIGHT * quality


class Fixed:
    """Knows the best model of each half of the run and each task beforehand, and learns nothing."""

    def __init__(self, halves: tuple[dict[Task, int], dict[Task, int]], turn: int) -> None:
        self.halves = halves
        self.turn = turn

    def choose(self, task: Task, at: int) -> int:
        return self.halves[at >= self.turn][task]

    def paid(self, arm: int, task: Task, cost_usd: float) -> None:
        pass

    def told(self, arm: int, task: Task, quality: float) -> None:
        pass

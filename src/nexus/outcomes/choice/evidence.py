"""What is known of one model's answers: a discounted Beta distribution, with a child for each task."""

import math
from collections.abc import Mapping

from msgspec import Struct

from nexus.core.request import Task
from nexus.outcomes.choice.beta import beta_quantile, with_moments
from nexus.outcomes.choice.settings import ChoiceSettings

_TAIL = 0.05
_OLD_SHARE = 0.98
_EDGE = 1e-6


class Belief(Struct, frozen=True, gc=False):
    """The quality to be expected of a model at a task: a Beta distribution with this mean and spread.

    `spread` is the standard deviation. `prior_share` is the share of the mean, in [0, 1], that comes from the
    prior and not from evidence.
    """

    mean: float
    spread: float
    prior_share: float

    @property
    def low(self) -> float:
        """The lower end of the middle 90 %."""
        return beta_quantile(_TAIL, *with_moments(self.mean, self.spread**2))

    @property
    def high(self) -> float:
        """The upper end of the middle 90 %."""
        return beta_quantile(1.0 - _TAIL, *with_moments(self.mean, self.spread**2))

    @property
    def samples(self) -> float:
        """The number of answers of full weight that leave the same uncertainty; the prior counts as some."""
        return sum(with_moments(self.mean, self.spread**2))


class Tally:
    """Discounted successes and failures; both are fractional."""

    __slots__ = ("failures", "successes")

    def __init__(self) -> None:
        self.successes = 0.0
        self.failures = 0.0

    @property
    def mass(self) -> float:
        """How much evidence there is, in observations of full weight."""
        return self.successes + self.failures

    def add(self, quality: float, weight: float, decay: float) -> None:
        """Age what is there by `decay` per full observation, then add one."""
        kept = decay**weight
        self.successes = self.successes * kept + weight * quality
        self.failures = self.failures * kept + weight * (1.0 - quality)


class Average:
    """A mean that forgets: the first values count in full, later each old one counts 2 % less per new one."""

    __slots__ = ("total", "weight")

    def __init__(self) -> None:
        self.total = 0.0
        self.weight = 0.0

    @property
    def value(self) -> float | None:
        """The mean, None before the first value."""
        return self.total / self.weight if self.weight else None

    def add(self, value: float) -> None:
        """Take in one value."""
        self.total = self.total * _OLD_SHARE + value
        self.weight = self.weight * _OLD_SHARE + 1.0


class ModelEvidence:
    """All evidence on one model, over all tasks and for each.

    Costs are kept as cost terms, times in seconds.
    """

    __slots__ = ("_beliefs", "_settings", "costs", "overall", "seconds", "tasks")

    def __init__(self, settings: ChoiceSettings) -> None:
        self._settings = settings
        self.overall = Tally()
        self.tasks: dict[Task, Tally] = {}
        self.costs: dict[Task, Average] = {}
        self.seconds: dict[Task, Average] = {}
        self._beliefs: dict[Task, Belief] = {}

    def add_quality(self, task: Task, quality: float, weight: float) -> None:
        """Take in the quality of one answer, in [0, 1], with a weight in (0, 1]."""
        settings = self._settings
        self.overall.add(quality, weight, settings.model_decay)
        child = self.tasks.get(task)
        if child is None:
            child = self.tasks[task] = Tally()
        child.add(quality, weight, settings.task_decay)
        self._beliefs.clear()

    def add_cost(self, task: Task, cost_usd: float) -> None:
        """Take in what one answer cost."""
        _average(self.costs, task).add(self._settings.cost_term(cost_usd))

    def add_seconds(self, task: Task, seconds: float) -> None:
        """Take in how long one answer took."""
        _average(self.seconds, task).add(seconds)

    def belief(self, task: Task) -> Belief:
        """What to expect at a task; worked out anew only after an observation."""
        known = self._beliefs.get(task)
        if known is None:
            known = self._beliefs[task] = self._work_out(task)
        return known

    def _work_out(self, task: Task) -> Belief:
        settings = self._settings
        overall = self.overall
        size = settings.model_mass + overall.mass
        parent = (settings.model_mass * settings.prior_mean + overall.successes) / size
        parent_variance = parent * (1.0 - parent) / (size + 1.0)
        child = self.tasks.get(task)
        successes, mass = (child.successes, child.mass) if child is not None else (0.0, 0.0)
        child_size = settings.task_mass + mass
        inherited = settings.task_mass / child_size
        mean = min(1.0 - _EDGE, max(_EDGE, inherited * parent + successes / child_size))
        # Law of total variance: the child's own, and the parent's through the share that is inherited.
        variance = mean * (1.0 - mean) / (child_size + 1.0) + inherited * inherited * parent_variance
        variance = min(variance, 0.999 * mean * (1.0 - mean))
        prior_share = inherited * settings.model_mass / size
        return Belief(mean, math.sqrt(variance), prior_share)


def latest(averages: Mapping[Task, Average], task: Task) -> float | None:
    """The mean at a task, else over all tasks, else None."""
    own = averages.get(task)
    if own is not None:
        return own.value
    total = sum(each.total for each in averages.values())
    weight = sum(each.weight for each in averages.values())
    return total / weight if weight else None


def _average(averages: dict[Task, Average], task: Task) -> Average:
    found = averages.get(task)
    if found is None:
        found = averages[task] = Average()
    return found

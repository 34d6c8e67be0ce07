"""The policies that a ledger can be replayed with, and their names."""

from collections.abc import Mapping
from random import Random

from nexus.core.choice import ModelArm
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.learning import learn_from
from nexus.outcomes.choice.settings import ChoiceSettings
from nexus.outcomes.choice.what_if import TargetPolicy

POLICY_FORMS = (
    "always:MODEL",
    "by-task:TASK=MODEL,…",
    "uniform",
    "adaptive[:exploration=0.05,quality_weight=1,cost_weight=0.1,latency_weight=0.1]",
)
_TUNABLE = ("exploration", "quality_weight", "cost_weight", "latency_weight")


class PolicyError(ValueError):
    """A policy's name can't be understood; the message says what can be."""


class Uniform:
    """Draws evenly among the candidates."""

    def probability(self, entry: LedgerEntry, candidates: tuple[str, ...]) -> float | None:
        """One in their number."""
        del entry
        return 1.0 / len(candidates)

    def learn(self, entry: LedgerEntry) -> None:
        """Nothing."""


class ByTask:
    """A fixed model for each task. It can't choose where that model is no candidate."""

    def __init__(self, models: Mapping[Task, str]) -> None:
        self._models = models

    def probability(self, entry: LedgerEntry, candidates: tuple[str, ...]) -> float | None:
        """1 for the model of the task, 0 for others, None where it is no candidate or there is none."""
        model = self._models.get(entry.task)
        if model not in candidates:
            return None
        return 1.0 if model == entry.model_id else 0.0

    def learn(self, entry: LedgerEntry) -> None:
        """Nothing."""


class Replayed:
    """The chooser itself, learning from the receipts as they come, also from models it would not have chosen.

    The cost of a model is what it has cost so far, the time what it has taken.
    """

    def __init__(self, settings: ChoiceSettings) -> None:
        self._chooser = AdaptiveChooser(settings, Random(0))

    def probability(self, entry: LedgerEntry, candidates: tuple[str, ...]) -> float | None:
        """Its propensity for the model, from what it had learned before this receipt."""
        arms = tuple(ModelArm(model) for model in candidates)
        choice = self._chooser.choose(entry.task, arms, conversation=None, now=0.0, preview=True)
        return next(each.propensity for each in choice.ranking if each.model == entry.model_id)

    def learn(self, entry: LedgerEntry) -> None:
        """Feed the chooser as the gateway does."""
        learn_from(self._chooser, entry)


def parse_policy(text: str) -> TargetPolicy:
    """The policy that a name like those of `POLICY_FORMS` stands for.

    Raises:
        PolicyError: it stands for none.
    """
    kind, _, rest = text.partition(":")
    if kind == "always" and rest:
        return ByTask(dict.fromkeys(Task, rest))
    if kind == "by-task" and rest:
        return ByTask(_models(rest))
    if text == "uniform":
        return Uniform()
    if kind == "adaptive":
        return Replayed(_settings(rest))
    raise PolicyError(f"no policy is called {text!r}; known are {', '.join(POLICY_FORMS)}")


def _models(text: str) -> dict[Task, str]:
    models = {}
    for part in text.split(","):
        task, mark, model = part.partition("=")
        if not mark or not model or task not in set(Task):
            raise PolicyError(f"{part!r} is not TASK=MODEL; tasks are {', '.join(Task)}")
        models[Task(task)] = model
    return models


def _settings(text: str) -> ChoiceSettings:
    given: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, mark, value = part.partition("=")
        if not mark or name not in _TUNABLE:
            raise PolicyError(f"{part!r} is no setting of adaptive; there are {', '.join(_TUNABLE)}")
        try:
            given[name] = float(value)
        except ValueError as error:
            raise PolicyError(f"{name} must be a number, got {value!r}") from error
    try:
        return ChoiceSettings(
            exploration=given.get("exploration", 0.05),
            quality_weight=given.get("quality_weight", 1.0),
            cost_weight=given.get("cost_weight", 0.1),
            latency_weight=given.get("latency_weight", 0.1),
        )
    except ValueError as error:
        raise PolicyError(str(error)) from error

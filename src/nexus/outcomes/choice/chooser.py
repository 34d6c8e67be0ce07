"""The chooser behind `model: "auto"`: hierarchical discounted Beta evidence, costs, times and exploration."""

from collections.abc import Callable
from random import Random

from nexus.core.choice import ModelArm, ModelChoice, RankedModel
from nexus.core.request import Task
from nexus.outcomes.choice.conversations import Conversations
from nexus.outcomes.choice.evidence import Belief, ModelEvidence, latest
from nexus.outcomes.choice.settings import ChoiceSettings
from nexus.outcomes.choice.terms import ChoiceTerms, Field, Standing

_MAX_MODELS = 4096
# Prices that nobody knows are taken for middling: neither free nor the dearest.
_UNKNOWN_COST_TERM = 0.5
_TIE = 1e-12


class AdaptiveChooser:
    """Ranks models by expected utility, and now and then draws one evenly to learn about it.

    Utility = quality_weight · expected quality - cost_weight · cost term - latency_weight · time term. With
    probability 1 - exploration the best model goes first (one of the best, drawn evenly, where several tie);
    otherwise one drawn evenly from all. So the propensity of every model is known exactly. A conversation
    keeps its model as long as that is among the arms.

    Args:
        settings: the constants.
        rng: draws explorations and breaks ties.
        is_cooling: whether a model was rate-limited and is to be left alone now. Such a model goes last, and
            is not drawn, unless all are cooling. It loses nothing of what is known about it.

    Not safe under threads: one event loop owns it.
    """

    def __init__(
        self, settings: ChoiceSettings, rng: Random, *, is_cooling: Callable[[str], bool] | None = None
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._is_cooling = is_cooling
        self._evidence: dict[str, ModelEvidence] = {}
        self._prior = ModelEvidence(settings)
        self._conversations = Conversations(settings.max_conversations, settings.conversation_idle_seconds)

    # --- learning

    def observe(
        self,
        model: str,
        task: Task,
        *,
        quality: float | None = None,
        success: bool | None = None,
        weight: float = 1.0,
        cost_usd: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """Take in what became of one answer; whatever is None is left as it was.

        Args:
            model: the model that answered.
            task: what it was asked to do.
            quality: of the answer, in [0, 1]. Without one, `success=False` counts as 0 and `success=True` as
                nothing: that an answer arrived does not say that it was good. Leave both out for a rate
                limit.
            success: whether the call worked.
            weight: reliability of the signal, in [0, 1]; at 0 the quality is not counted.
            cost_usd: what it cost.
            seconds: how long it took.

        Raises:
            ValueError: quality or weight is outside [0, 1], or cost or time is negative or not a number.
        """
        if quality is None and success is False:
            quality = 0.0
        if (quality is not None and not 0.0 <= quality <= 1.0) or not 0.0 <= weight <= 1.0:
            raise ValueError(f"quality and weight must be in [0, 1], got {quality} and {weight}")
        if not all(0.0 <= each < float("inf") for each in (cost_usd or 0.0, seconds or 0.0)):
            raise ValueError(f"cost and time must be numbers from 0 up, got {cost_usd} and {seconds}")
        evidence = self._of(model)
        if evidence is None:
            return
        if quality is not None and weight > 0.0:
            evidence.add_quality(task, quality, weight)
        if cost_usd is not None:
            evidence.add_cost(task, cost_usd)
        if seconds is not None:
            evidence.add_seconds(task, seconds)

    def belief(self, model: str, task: Task) -> Belief:
        """What is expected of a model at a task; the prior alone where nothing was observed."""
        return self._evidence.get(model, self._prior).belief(task)

    # --- choosing

    def choose(
        self, task: Task, arms: tuple[ModelArm, ...], *, conversation: str | None, now: float, preview: bool
    ) -> ModelChoice:
        """Rank all arms for a task, as `nexus.core.choice.ModelChooser` says.

        Each `RankedModel.terms` is a `ChoiceTerms`.

        Raises:
            ValueError: there are no arms.
        """
        if not arms:
            raise ValueError("there is no model to choose from")
        standings = [self.standing(task, arm) for arm in arms]
        open_ = self._open(standings)
        top = max(each.utility for each in open_)
        best = [each for each in open_ if each.utility > top - _TIE]
        kept = self._kept(conversation, open_, now)
        if kept is not None:
            first, explored = kept, False
        elif preview:
            first, explored = best[0], False
        else:
            first, explored = self._draw(open_, best)
        if conversation is not None and not preview:
            self._conversations.remember(conversation, first.arm.model, now)
        field = Field(standings, self._settings.quality_weight)
        ranking = []
        for each in self._ordered(standings, open_, first):
            propensity = self._propensity(each, open_, best, kept)
            terms = ChoiceTerms(field, each, propensity)
            ranking.append(RankedModel(each.arm.model, each.utility, propensity, terms))
        return ModelChoice(tuple(ranking), explored=explored, sticky=kept is not None)

    def _open(self, standings: list[Standing]) -> list[Standing]:
        """The arms that are not cooling down; all of them where none is."""
        cooling = self._is_cooling
        if cooling is None:
            return standings
        return [each for each in standings if not cooling(each.arm.model)] or standings

    def standing(self, task: Task, arm: ModelArm) -> Standing:
        """How one arm stands at a task now."""
        settings = self._settings
        evidence = self._evidence.get(arm.model, self._prior)
        belief = evidence.belief(task)
        cost = latest(evidence.costs, task)
        if cost is None:
            cost = _UNKNOWN_COST_TERM if arm.cost_usd is None else settings.cost_term(arm.cost_usd)
        seconds = latest(evidence.seconds, task)
        if seconds is None:
            seconds = arm.expected_seconds or 0.0
        time = settings.time_term(seconds)
        utility = (
            settings.quality_weight * belief.mean
            - settings.cost_weight * cost
            - settings.latency_weight * time
        )
        if utility > 0.0:
            utility *= arm.factor
        return Standing(arm, belief, utility, cost, time)

    def _kept(self, conversation: str | None, open_: list[Standing], now: float) -> Standing | None:
        """The arm that the conversation has already."""
        if conversation is None:
            return None
        model = self._conversations.model(conversation, now)
        return next((each for each in open_ if each.arm.model == model), None)

    def _draw(self, open_: list[Standing], best: list[Standing]) -> tuple[Standing, bool]:
        rng = self._rng
        if rng.random() < self._settings.exploration:
            return rng.choice(open_), True
        return (best[0] if len(best) == 1 else rng.choice(best)), False

    def _propensity(
        self, each: Standing, open_: list[Standing], best: list[Standing], kept: Standing | None
    ) -> float:
        if kept is not None:
            return 1.0 if each is kept else 0.0
        exploration = self._settings.exploration
        share = exploration / len(open_) if each in open_ else 0.0
        return share + ((1.0 - exploration) / len(best) if each in best else 0.0)

    def _ordered(self, standings: list[Standing], open_: list[Standing], first: Standing) -> list[Standing]:
        """The first one, the other usable ones by utility, then those that are cooling down."""
        rest = sorted(
            (each for each in standings if each is not first),
            key=lambda each: (each in open_, each.utility),
            reverse=True,
        )
        return [first, *rest]

    def _of(self, model: str) -> ModelEvidence | None:
        """The evidence on a model, made where there is none yet; None beyond the most that are kept."""
        known = self._evidence.get(model)
        if known is None and len(self._evidence) < _MAX_MODELS:
            known = self._evidence[model] = ModelEvidence(self._settings)
        return known

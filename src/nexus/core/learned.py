"""What is learned of each backend and model from its attempts: how fast, how reliable, how much at once.

Written by `nexus.quality.learner`, read by the strategy `expected_time` and by the scheduler's check for free
places. All of it hangs on `BackendLive.learned`, so it comes and goes with the backend; nothing is global.

    settings = ExpectedTimeSettings()
    learner = AttemptLearner(settings)
    flight = learner.started(view.live, "m", 812, stream=True, now=now)   # before pending counts it
    learner.first_token(flight, now)                                     # streams: when it arrives
    learner.finished(flight, outcome)                                    # exactly once, however it ends
    learner.recovered(view.live, now)                                    # a breaker closed, a backend is back

Times are monotonic seconds and come in as arguments.
"""

import math
from typing import Protocol

from nexus.core.expected_time import ExpectedTimeSettings

# The numbers of what is learned, which a worker tells another that begins.
LINE_NUMBERS = ("base", "slope", "weight", "x", "xx", "xy", "y")
MODEL_NUMBERS = ("median", "median_at", "median_limit", "open_limit")
PAIR_NUMBERS = (
    "answers",
    "counted_at",
    "failures",
    "limit",
    "limited",
    "slowness",
    "slowness_at",
    "successes",
    "unhurried",
)


class FirstTokenAwaited(Protocol):
    """An attempt without a first token yet: sent at `sent_at`, and late after `patience` more seconds.

    Once it no longer `waits`, it does not count.
    """

    sent_at: float
    patience: float
    waits: bool


class LengthLine:
    """Expected seconds to the first token as a straight line over the tokens of the prompt: `base + slope·L`.

    `base` and `slope` are never negative. The sums are those of a weighted least-squares fit.
    """

    __slots__ = LINE_NUMBERS

    def __init__(self, first_guess: float) -> None:
        self.base = first_guess
        self.slope = 0.0
        self.weight = self.x = self.y = self.xx = self.xy = 0.0

    def seconds(self, tokens: int) -> float:
        """What is expected of a backend of slowness 1; always over 0."""
        return self.base + self.slope * tokens

    @property
    def usual(self) -> float:
        """The mean of what was measured, or the first guess; always over 0."""
        return self.y / self.weight if self.weight > 0.0 else self.base


class ModelLearned:
    """What all backends of a model share.

    `streamed` and `whole` are the lines for streams and for whole answers by length of the prompt.
    `generated` is that of whole answers by their own length, by which they are judged afterwards. As of
    `median_at`,
    `median` is the median of the backends' slowness (1.0 until there is one), `median_limit` that of their
    limits, and `open_limit` the highest limit of those that were never found slow.
    """

    __slots__ = (*MODEL_NUMBERS, "generated", "pairs", "streamed", "whole")

    def __init__(self, settings: ExpectedTimeSettings) -> None:
        self.streamed = LengthLine(settings.first_guess)
        self.whole = LengthLine(settings.first_guess)
        self.generated = LengthLine(settings.first_guess)
        self.median_limit = settings.first_limit
        self.open_limit = settings.first_limit
        self.median = 1.0
        self.median_at = -math.inf
        self.pairs: list[PairLearned] = []


class PairLearned:
    """What was learned of one model on one backend.

    `slowness` is the factor to the model's line (0: nothing measured) as of `slowness_at`; `unhurried` is
    what it is while the backend is not busy. `limit` is the concurrency it carries; `limited` says that slow
    answers have ever lowered it, without which it is only a guess. `successes` and `failures` are decayed
    counts as of `counted_at`; `answers` counts all successes. `waiting` are the attempts without a first
    token yet, oldest first.
    """

    __slots__ = (*PAIR_NUMBERS, "model", "waiting")

    def __init__(self, model: ModelLearned, first_limit: float, now: float) -> None:
        self.model = model
        self.slowness = 0.0
        self.slowness_at = now
        self.unhurried = 0.0
        self.limit = first_limit
        self.limited = False
        self.successes = 0.0
        self.failures = 0.0
        self.counted_at = now
        self.answers = 0
        self.waiting: dict[FirstTokenAwaited, None] = {}


def slowness_now(pair: PairLearned, settings: ExpectedTimeSettings, now: float) -> float:
    """The pair's slowness at this moment: as measured, relaxed to the fleet's median once that is old."""
    median = pair.model.median
    if pair.slowness <= 0.0:
        return median
    unheard = now - pair.slowness_at - settings.relax_after
    if unheard <= 0.0:
        return pair.slowness
    return median + (pair.slowness - median) * math.exp(-unheard / settings.relax_seconds)


def untried_limit(model: ModelLearned) -> float:
    """The concurrency to reckon with for a backend that was never found slow."""
    return max(model.median_limit, model.open_limit)


def carried_limit(pair: PairLearned, settings: ExpectedTimeSettings) -> float:
    """The concurrency to reckon with when costs are compared.

    One that was never found slow is taken to carry what the others do, and as much as any other that never
    was: their limits tell only how busy they have been. A limit near the others' median counts as the median.
    """
    limit, model = pair.limit, pair.model
    middle = model.median_limit
    if not pair.limited:
        return max(limit, middle, model.open_limit)
    return middle if abs(limit - middle) <= settings.dead_band * middle else limit


def queueing_limit(pair: PairLearned | None, settings: ExpectedTimeSettings) -> int | None:
    """The learned concurrency at which requests have to wait; None while it is not known well enough."""
    if pair is None or not pair.limited or pair.answers < settings.learned_answers:
        return None
    return int(pair.limit)

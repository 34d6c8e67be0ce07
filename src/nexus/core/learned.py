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

from msgspec import Struct

from nexus.core.outcome import AttemptResult


class ExpectedTimeSettings(Struct, frozen=True, kw_only=True):
    """Every constant of `expected_time` and of the learning it rests on. Times are in seconds.

    Time to first token of a model, by length of the prompt:
        first_guess: what is assumed until the first answer.
        length_memory: how many answers are remembered, roughly; older ones count less and less.
        outlier_factor: an answer counts as at most this many times what was expected (and at least one such
            part), so that one stall does not bend the line.
        loaded_weight: weight of an answer from a backend that was well used: its time tells of the load too.

    Slowness of a backend beside that line:
        good_seconds: time constant of believing that a backend is faster than thought.
        bad_seconds: the same for slower.
        relax_after, relax_seconds: once nothing was heard of a backend for `relax_after`, its slowness
            returns to the fleet's median with this time constant, so that it is tried again.
        most_slowness: no answer counts as slower than this many times the median, so that a backend which
            once took a minute is not shunned for many.
        dead_band: slowness this near to the median counts as the median, so that noise does not herd; the
            same holds for limits.
        stall_factor: after a silence of this many times what a waiting attempt was expected to take, its
            backend looks slow already, the more the longer it lasts.
        whole_stall_factor: the same for whole answers, whose time depends on their length too.

    Concurrency that a backend carries:
        first_limit, least_limit, most_limit: where learning starts, and its bounds.
        limit_step: over the root of the limit, added for an answer that was fast while well used.
        limit_cut: factor for one that was slow while well used.
        well_used: share of the limit from which on a backend is well used.
        slow_factor, slow_seconds: slow is over this many times what the backend takes unhurried, and by this
            much at least: a few milliseconds more do not mean that a backend is full.
        learned_answers: answers that a limit needs before it makes requests wait.

    Failures:
        error_memory: time constant with which successes and failures are forgotten.
        confidence: z of the Wilson lower bound that takes the place of the observed share.
        late_factor, late_seconds: a first token this many times later than its backend is used to while not
            busy, and at least this late, counts as a failure.
        failure_cost: what a failed attempt costs a client; divided by the expected time to first token, or by
            the usual one where the prompt is longer than usual.
        most_penalty: bound of that penalty.

    The choice:
        ramp_start, ramp_seconds: share of its load that a recovered backend gets at first, and until all.
        priority_tolerance: a lower priority number goes first while it costs at most this times the best.
        exact_up_to, sample: up to this many candidates all are compared, else this many of them.
        noise: relative random change of each cost, against herds of several gateways.
        cached_cost: cost of a prompt that a backend has cached as a whole, as a share of that of a new one.
    """

    first_guess: float = 0.5
    length_memory: float = 500.0
    outlier_factor: float = 4.0
    loaded_weight: float = 0.1
    good_seconds: float = 15.0
    bad_seconds: float = 5.0
    relax_after: float = 15.0
    relax_seconds: float = 30.0
    most_slowness: float = 20.0
    dead_band: float = 0.25
    stall_factor: float = 3.0
    whole_stall_factor: float = 10.0
    first_limit: float = 8.0
    least_limit: float = 2.0
    most_limit: float = 256.0
    limit_step: float = 1.0
    limit_cut: float = 0.97
    well_used: float = 0.7
    slow_factor: float = 2.0
    slow_seconds: float = 1.0
    learned_answers: int = 50
    error_memory: float = 30.0
    confidence: float = 1.28
    late_factor: float = 10.0
    late_seconds: float = 2.0
    failure_cost: float = 20.0
    most_penalty: float = 50.0
    ramp_start: float = 0.1
    ramp_seconds: float = 10.0
    priority_tolerance: float = 2.0
    exact_up_to: int = 16
    sample: int = 8
    noise: float = 0.02
    cached_cost: float = 0.4


class LengthLine:
    """Expected seconds to the first token as a straight line over the tokens of the prompt: `base + slope·L`.

    `base` and `slope` are never negative. The sums are those of a weighted least-squares fit.
    """

    __slots__ = ("base", "slope", "weight", "x", "xx", "xy", "y")

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

    __slots__ = (
        "generated",
        "median",
        "median_at",
        "median_limit",
        "open_limit",
        "pairs",
        "streamed",
        "whole",
    )

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

    __slots__ = (
        "answers",
        "counted_at",
        "failures",
        "limit",
        "limited",
        "model",
        "slowness",
        "slowness_at",
        "successes",
        "unhurried",
        "waiting",
    )

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
        self.waiting: dict[Flight, None] = {}


class Flight(Struct, eq=False, gc=False):
    """One attempt under way.

    `expected` are the seconds its prompt needs at slowness 1, and `patience` those after which the wait for
    it looks like slowness. `pending` are the attempts on the backend when it began, itself included. It
    `waits` until it has its first token or has ended. `counted` says what it was counted as so far: a success
    from its first token on, which its end may still take back.
    """

    pair: PairLearned
    tokens: int
    sent_at: float
    expected: float
    patience: float
    pending: int
    stream: bool
    waits: bool = True
    counted: AttemptResult | None = None


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

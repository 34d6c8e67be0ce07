"""Learns from attempts, as they happen, what `nexus.core.learned` describes. Arithmetic: no clock, no I/O.

Failures never look fast: only first tokens and waits without one move a backend's slowness, and a wait can
only raise it.
"""

import math
from collections.abc import Collection, Iterable
from statistics import median
from typing import Final

from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendView
from nexus.core.flight import Flight
from nexus.core.learned import LengthLine, ModelLearned, PairLearned, queueing_limit, slowness_now
from nexus.core.live import BackendLive
from nexus.core.outcome import AttemptOutcome, AttemptResult

_CLIENT_ERROR: Final = 400
# Members of an enumeration are looked up slowly.
_SUCCESS: Final = AttemptResult.SUCCESS
_FAILURE: Final = AttemptResult.FAILURE
_CANCELLED: Final = AttemptResult.CANCELLED
_MEDIAN_INTERVAL: Final = 0.5
# The unhurried slowness follows faster answers twenty times as readily as slower ones: a low expectile.
_UNHURRIED_DOWN: Final = 0.05
_UNHURRIED_UP: Final = 0.0025
_UNHURRIED_OUTLIER: Final = 3.0
_LEAST_SECONDS: Final = 1e-4
# Five hundred measurements per second and backend are plenty; more would only cost time.
_LEAST_GAP: Final = 0.002
_WARM_WEIGHT: Final = 20.0


class AttemptLearner:
    """Told of every attempt's start, first token and end; keeps `BackendLive.learned` up to date."""

    def __init__(self, settings: ExpectedTimeSettings) -> None:
        self.settings = settings
        self._models: dict[str, ModelLearned] = {}

    def started(self, live: BackendLive, model: str, tokens: int, *, stream: bool, now: float) -> Flight:
        """An attempt is being sent; `live.pending` does not count it yet. Hand on what it returns.

        `tokens` is the same estimate of the prompt's length that the decision was made with.
        """
        pair = live.learned.get(model) or self._meet(live, model, now)
        line = pair.model.streamed if stream else pair.model.whole
        expected = line.base + line.slope * tokens
        settings = self.settings
        patience = expected * (settings.stall_factor if stream else settings.whole_stall_factor)
        flight = Flight(pair, tokens, now, expected, patience, live.pending + 1, stream)
        pair.waiting[flight] = None
        return flight

    def first_token(self, flight: Flight, now: float) -> None:
        """The first content token of a stream is there."""
        if flight.waits:
            flight.waits = False
            pair = flight.pair
            del pair.waiting[flight]
            late = self._is_late(flight, now)
            self._measure(flight, now - flight.sent_at, now)
            self._count(flight, now, failed=late)

    def finished(self, flight: Flight, outcome: AttemptOutcome) -> None:
        """The attempt has ended. A second call for the same flight would count it twice."""
        pair, result, now = flight.pair, outcome.result, outcome.ended_at
        if flight.waits:
            flight.waits = False
            del pair.waiting[flight]
            if result is _CANCELLED and self._is_late(flight, now):
                self._count(flight, now, failed=True)
            self._settle_wait(flight, outcome)
        if result is _SUCCESS:
            pair.answers += 1
            if flight.counted is None:
                self._count(flight, now, failed=False)
        elif result is _FAILURE:
            if flight.counted is _SUCCESS:
                pair.successes = max(0.0, pair.successes - 1.0)
            if flight.counted is not _FAILURE:
                self._count(flight, now, failed=True)

    def hear(self, live: BackendLive, model: str, now: float, *, successes: int, failures: int) -> None:
        """Count attempts that another process made on a backend and that ended about now."""
        pair = live.learned.get(model) or self._meet(live, model, now)
        kept = math.exp(min(0.0, pair.counted_at - now) / self.settings.error_memory)
        pair.counted_at = max(now, pair.counted_at)
        pair.successes = kept * pair.successes + successes
        pair.failures = kept * pair.failures + failures
        pair.answers += successes

    def hear_time(
        self,
        live: BackendLive,
        model: str,
        tokens: int,
        seconds: float,
        now: float,
        *,
        stream: bool,
        pending: int,
        output_tokens: int = 0,
    ) -> None:
        """Learn from a time that another process measured; what it means is as in `Flight`."""
        pair = live.learned.get(model) or self._meet(live, model, now)
        flight = Flight(pair, tokens, now, expected=0.0, patience=0.0, pending=pending, stream=stream)
        self._measure(flight, seconds, now, output_tokens)

    def recovered(self, live: BackendLive, now: float) -> None:
        """The backend is back after it was out: it starts slowly, and what it did before no longer counts."""
        live.recovered_at = now
        for pair in live.learned.values():
            pair.failures = 0.0
            pair.slowness = 0.0
            for flight in pair.waiting:
                flight.waits = False
            pair.waiting.clear()

    def forgive(self, live: BackendLive, model: str) -> None:
        """One model on a backend has recovered: its old failures no longer count."""
        pair = live.learned.get(model)
        if pair is not None:
            pair.failures = 0.0

    def limit_of(self, view: BackendView) -> int | None:
        """How many requests a backend takes at once: as configured, else as learned, None while unknown."""
        if view.backend.max_concurrency:
            return view.backend.max_concurrency
        limits = [queueing_limit(pair, self.settings) for pair in view.live.learned.values()]
        return max((limit for limit in limits if limit is not None), default=None)

    def retain(self, lives: Iterable[BackendLive], models: Collection[str]) -> None:
        """Forget models and backends that are gone; what the backends of a model share stays with it."""
        self._models = {name: model for name, model in self._models.items() if name in models}
        for model in self._models.values():
            model.pairs = []
        for live in lives:
            for name in [each for each in live.learned if each not in models]:
                del live.learned[name]
            for pair in live.learned.values():
                pair.model.pairs.append(pair)

    def _meet(self, live: BackendLive, model: str, now: float) -> PairLearned:
        shared = self._models.get(model)
        if shared is None:
            shared = self._models[model] = ModelLearned(self.settings)
        pair = live.learned[model] = PairLearned(shared, self.settings.first_limit, now)
        shared.pairs.append(pair)
        return pair

    def _count(self, flight: Flight, now: float, *, failed: bool) -> None:
        """Bring the decayed counts up to date and add one."""
        pair = flight.pair
        since = now - pair.counted_at
        if since > _LEAST_GAP:
            kept = math.exp(-since / self.settings.error_memory)
            pair.counted_at = now
            pair.successes *= kept
            pair.failures *= kept
        if failed:
            pair.failures += 1.0
            flight.counted = _FAILURE
        else:
            pair.successes += 1.0
            flight.counted = _SUCCESS

    def _is_late(self, flight: Flight, now: float) -> bool:
        """Whether a stream has waited so far beyond what its backend is used to that it counts as a failure.

        Not where the backend was well used: that is the load, and the limit will learn from it.
        """
        settings, pair = self.settings, flight.pair
        waited = now - flight.sent_at
        return (
            waited > settings.late_seconds
            and flight.stream
            and pair.unhurried > 0.0
            and waited > settings.late_factor * flight.expected * pair.unhurried
            and flight.pending < settings.well_used * pair.limit
        )

    def _settle_wait(self, flight: Flight, outcome: AttemptOutcome) -> None:
        """The end came before a first token was reported."""
        if outcome.result is _SUCCESS:
            took = outcome.ttft_ms if outcome.stream else outcome.first_byte_ms
            # A refusal of the client's mistake is quick and says nothing about the speed of answers.
            if took is not None and outcome.status < _CLIENT_ERROR:
                self._measure(flight, took / 1000.0, outcome.ended_at, outcome.output_tokens)
            return
        # A whole answer may take long because it is long: only a time-out says that it took too long.
        if outcome.result is _FAILURE or (outcome.result is _CANCELLED and flight.stream):
            self._endure(flight, outcome.ended_at)

    def _endure(self, flight: Flight, now: float) -> None:
        """A wait ended without a token: the time would have been longer, so it may only look slower."""
        pair = flight.pair
        ratio = (now - flight.sent_at) / flight.expected
        known = slowness_now(pair, self.settings, now)
        if ratio > known:
            self._follow(pair, ratio, known, now)

    def _measure(self, flight: Flight, seconds: float, now: float, output_tokens: int = 0) -> None:
        pair, settings = flight.pair, self.settings
        if now - pair.slowness_at < _LEAST_GAP and pair.slowness > 0.0:
            return
        model = pair.model
        seconds = max(_LEAST_SECONDS, seconds)
        well_used = flight.pending >= settings.well_used * pair.limit
        known = slowness_now(pair, settings, now)
        weight = settings.loaded_weight if well_used else 1.0
        line = model.streamed if flight.stream else model.whole
        _fit(line, flight.tokens, seconds, settings, weight)
        expected = line.seconds(flight.tokens)
        if output_tokens and not flight.stream:
            # How long a whole answer takes is a matter of its own length, which is known by now.
            _fit(model.generated, output_tokens, seconds, settings, weight)
            expected = model.generated.seconds(output_tokens)
        ratio = seconds / expected
        if pair.slowness <= 0.0:
            pair.slowness, pair.slowness_at = ratio, now
        else:
            self._follow(pair, ratio, known, now)
        _follow_unhurried(pair, ratio)
        if well_used:
            usual = pair.unhurried * expected
            slow = seconds > settings.slow_factor * usual and seconds - usual > settings.slow_seconds
            self._move_limit(pair, slow=slow)
        if now - model.median_at >= _MEDIAN_INTERVAL:
            self._renew_median(model, now)

    def _follow(self, pair: PairLearned, ratio: float, known: float, now: float) -> None:
        settings = self.settings
        ratio = min(ratio, settings.most_slowness * pair.model.median)
        constant = settings.bad_seconds if ratio > known else settings.good_seconds
        weight = 1.0 - math.exp((pair.slowness_at - now) / constant)
        pair.slowness = known + weight * (ratio - known)
        pair.slowness_at = now

    def _move_limit(self, pair: PairLearned, *, slow: bool) -> None:
        settings = self.settings
        if slow:
            pair.limit = max(settings.least_limit, pair.limit * settings.limit_cut)
            pair.limited = True
        else:
            pair.limit = min(settings.most_limit, pair.limit + settings.limit_step / math.sqrt(pair.limit))

    def _renew_median(self, model: ModelLearned, now: float) -> None:
        model.median_at = now
        known = [slowness_now(pair, self.settings, now) for pair in model.pairs if pair.slowness > 0.0]
        if known:
            model.median = median(known)
            model.median_limit = median(pair.limit for pair in model.pairs if pair.slowness > 0.0)
            model.open_limit = max((pair.limit for pair in model.pairs if not pair.limited), default=0.0)


def _follow_unhurried(pair: PairLearned, ratio: float) -> None:
    known = pair.unhurried
    if known <= 0.0:
        pair.unhurried = ratio
    elif ratio < known:
        pair.unhurried = known + _UNHURRIED_DOWN * (ratio - known)
    else:
        pair.unhurried = known + _UNHURRIED_UP * (min(ratio, _UNHURRIED_OUTLIER * known) - known)


def _fit(
    line: LengthLine, tokens: int, seconds: float, settings: ExpectedTimeSettings, weight: float
) -> None:
    """Take one time into the line: weighted least squares on relative errors, with exponential forgetting.

    One pseudo-observation that says "no slope" keeps the first few answers from making up a steep one.
    """
    if line.weight > 0.0:
        expected = line.seconds(tokens)
        # The first few answers may be far off without being outliers.
        factor = settings.outlier_factor ** (1 if line.weight > _WARM_WEIGHT else 2)
        seconds = min(max(seconds, expected / factor), expected * factor)
        # Errors grow with the time itself, so short prompts would count for nothing if not weighted.
        weight *= (line.y / (line.weight * expected)) ** 2
        kept = 1.0 - 1.0 / settings.length_memory
        line.weight *= kept
        line.x *= kept
        line.y *= kept
        line.xx *= kept
        line.xy *= kept
    line.weight += weight
    line.x += weight * tokens
    line.y += weight * seconds
    line.xx += weight * tokens * tokens
    line.xy += weight * tokens * seconds
    mean_x = line.x / line.weight
    mean_y = line.y / line.weight
    spread = line.xx - line.x * mean_x + mean_x * mean_x
    slope = (line.xy - line.x * mean_y) / spread if spread > 0.0 else 0.0
    slope = min(max(0.0, slope), mean_y / mean_x if mean_x > 0.0 else 0.0)
    line.slope = slope
    line.base = max(_LEAST_SECONDS, mean_y - slope * mean_x)

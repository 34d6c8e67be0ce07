"""The attempts of one worker, summed up for the others and taken in there."""

from collections.abc import Iterable

from nexus.app.workers.news import BackendNews, Measured, PairNews
from nexus.backends.health import HealthMonitor
from nexus.core.clock import Clock
from nexus.core.fleet import FleetSnapshot
from nexus.core.flight import Flight
from nexus.core.live import BackendLive
from nexus.core.outcome import AttemptOutcome, AttemptResult
from nexus.proxy.fast_path import FastPath
from nexus.quality import QualityMetricsStore
from nexus.quality.learner import AttemptLearner

_CLIENT_ERROR = 400
_RECENT = 32
_MOST_EVIDENCE = 10
_LATENCY_WEIGHT = 0.2
_SUCCESS, _FAILURE, _LIMITED = AttemptResult.SUCCESS, AttemptResult.FAILURE, AttemptResult.RATE_LIMITED

Ended = tuple[Flight, AttemptOutcome]


class AttemptLog:
    """Stands before the learner as the watch of all attempts, and notes each one that has ended."""

    def __init__(self, learner: AttemptLearner) -> None:
        self.started = learner.started
        self.first_token = learner.first_token
        self._finished = learner.finished
        self._ended: list[Ended] = []

    def finished(self, flight: Flight, outcome: AttemptOutcome) -> None:
        """An attempt has ended."""
        self._finished(flight, outcome)
        self._ended.append((flight, outcome))

    def take(self) -> list[Ended]:
        """Those that ended since the last call."""
        ended, self._ended = self._ended, []
        return ended


def sum_up(ended: Iterable[Ended], snapshot: FleetSnapshot) -> tuple[list[PairNews], list[BackendNews]]:
    """The attempts by pair and by backend. Cancelled ones are in neither."""
    pairs: dict[tuple[str, str, bool], PairNews] = {}
    backends: dict[str, BackendNews] = {}
    for flight, outcome in ended:
        backend_id = outcome.backend_id
        news = backends.get(backend_id)
        if news is None:
            news = backends[backend_id] = BackendNews(backend_id)
        news.attempts += 1
        if outcome.result is _SUCCESS or outcome.result is _FAILURE:
            key = (backend_id, outcome.model, outcome.stream)
            pair = pairs.get(key)
            if pair is None:
                pair = pairs[key] = PairNews(*key)
            _add_to_pair(pair, flight, outcome)
        _add_to_backend(news, outcome)
        if outcome.result is _LIMITED:
            view = snapshot.view(backend_id)
            if view is not None:
                news.blocked_until, news.throttles = view.live.blocked_until, view.live.throttles
    for news in backends.values():
        del news.recent[:-_RECENT]
    return list(pairs.values()), list(backends.values())


def _add_to_pair(pair: PairNews, flight: Flight, outcome: AttemptOutcome) -> None:
    if outcome.result is _FAILURE:
        pair.failures += 1
        return
    took = outcome.ttft_ms if outcome.stream else outcome.first_byte_ms
    if took is None or outcome.status >= _CLIENT_ERROR:
        pair.untimed += 1
        return
    pair.times.append(took)
    pair.measured = Measured(flight.tokens, flight.pending, took / 1000.0, outcome.output_tokens)


def _add_to_backend(news: BackendNews, outcome: AttemptOutcome) -> None:
    if outcome.kind is not None and outcome.kind.is_connection:
        news.unreached += 1
        news.reason = outcome.error
    elif outcome.status:
        news.answered = True
    if outcome.result is _SUCCESS:
        news.successes += 1
        news.latency_ms += outcome.latency_ms
        news.recent.append(True)
    elif outcome.result is _FAILURE:
        news.recent.append(False)


class AttemptIntake:
    """Counts the attempts of others as if they had been made here.

    Args:
        store, learner, fast_path, monitor: who is told.
        clock: when.
    """

    def __init__(
        self,
        store: QualityMetricsStore,
        learner: AttemptLearner,
        fast_path: FastPath,
        monitor: HealthMonitor,
        clock: Clock,
    ) -> None:
        self._store = store
        self._learner = learner
        self._fast_path = fast_path
        self._monitor = monitor
        self._clock = clock

    def take_pairs(self, pairs: Iterable[PairNews], snapshot: FleetSnapshot) -> None:
        """Count in the windows, and learn."""
        record = self._store.record_outcome
        now = self._clock.monotonic()
        for pair in pairs:
            backend, model, stream = pair.backend, pair.model, pair.stream
            view = snapshot.view(backend)
            if view is None:
                continue
            for took in pair.times:
                record(backend, True, took, model=model, streamed=stream)
            for _ in range(pair.untimed):
                record(backend, True, None, model=model, streamed=stream)
            for _ in range(pair.failures):
                record(backend, False, None, model=model, streamed=stream)
            self._learn(pair, view.live, now)

    def take_backends(self, backends: Iterable[BackendNews], snapshot: FleetSnapshot) -> None:
        """Move the gauges, and let the guard and the health checks judge."""
        now = self._clock.monotonic()
        for news in backends:
            view = snapshot.view(news.backend)
            if view is None:
                continue
            _move_gauges(view.live, news)
            for success in news.recent:
                self._fast_path.record(news.backend, success, now)
            for _ in range(min(news.unreached, _MOST_EVIDENCE)):
                self._monitor.evidence(news.backend, False, news.reason)
            if news.answered:
                self._monitor.evidence(news.backend, True)

    def _learn(self, pair: PairNews, live: BackendLive, now: float) -> None:
        learner, measured = self._learner, pair.measured
        learner.hear(live, pair.model, now, successes=pair.successes, failures=pair.failures)
        if measured is not None:
            learner.hear_time(
                live,
                pair.model,
                measured.tokens,
                measured.seconds,
                now,
                stream=pair.stream,
                pending=measured.pending,
                output_tokens=measured.output_tokens,
            )


def _move_gauges(live: BackendLive, news: BackendNews) -> None:
    live.requests += news.attempts
    if news.successes:
        live.throttles = 0
        mean = news.latency_ms / news.successes
        known = live.latency_ms
        kept = (1.0 - _LATENCY_WEIGHT) ** news.successes
        live.latency_ms = mean if known == 0.0 else mean + kept * (known - mean)
    if news.blocked_until:
        live.blocked_until = max(live.blocked_until, news.blocked_until)
        live.throttles = max(live.throttles, news.throttles)

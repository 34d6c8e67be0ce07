"""Attempts summed up at one worker and taken in at another leave the same traces as if made there."""

import random

import msgspec
import pytest
from msgspec import structs

from nexus.app.workers.attempts import AttemptIntake, AttemptLog, sum_up
from nexus.app.workers.news import BackendNews, PairNews
from nexus.backends.health import HealthMonitor
from nexus.backends.registry import Fleet
from nexus.core.backend import Backend
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.live import BackendLive, SpendMeter
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.proxy.fast_path import FastPath
from nexus.quality import QualityMetricsStore
from nexus.quality.guard_rules import GuardRules
from nexus.quality.learner import AttemptLearner
from nexus.resilience.breaker_config import CircuitBreakerConfig
from nexus.testing import ManualClock

IDS = ("a", "b", "c")

pytestmark = pytest.mark.interpreted  # its health monitor is a subclass that writes down what it is told


class Worker:
    """The parts of a worker that attempts touch."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        backends = [Backend(each, each, "http://127.0.0.1:1", models=("m",)) for each in IDS]
        self.store = QualityMetricsStore(clock=clock)
        self.fleet = Fleet(
            backends, quality_views=self.store.snapshot, prices=lambda *_: None, spend=SpendMeter()
        )
        self.learner = AttemptLearner(ExpectedTimeSettings())
        self.log = AttemptLog(self.learner)
        rng = random.Random(1)
        self.path = FastPath(
            self.fleet, breaker=CircuitBreakerConfig(), rules=GuardRules(), clock=clock, rng=rng
        )
        self.path.equip()
        self.evidence: list[tuple[str, bool, str]] = []
        self.intake = AttemptIntake(self.store, self.learner, self.path, Evidence(self), clock)

    def live(self, backend_id: str) -> BackendLive:
        return self.fleet.live(backend_id)

    def attempt(self, backend_id: str, **ending: object) -> AttemptOutcome:
        """Make one attempt; the store is told too, as the recorders do."""
        now = self.clock.monotonic()
        flight = self.log.started(self.live(backend_id), "m", 100, stream=True, now=now)
        self.clock.advance(0.1)
        outcome = structs.replace(
            AttemptOutcome(
                trace_id="t",
                backend_id=backend_id,
                model="m",
                result=AttemptResult.SUCCESS,
                ended_at=self.clock.monotonic(),
                latency_ms=100.0,
                status=200,
                ttft_ms=80.0,
                stream=True,
            ),
            **ending,
        )
        self.log.finished(flight, outcome)
        return outcome

    def told(self) -> tuple[list[PairNews], list[BackendNews]]:
        news = sum_up(self.log.take(), self.fleet.snapshot)
        kind = tuple[list[PairNews], list[BackendNews]]
        decoded: tuple[list[PairNews], list[BackendNews]]
        decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(news), type=kind)
        return decoded

    def hear(self, news: tuple[list[PairNews], list[BackendNews]]) -> None:
        self.intake.take_pairs(news[0], self.fleet.snapshot)
        self.intake.take_backends(news[1], self.fleet.snapshot)


class Evidence(HealthMonitor):
    """Notes what it is told."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def evidence(self, backend_id: str, ok: bool, reason: str = "") -> None:
        self._worker.evidence.append((backend_id, ok, reason))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


FAILED = {"result": AttemptResult.FAILURE, "kind": FailureKind.SERVER_ERROR, "status": 500, "ttft_ms": None}
UNREACHED = {
    "result": AttemptResult.FAILURE,
    "kind": FailureKind.CONNECT,
    "status": 0,
    "ttft_ms": None,
    "error": "refused",
}


def test_windows_at_the_other_worker_count_what_was_made_here(clock):
    """Successes with and without a time, failures; cancelled and throttled attempts are no evidence."""
    here, there = Worker(clock), Worker(clock)
    for ending in ({}, {}, {"status": 404}, FAILED, {"result": AttemptResult.CANCELLED}):
        here.attempt("a", **ending)
    here.attempt("a", result=AttemptResult.RATE_LIMITED, status=429)
    there.hear(here.told())
    there.store.recompute_all()
    metrics = there.store.get_metrics("a")
    assert metrics.request_count_1h == 4
    assert metrics.error_rate_1h == 0.25
    assert metrics.avg_ttft_ms == 80
    assert there.live("a").requests == 6
    assert here.told() == ([], []), "each attempt is told once"
    assert there.told() == ([], []), "what was heard is not told on"


def test_failures_here_open_the_breaker_there(clock):
    here, there = Worker(clock), Worker(clock)
    for _ in range(5):
        here.attempt("a", **FAILED)
        here.attempt("b")
    there.hear(here.told())
    assert there.path.is_out("a")
    assert not there.path.is_out("b")


def test_failed_connections_are_evidence_for_the_checks(clock):
    here, there = Worker(clock), Worker(clock)
    here.attempt("a", **UNREACHED)
    here.attempt("a", **UNREACHED)
    here.attempt("b")
    there.hear(here.told())
    assert there.evidence == [("a", False, "refused"), ("a", False, "refused"), ("b", True, "")]


def test_the_learner_there_knows_what_was_measured_here(clock):
    """Counts, and the newest time of each pair."""
    here, there = Worker(clock), Worker(clock)
    here.attempt("a")
    here.attempt("a", **FAILED)
    there.hear(here.told())
    pair = there.live("a").learned["m"]
    assert (pair.successes, pair.failures, pair.answers) == (1.0, 1.0, 1)
    assert pair.slowness > 0.0
    assert pair.model.streamed.weight > 0.0
    assert not pair.waiting


def test_the_gauges_follow(clock):
    """The smoothed latency moves as if each success had been seen; a 429 leaves the backend alone."""
    here, there = Worker(clock), Worker(clock)
    there.live("a").latency_ms = 200.0
    there.live("a").throttles = 3
    here.attempt("a")
    here.attempt("a")
    there.hear(here.told())
    assert there.live("a").latency_ms == pytest.approx(200.0 - 100.0 * (1 - 0.8**2))
    assert there.live("a").throttles == 0
    here.live("a").blocked_until, here.live("a").throttles = 77.0, 2
    here.attempt("a", result=AttemptResult.RATE_LIMITED, status=429)
    there.hear(here.told())
    assert (there.live("a").blocked_until, there.live("a").throttles) == (77.0, 2)


def test_news_of_a_backend_that_is_not_here_is_ignored(clock):
    there = Worker(clock)
    there.hear(([PairNews("gone", "m", True, [1.0])], [BackendNews("gone", 1)]))
    assert there.evidence == []
    here = Worker(clock)
    here.attempt("a", result=AttemptResult.RATE_LIMITED, status=429)
    here.fleet.remove("a")
    assert here.told()[1][0].blocked_until == 0.0

"""What holds for the cost of `expected_time`, whatever was learned before."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendView, FleetSnapshot
from nexus.core.live import BackendLive
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.core.request import Needs
from nexus.quality.learner import AttemptLearner
from nexus.routing.pipeline import Router
from tests.unit.routing.fleets import ask, fleet, order, router, serve

CALM = ExpectedTimeSettings(noise=0.0)
IDS = ("a", "b", "c", "d")


class World:
    """Four backends of one model with a past that a seed decides."""

    def __init__(self, seed: int = 0, *, tuning: ExpectedTimeSettings = CALM) -> None:
        self.rng = Random(seed)
        self.now = 1000.0
        self.learner = AttemptLearner(tuning)
        self.views = {name: serve(name) for name in IDS}
        self.router: Router = router(strategy="expected_time", tuning=tuning, seed=seed)

    @property
    def snapshot(self) -> FleetSnapshot:
        return fleet(*self.views.values())

    def live(self, name: str) -> BackendLive:
        view: BackendView = self.views[name]
        return view.live

    def attempt(self, name: str, result: AttemptResult, seconds: float, *, tokens: int = 200) -> None:
        """One attempt, from start to end; `seconds` to its first token, or to its failure."""
        live, stream = self.live(name), self.rng.random() < 0.8
        flight = self.learner.started(live, "m", tokens, stream=stream, now=self.now)
        self.now += seconds
        if stream and result is AttemptResult.SUCCESS:
            self.learner.first_token(flight, self.now)
        failed = result is AttemptResult.FAILURE
        outcome = AttemptOutcome(
            "t",
            name,
            "m",
            result,
            self.now,
            1000.0 * seconds,
            FailureKind.SERVER_ERROR if failed else None,
            500 if failed else 200,
            first_byte_ms=1000.0 * seconds,
            stream=stream,
        )
        self.learner.finished(flight, outcome)

    def live_through(self, attempts: int) -> None:
        """Random attempts of all kinds and lengths, with pauses and recoveries."""
        rng = self.rng
        bad = {name: rng.choice((0.0, 0.0, 0.1, 0.9)) for name in IDS}
        for _ in range(attempts):
            name = rng.choice(IDS)
            live = self.live(name)
            live.pending = rng.choice((0, 1, 5, 9, 40))
            kinds = (AttemptResult.CANCELLED, AttemptResult.RATE_LIMITED)
            result = AttemptResult.FAILURE if rng.random() < bad[name] else AttemptResult.SUCCESS
            if rng.random() < 0.1:
                result = rng.choice(kinds)
            self.attempt(name, result, rng.expovariate(2.0), tokens=rng.choice((0, 50, 500, 9000)))
            self.now += rng.choice((0.0, 0.0, 0.05, 2.0, 60.0))
            if rng.random() < 0.02:
                self.learner.recovered(live, self.now)
        for name in IDS:
            self.live(name).pending = rng.randrange(12)

    def costs(self) -> dict[str, float]:
        decision = self.router.decide(
            ask(needs=Needs(stream=True, input_tokens=200)), self.snapshot, self.now
        )
        return {each.view.backend.id: -each.score for each in decision.candidates}


pasts = st.tuples(st.integers(0, 10**6), st.integers(0, 120))
thorough = settings(max_examples=150, deadline=None)


def world(past: tuple[int, int]) -> World:
    made = World(past[0])
    made.live_through(past[1])
    return made


@thorough
@given(pasts)
def test_costs_are_positive_and_finite_whatever_happened(past: tuple[int, int]) -> None:
    """No past divides by zero, overflows or makes a cost of nothing."""
    assert all(0.0 < cost < 1e9 for cost in world(past).costs().values())


@thorough
@given(pasts, st.sampled_from(IDS), st.integers(1, 50))
def test_the_cost_grows_with_pending(past: tuple[int, int], name: str, more: int) -> None:
    """And nobody else's changes."""
    made = world(past)
    before = made.costs()
    made.live(name).pending += more
    after = made.costs()
    assert after[name] > before[name]
    assert all(after[other] == before[other] for other in IDS if other != name)


@thorough
@given(pasts, st.sampled_from(IDS), st.floats(0.0, 5.0))
def test_a_failure_never_lowers_the_cost_however_fast_it_is(
    past: tuple[int, int], name: str, seconds: float
) -> None:
    """Beside what the cost would be at the same moment had nothing happened."""
    failed, spared = world(past), world(past)
    failed.attempt(name, AttemptResult.FAILURE, seconds)
    spared.now = failed.now
    assert failed.costs()[name] >= spared.costs()[name] * (1.0 - 1e-9)


@thorough
@given(pasts, st.sampled_from(IDS))
def test_a_run_of_failures_makes_a_backend_less_attractive_than_its_peers(
    past: tuple[int, int], name: str
) -> None:
    """On otherwise equal backends, no matter how fast the failures come."""
    made = World(past[0])
    for other in IDS:
        for _ in range(20):
            made.attempt(other, AttemptResult.SUCCESS, 0.4)
    for _ in range(5):
        made.attempt(name, AttemptResult.FAILURE, 0.0)
    costs = made.costs()
    assert all(costs[name] > 2.0 * costs[other] for other in IDS if other != name)


@thorough
@given(st.integers(0, 10**6), st.floats(0.1, 1.0))
def test_when_all_fail_alike_the_load_alone_decides(seed: int, share: float) -> None:
    """However much they fail: the order is that of the pending counts."""
    made = World(seed)
    for _ in range(30):
        for name in IDS:
            made.attempt(name, AttemptResult.SUCCESS, 0.3)
    for name in IDS:
        pair = made.live(name).learned["m"]
        pair.counted_at, pair.slowness = made.now, 1.0
        pair.successes, pair.failures = 100.0 * (1.0 - share), 100.0 * share
    loads = made.rng.sample(range(12), len(IDS))
    for name, load in zip(IDS, loads, strict=True):
        made.live(name).pending = load
    decision = made.router.decide(ask(), made.snapshot, made.now)
    assert order(decision) == sorted(IDS, key=lambda name: made.live(name).pending)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_nobody_is_starved(seed: int, slow: bool) -> None:
    """A backend that was very slow, or failed for a while, gets requests again within minutes."""
    made = World(seed, tuning=ExpectedTimeSettings())
    for _ in range(40):
        for name in IDS:
            bad = name == "c"
            result = AttemptResult.FAILURE if bad and not slow else AttemptResult.SUCCESS
            made.attempt(name, result, 8.0 if bad and slow else 0.2)
    served = 0
    until = made.now + 400.0
    while made.now < until:
        decision = made.router.decide(ask(needs=Needs(stream=True)), made.snapshot, made.now)
        first = order(decision)[0]
        served += first == "c"
        made.attempt(first, AttemptResult.SUCCESS, 0.2)
        made.now += 0.3
    assert served >= 20

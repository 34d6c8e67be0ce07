"""Whatever goes wrong with a whole fleet, taking backends out does not make it worse."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.core.backend import Backend, ModelInfo
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.core.live import BackendLive, SpendMeter
from nexus.proxy.fast_path import FastPath
from nexus.quality.guard_rules import GuardRules
from nexus.resilience import CircuitBreakerConfig
from nexus.testing import ManualClock


class Pool:
    """Backends that all serve one model."""

    def __init__(self, size: int) -> None:
        views = tuple(
            BackendView(
                Backend(f"b{number}", f"b{number}", "http://x"),
                BackendStatus.HEALTHY,
                {"m": ModelInfo("m")},
                BackendLive(),
            )
            for number in range(size)
        )
        self.snapshot = FleetSnapshot(1, views, {"m": views}, SpendMeter())


@given(
    size=st.integers(2, 7),
    seed=st.integers(0, 2**32),
    sound=st.integers(0, 60),
    chances=st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7),
    pause=st.floats(0.0, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_more_than_half_is_out_only_while_the_rest_is_flawless(size, seed, sound, chances, pause):
    """So a problem that everybody has never leaves less than half of the fleet in use by our own decision."""
    clock, fleet, rng = ManualClock(), Pool(size), random.Random(seed)
    path = FastPath(
        fleet,
        breaker=CircuitBreakerConfig(first_timeout_seconds=2.0, timeout_seconds=60.0),
        rules=GuardRules(),
        clock=clock,
        rng=rng,
    )
    path.equip()
    for turn in range(sound + 200):
        number = rng.randrange(size)
        breaker = fleet.snapshot.backends[number].live.breaker
        assert breaker is not None
        if breaker.allow():
            if turn < sound or rng.random() >= chances[number]:
                breaker.record_success()
            else:
                breaker.record_failure()
        out = [view.backend.id for view in fleet.snapshot.backends if path.is_out(view.backend.id)]
        rest = [view.backend.id for view in fleet.snapshot.backends if not path.is_out(view.backend.id)]
        if 2 * len(out) > size:
            assert path.guard.share(rest, clock.monotonic())[0] == 0.0
        assert len(out) <= (size + 1) // 2
        assert rest
        clock.advance(pause)


@given(
    size=st.integers(2, 9),
    seed=st.integers(0, 2**32),
    everies=st.lists(st.integers(1, 4), min_size=9, max_size=9),
    limit=st.sampled_from([None, 4, 16]),
    pause=st.floats(0.0, 2.0),
)
@settings(max_examples=60, deadline=None)
def test_a_problem_of_the_whole_fleet_never_takes_more_than_half_of_it_out(size, seed, everies, limit, pause):
    """Every backend fails every first to fourth attempt, at any load, with tests and reviews in between."""
    clock, fleet, rng = ManualClock(), Pool(size), random.Random(seed)
    path = FastPath(
        fleet,
        breaker=CircuitBreakerConfig(first_timeout_seconds=2.0, timeout_seconds=60.0),
        rules=GuardRules(),
        clock=clock,
        rng=rng,
        limit_of=lambda _: limit,
    )
    path.equip()
    attempts = [0] * size
    for _ in range(300):
        number = rng.randrange(size)
        live = fleet.snapshot.backends[number].live
        live.pending = rng.randrange(18)
        breaker = live.breaker
        assert breaker is not None
        if breaker.allow():
            attempts[number] += 1
            if attempts[number] % everies[number]:
                breaker.record_success()
            else:
                breaker.record_failure()
        if rng.random() < 0.2:
            path.review()
        out = sum(path.is_out(view.backend.id) for view in fleet.snapshot.backends)
        assert 2 * out <= size
        clock.advance(pause)

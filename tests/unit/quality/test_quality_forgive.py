"""What a recovered agent or model is judged by."""

import pytest

from nexus.quality import QualityConfig, QualityLoop, QualityMetricsStore, QualityView, exceeds
from nexus.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock(start=1000.0)


@pytest.fixture
def store(clock):
    return QualityMetricsStore(clock=clock)


def fail(store: QualityMetricsStore, times: int, model: str | None = None) -> None:
    for _ in range(times):
        store.record_outcome("a", False, None, model=model)


def succeed(store: QualityMetricsStore, times: int, model: str | None = None) -> None:
    for _ in range(times):
        store.record_outcome("a", True, None, model=model)


def judged(view: QualityView) -> tuple[float, int]:
    return view.judged_rate, view.judged_count


def rollup(store: QualityMetricsStore) -> QualityView:
    return store.snapshot()["a"].rollup


def model_view(store: QualityMetricsStore, model: str) -> QualityView:
    return store.snapshot()["a"].models[model]


def test_forgiving_clears_what_is_judged_and_keeps_the_truth(store):
    """Exclusion starts anew, the published error rate does not."""
    fail(store, 8)
    succeed(store, 2)
    store.forgive("a")
    assert judged(rollup(store)) == (0.0, 0)
    assert rollup(store).metrics.error_rate_1h == 0.8
    assert store.get_metrics("a").error_rate_1h == 0.8


def test_forgiving_shows_without_a_recompute(store):
    """The view is remade at once, with the outcomes since the last recompute."""
    fail(store, 6)
    store.recompute_all()
    succeed(store, 4)
    store.forgive("a")
    assert store.get_metrics("a").request_count_1h == 10


def test_outcomes_after_forgiving_are_judged_again(store, clock):
    """Only what happened since counts, in the same half minute and later."""
    fail(store, 8, "m")
    store.forgive("a", "m")
    fail(store, 3, "m")
    clock.advance(600)
    succeed(store, 3, "m")
    store.recompute_all()
    assert judged(model_view(store, "m")) == (0.5, 6)
    assert model_view(store, "m").metrics.request_count_1h == 14


def test_a_forgiven_model_is_forgiven_in_the_roll_up_too(store):
    """Its old failures exclude no other model of the same backend."""
    fail(store, 50, "bad")
    succeed(store, 10, "good")
    store.forgive("a", "bad")
    assert judged(rollup(store)) == (0.0, 10)
    assert rollup(store).metrics.error_rate_1h == 50 / 60


def test_forgiving_one_model_leaves_the_others_judged(store):
    """Another model that still fails stays excluded."""
    fail(store, 10, "x")
    fail(store, 10, "y")
    store.forgive("a", "x")
    assert judged(model_view(store, "y")) == (1.0, 10)
    assert judged(rollup(store)) == (1.0, 10)


def test_a_forgiven_model_stays_its_own_judge(store):
    """Until it has enough new outcomes it counts as flawless, so a bad neighbour does not exclude it."""
    fail(store, 10, "x")
    fail(store, 10, "y")
    store.forgive("a", "x")
    assert judged(model_view(store, "x")) == (0.0, 5)
    fail(store, 4, "x")
    store.recompute_all()
    assert judged(model_view(store, "x")) == (0.0, 5)
    fail(store, 1, "x")
    store.recompute_all()
    assert judged(model_view(store, "x")) == (1.0, 5)


def test_forgiving_the_agent_forgives_all_its_models(store):
    """Without a model everything so far is left out, outcomes without a model too."""
    fail(store, 5, "x")
    fail(store, 5, "y")
    fail(store, 5)
    store.forgive("a")
    assert judged(rollup(store)) == (0.0, 0)
    assert judged(model_view(store, "x")) == judged(model_view(store, "y")) == (0.0, 5)


def test_forgiving_twice_counts_from_the_second_time(store):
    """A relapse that was recovered from is forgiven as well."""
    fail(store, 5)
    store.forgive("a")
    fail(store, 5)
    store.forgive("a")
    fail(store, 1)
    store.recompute_all()
    assert judged(rollup(store)) == (1.0, 1)


def test_forgiveness_ages_out_with_the_outcomes(store, clock):
    """An hour later nothing is left out any more, and the books still balance."""
    fail(store, 8, "m")
    store.forgive("a", "m")
    clock.advance(1800)
    fail(store, 2, "m")
    succeed(store, 2, "m")
    clock.advance(1830)
    store.recompute_all()
    assert judged(model_view(store, "m")) == (0.5, 4)
    assert model_view(store, "m").metrics.request_count_1h == 4
    assert store._agents["a"].windows["m"].forgiven is None


def test_unknown_names_are_ignored(store):
    """A recovery of something that was removed meanwhile does nothing."""
    store.forgive("nobody")
    store.forgive("nobody", "m")
    fail(store, 5, "m")
    store.forgive("a", "other")
    assert judged(rollup(store)) == (1.0, 5)
    assert set(store.snapshot()) == {"a"}


def test_the_loop_names_who_is_over_the_threshold(clock):
    """Pairs and agents, each with its rate and count, and not the ones below."""
    store = QualityMetricsStore(QualityConfig(min_samples=2), clock)
    fail(store, 3, "x")
    succeed(store, 1, "x")
    succeed(store, 2, "y")
    store.record_outcome("b", False, None)
    store.record_outcome("c", False, None)
    store.record_outcome("c", False, None)
    loop = QualityLoop(store, clock)
    assert loop.over_threshold() == ()
    loop.tick()
    found = [(o.agent_id, o.model, o.error_rate, o.count) for o in loop.over_threshold()]
    assert found == [("a", None, 0.5, 6), ("a", "x", 0.75, 4), ("c", None, 1.0, 2)]


def test_a_tick_recomputes_and_says_how_long_it_took(clock):
    """The duration is in seconds of the clock it was given."""
    store = QualityMetricsStore(clock=clock)
    fail(store, 1)
    assert QualityLoop(store, clock).tick() == 0.0
    assert store.get_metrics("a").error_rate_1h == 1.0
    assert 0 <= QualityLoop(store).tick() < 5


@pytest.mark.parametrize(
    ("failures", "successes", "threshold", "expected"),
    [
        (5, 5, 0.5, True),  # inclusive
        (4, 6, 0.5, False),
        (9, 0, 1.0, False),  # 1.0 never excludes
        (9, 0, 1.5, False),
        (1, 99, 0.0, True),  # 0 excludes on any failure
        (0, 99, 0.0, False),  # but never a flawless backend
        (4, 0, 0.5, False),  # too few
        (5, 0, 0.5, True),
    ],
)
def test_the_rule(store, failures, successes, threshold, expected):
    """At or over the threshold, on enough outcomes."""
    fail(store, failures)
    succeed(store, successes)
    store.recompute_all()
    assert exceeds(rollup(store), threshold, 5) is expected

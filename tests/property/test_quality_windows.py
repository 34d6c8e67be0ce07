"""The windows against a naive recount, the sketch against sorted values."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.quality import QualityMetricsStore
from nexus.quality.sketch import LogSketch
from nexus.testing import ManualClock

HOUR, HOUR_BUCKET = 3600.0, 30.0
DAY, DAY_BUCKET = 86_400.0, 600.0

pauses = st.one_of(
    st.just(0.0),
    st.floats(0.0, 40.0),
    st.floats(0.0, 4000.0),
    st.floats(0.0, 100_000.0),
    st.sampled_from([30.0, 600.0, 3570.0, 3600.0, 86_400.0]),
)
ttfts = st.one_of(st.none(), st.floats(0.0, 60_000.0))
steps = st.lists(
    st.tuples(pauses, st.booleans(), ttfts, st.sampled_from([None, "x", "y"]), st.booleans()), max_size=60
)


def failures(outcomes: list[tuple[float, bool]]) -> int:
    return sum(not success for _, success in outcomes)


@settings(max_examples=150, deadline=None)
@given(steps, st.floats(0.0, 10_000.0), st.floats(-1e9, 1e9))
def test_windows_equal_a_naive_recount_within_one_bucket(script, start, jump):
    """The count lies between the recounts of the window and of the window less one bucket, at any time."""
    clock = ManualClock(start=start)
    store = QualityMetricsStore(clock=clock)
    outcomes = []
    for pause, success, ttft, model, streamed in script:
        clock.advance(pause)
        clock.jump_wall(jump)
        store.record_outcome("a", success, ttft, model=model, streamed=streamed)
        outcomes.append((clock.monotonic(), success))
        store.recompute_all()
        now = clock.monotonic()
        figures = store.get_metrics("a")
        hour = [o for o in outcomes if o[0] > now - HOUR]
        hour_less = [o for o in outcomes if o[0] > now - HOUR + HOUR_BUCKET]
        assert len(hour_less) <= figures.request_count_1h <= len(hour)
        bad = round(figures.error_rate_1h * figures.request_count_1h)
        assert failures(hour_less) <= bad <= failures(hour)
        day = [o for o in outcomes if o[0] > now - DAY]
        day_less = [o for o in outcomes if o[0] > now - DAY + DAY_BUCKET]
        counts = sum(sum(window.day.totals) for window in store._agents["a"].windows.values())
        assert len(day_less) <= counts <= len(day)
        assert 0.0 <= figures.error_rate_1h <= 1.0
        assert 0.0 <= figures.success_rate_24h <= 1.0


@settings(max_examples=100, deadline=None)
@given(steps, st.booleans())
def test_idle_time_at_once_or_in_steps_gives_the_same_figures(script, recompute_between):
    """Lazy expiry: it does not matter how often anyone looks."""
    clock = ManualClock()
    lazy, eager = QualityMetricsStore(clock=clock), QualityMetricsStore(clock=clock)
    for pause, success, ttft, model, streamed in script:
        clock.advance(pause)
        eager.recompute_all()
        for store in (lazy, eager):
            store.record_outcome("a", success, ttft, model=model, streamed=streamed)
        if recompute_between:
            eager.recompute_all()
    lazy.recompute_all()
    eager.recompute_all()
    assert lazy.get_all_metrics() == eager.get_all_metrics()


forgive_steps = st.lists(
    st.one_of(
        st.tuples(st.just("forgive"), st.sampled_from([None, "x", "y"])),
        st.tuples(st.just("fail"), st.sampled_from([None, "x", "y"])),
        st.tuples(st.just("succeed"), st.sampled_from([None, "x", "y"])),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 29.0, 600.0, 3000.0, 3601.0])),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(forgive_steps)
def test_judged_figures_equal_a_naive_recount(script):
    """Of each half minute in the hour, the outcomes after their model's last recovery are judged."""
    clock = ManualClock()
    store = QualityMetricsStore(clock=clock)
    outcomes: list[tuple[int, bool, str | None]] = []
    judged: list[tuple[int, bool, str | None]] = []
    for action, value in script:
        bucket = int(clock.monotonic() // HOUR_BUCKET)
        if action == "wait":
            clock.advance(value)
        elif action == "forgive":
            store.forgive("a", value)
            judged = [o for o in judged if value is not None and o[2] != value]
        else:
            store.record_outcome("a", action == "succeed", None, model=value)
            outcomes.append((bucket, action == "succeed", value))
            judged.append(outcomes[-1])
    store.recompute_all()
    if not outcomes:
        return
    first = int(clock.monotonic() // HOUR_BUCKET) - 119
    expected = [o for o in judged if o[0] >= first]
    view = store.snapshot()["a"].rollup
    assert view.judged_count == len(expected)
    assert round(view.judged_rate * view.judged_count) == sum(not o[1] for o in expected)
    assert view.metrics.request_count_1h == sum(o[0] >= first for o in outcomes)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.1, 3_600_000.0), min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_the_sketch_is_within_two_percent(values, q):
    """Of n sorted durations the quantile is number ceil(q * n), to within 2 %."""
    sketch = LogSketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = sketch.quantile(q)
    assert found is not None
    assert abs(found - exact) <= 0.02 * exact


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.1, 1e6)), st.lists(st.floats(0.1, 1e6)))
def test_merged_sketches_equal_one_of_everything(left, right):
    """Sketches of several processes can be added up."""
    one, other, both = LogSketch(), LogSketch(), LogSketch()
    for value in left:
        one.add(value)
        both.add(value)
    for value in right:
        other.add(value)
        both.add(value)
    one.merge(other)
    assert one.counts == both.counts

"""Quality survives a restart: what is written down and read back judges as if nothing had happened."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.quality import QualityConfig, QualityMetricsStore
from nexus.quality.history import AgentHistory
from nexus.testing import ManualClock

DAY = 86_400.0


def restarted(store: QualityMetricsStore, elapsed: float, *, boot: float = 5.0) -> QualityMetricsStore:
    """A store of another process, whose monotonic clock has another start, after the file was written."""
    written = msgspec.json.decode(msgspec.json.encode(list(store.history())), type=list[AgentHistory])
    other = QualityMetricsStore(QualityConfig(), ManualClock(start=boot))
    other.restore(written, elapsed)
    return other


@pytest.fixture
def clock():
    return ManualClock(start=1_000_000.0)


@pytest.fixture
def store(clock):
    return QualityMetricsStore(QualityConfig(), clock)


def test_a_backend_that_was_bad_a_minute_ago_is_still_bad(store):
    for _ in range(4):
        store.record_outcome("a", False, None, model="m")
    store.record_outcome("a", True, 250.0, model="m")
    found = restarted(store, 60.0)
    metrics = found.get_metrics("a")
    assert (metrics.error_rate_1h, metrics.request_count_1h) == (0.8, 5)
    assert (metrics.avg_ttft_ms, metrics.success_rate_24h) == (250, 0.2)
    assert metrics.last_failure_ts == 5.0 - 60.0
    assert found.snapshot()["a"].models["m"].judged_rate == 0.8


def test_what_has_aged_out_in_between_is_left_out(store):
    store.record_outcome("a", False, None, model="m")
    found = restarted(store, 3700.0)
    assert found.get_metrics("a").request_count_1h == 0
    assert found.get_metrics("a").success_rate_24h == 0.0
    assert restarted(store, DAY + 700.0).get_metrics("a").success_rate_24h == 1.0


def test_it_ages_on_after_the_restart(store):
    store.record_outcome("a", False, None, model="m")
    clock = ManualClock(start=77.0)
    other = QualityMetricsStore(QualityConfig(), clock)
    other.restore(store.history(), 1800.0)
    clock.advance(1700.0)
    other.recompute_all()
    assert other.get_metrics("a").request_count_1h == 1
    clock.advance(130.0)
    other.recompute_all()
    assert other.get_metrics("a").request_count_1h == 0


def test_what_was_forgiven_stays_forgiven(store):
    for _ in range(9):
        store.record_outcome("a", False, None, model="m")
    store.forgive("a", "m")
    for _ in range(6):
        store.record_outcome("a", True, 10.0, model="m")
    pair = restarted(store, 30.0).snapshot()["a"].models["m"]
    assert (pair.judged_rate, pair.judged_count) == (0.0, 6)
    assert pair.metrics.error_rate_1h == 0.6


def test_a_history_is_added_to_what_is_there(store):
    store.record_outcome("a", True, None, model="m")
    written = list(store.history())
    store.record_outcome("a", False, None, model="m")
    store.restore(written, 0.0)
    assert store.get_metrics("a").request_count_1h == 3


def test_outcomes_without_a_model_and_of_other_answers_are_kept(store):
    store.record_outcome("a", True, 40.0, streamed=False)
    assert restarted(store, 1.0).get_metrics("a").avg_ttft_ms == 40


def test_an_idle_store_has_no_history_of_counts(store, clock):
    assert list(store.history()) == []
    store.record_outcome("a", True, None, model="m")
    clock.advance(2 * DAY)
    [agent] = store.history()
    assert [(window.hour, window.day) for window in agent.windows] == [(None, None)]


@pytest.mark.parametrize("elapsed", [-1.0, float("nan")])
def test_a_senseless_time_is_refused(store, elapsed):
    with pytest.raises(ValueError, match="elapsed"):
        store.restore([], elapsed)


@given(
    steps=st.lists(st.tuples(st.floats(0, 900), st.booleans(), st.sampled_from(["m", "n"])), max_size=30),
    boot=st.floats(0, 1e6),
)
def test_at_once_after_the_restart_the_counts_are_the_same(steps, boot):
    """But for outcomes on the edge of the hour, which rounding may move over it."""
    clock = ManualClock(start=1000.0)
    store = QualityMetricsStore(QualityConfig(), clock)
    moments = []
    for pause, success, model in steps:
        clock.advance(pause)
        moments.append((clock.monotonic(), success))
        store.record_outcome("a", success, None, model=model)
    store.recompute_all()
    found = restarted(store, 0.0, boot=boot).get_metrics("a")
    now = clock.monotonic()
    surely = sum(now - moment < 3480 for moment, _ in moments)
    perhaps = sum(now - moment <= 3660 for moment, _ in moments)
    assert surely <= found.request_count_1h <= perhaps
    assert found.success_rate_24h == store.get_metrics("a").success_rate_24h

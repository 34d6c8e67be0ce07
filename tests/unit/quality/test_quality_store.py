"""The contract of the quality store, rule by rule."""

import subprocess
import sys
import threading

import pytest

from nexus.core.quality import AgentQualityMetrics as CoreMetrics
from nexus.quality import AgentQualityMetrics, QualityConfig, QualityMetricsStore
from nexus.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(clock):
    return QualityMetricsStore(clock=clock)


def record(
    store: QualityMetricsStore, agent_id: str = "a", good: int = 0, bad: int = 0, model: str | None = None
) -> None:
    for _ in range(good):
        store.record_outcome(agent_id, True, None, model=model)
    for _ in range(bad):
        store.record_outcome(agent_id, False, None, model=model)


def metrics(store: QualityMetricsStore, agent_id: str = "a") -> AgentQualityMetrics:
    store.recompute_all()
    return store.get_metrics(agent_id)


def test_an_unknown_agent_is_innocent(store):
    """No history: no errors, full success, never failed."""
    assert store.get_metrics("new") == AgentQualityMetrics(0.0, 0, 1.0, None, 0)
    assert store.get_metrics("new").is_healthy()


def test_the_published_record_is_the_one_of_the_core():
    """The library re-exports the type that routing reads."""
    assert AgentQualityMetrics is CoreMetrics


def test_it_works_without_arguments():
    """A store takes default rules and the system's time."""
    store = QualityMetricsStore()
    store.record_outcome("a", True, 12.0)
    assert metrics(store).request_count_1h == 1
    assert store.config == QualityConfig()


def test_outcomes_show_after_the_next_recompute_only(store):
    """Recording counts; the figures are those of the last recompute."""
    record(store, bad=1)
    assert store.get_metrics("a") == AgentQualityMetrics()
    assert store.get_all_metrics() == {}
    store.recompute_all()
    assert store.get_metrics("a").error_rate_1h == 1.0
    record(store, good=1)
    assert store.get_metrics("a").error_rate_1h == 1.0


def test_error_rate_is_failures_over_outcomes(store):
    """Three of four failed: 75 %."""
    record(store, good=1, bad=3)
    assert metrics(store).error_rate_1h == 0.75
    assert metrics(store).request_count_1h == 4


def test_the_hour_forgets_after_3600_seconds(store, clock):
    """Outcomes an hour old no longer count in the hourly figures."""
    store.record_outcome("a", True, 100.0)
    record(store, bad=1)
    clock.advance(3569)
    assert metrics(store).request_count_1h == 2
    clock.advance(31)
    assert metrics(store) == AgentQualityMetrics(0.0, 0, 0.5, 0.0, 0)


def test_success_rate_is_over_a_day(store, clock):
    """A failure stays in the daily rate until it is a day old."""
    record(store, good=3, bad=1)
    clock.advance(86_400 - 601)
    assert metrics(store).success_rate_24h == 0.75
    clock.advance(601)
    assert metrics(store).success_rate_24h == 1.0


def test_zero_of_zero_is_the_neutral_rate(store, clock):
    """With nothing in the windows the rates are 0.0 and 1.0."""
    record(store, bad=2)
    clock.advance(2 * 86_400)
    figures = metrics(store)
    assert (figures.error_rate_1h, figures.success_rate_24h) == (0.0, 1.0)


def test_the_last_failure_is_remembered_for_good(store, clock):
    """Its time is monotonic and outlives the windows."""
    clock.advance(7)
    record(store, good=1)
    assert metrics(store).last_failure_ts is None
    record(store, bad=1)
    clock.advance(3 * 86_400)
    assert metrics(store).last_failure_ts == 7.0


def test_an_agent_that_failed_and_is_idle_is_not_healthy(store, clock):
    """Healthy needs requests in the last hour, or a clean record."""
    record(store, bad=1, good=9)
    assert metrics(store).is_healthy()
    clock.advance(3700)
    assert not metrics(store).is_healthy()


def test_mean_ttft_is_truncated(store):
    """100, 100 and 101 ms make 100 ms, as an int."""
    for ttft in (100, 100.0, 101.9):
        store.record_outcome("a", True, ttft)
    assert metrics(store).avg_ttft_ms == 100
    assert isinstance(metrics(store).avg_ttft_ms, int)


def test_fractions_of_milliseconds_do_not_drift(store):
    """Ten times 99.9 ms and a recompute after each are 99.9 ms in the mean."""
    for _ in range(10):
        store.record_outcome("a", True, 100.1)
        store.recompute_all()
    assert store.get_metrics("a").avg_ttft_ms == 100


def test_ttft_of_failures_is_never_averaged(store):
    """A time-out of 30 s does not make the mean worse."""
    store.record_outcome("a", True, 100)
    store.record_outcome("a", False, 30_000)
    assert metrics(store).avg_ttft_ms == 100
    assert store.ttft_quantile("a", 1.0) == pytest.approx(100, rel=0.02)


def test_ttft_may_be_unknown(store):
    """A success without a time counts as an outcome only."""
    store.record_outcome("a", True, None)
    store.record_outcome("a", True, 50)
    figures = metrics(store)
    assert (figures.request_count_1h, figures.avg_ttft_ms) == (2, 50)


def test_streams_win_over_other_answers_in_the_mean(store, clock):
    """The first-byte times count only while there is no stream in the hour."""
    store.record_outcome("a", True, 900, streamed=False)
    assert metrics(store).avg_ttft_ms == 900
    assert store.ttft_quantile("a", 0.5) == pytest.approx(900, rel=0.02)
    store.record_outcome("a", True, 100, streamed=True)
    assert metrics(store).avg_ttft_ms == 100
    assert store.ttft_quantile("a", 1) == pytest.approx(100, rel=0.02)
    clock.advance(3600)
    store.record_outcome("a", True, 800, streamed=False)
    assert metrics(store).avg_ttft_ms == 800
    assert store.ttft_quantile("a", 0.5) == pytest.approx(800, rel=0.02)


@pytest.mark.parametrize("ttft", [-1.0, float("nan"), float("inf"), 86_400_001])
def test_an_impossible_ttft_is_refused_and_not_counted(store, ttft):
    """The error says the range; the windows stay as they were."""
    with pytest.raises(ValueError, match="between 0 and 86400000"):
        store.record_outcome("a", True, ttft)
    store.recompute_all()
    assert store.get_all_metrics() == {}


def test_ttft_quantile_of_nothing_is_none(store):
    """Unknown agents, and agents without a measured time, have no quantile."""
    assert store.ttft_quantile("a", 0.5) is None
    record(store, good=1)
    assert store.ttft_quantile("a", 0.5) is None


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_is_between_zero_and_one(store, q):
    """Percentages are refused."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        store.ttft_quantile("a", q)


def test_wall_clock_jumps_change_nothing(store, clock):
    """A day back or a year on: the figures are the same."""
    record(store, good=3, bad=1)
    before = metrics(store)
    for jump in (-86_400.0, 365 * 86_400.0):
        clock.jump_wall(jump)
        assert metrics(store) == before


def test_a_removed_agent_is_gone_and_starts_neutral_when_added_again(store):
    """No window, no figure and no view is left."""
    record(store, bad=10, model="m")
    record(store, "b", good=1)
    store.recompute_all()
    store.remove_agent("a")
    assert store.get_metrics("a") == AgentQualityMetrics()
    assert set(store.get_all_metrics()) == set(store.snapshot()) == {"b"}
    store.recompute_all()
    assert set(store.get_all_metrics()) == {"b"}
    record(store, good=1)
    assert metrics(store) == AgentQualityMetrics(request_count_1h=1)


def test_removing_an_unknown_agent_does_nothing(store):
    """The other agents stay."""
    record(store, good=1)
    store.recompute_all()
    store.remove_agent("nobody")
    assert set(store.get_all_metrics()) == {"a"}


def test_agents_do_not_mix(store):
    """Each agent has figures of its own."""
    record(store, "a", bad=1)
    record(store, "b", good=1)
    store.recompute_all()
    rates = {name: figures.error_rate_1h for name, figures in store.get_all_metrics().items()}
    assert rates == {"a": 1.0, "b": 0.0}


def test_models_roll_up_to_their_agent(store, clock):
    """The published figures add up all models and the outcomes without one."""
    record(store, good=2, model="x")
    store.record_outcome("a", True, 300, model="x")
    store.record_outcome("a", True, 100)
    clock.advance(1)
    record(store, bad=4, model="y")
    assert metrics(store) == AgentQualityMetrics(0.5, 200, 0.5, 1.0, 8)


def test_a_snapshot_has_the_roll_up_and_each_model(store):
    """Routing reads both; the outcomes without a model are in the roll-up only."""
    record(store, good=1, model="x")
    record(store, bad=2, model="y")
    record(store, good=1)
    store.recompute_all()
    figures = store.snapshot()["a"]
    assert figures.rollup.metrics == store.get_metrics("a")
    assert (figures.rollup.judged_rate, figures.rollup.judged_count) == (0.5, 4)
    rates = {model: (view.judged_rate, view.judged_count) for model, view in figures.models.items()}
    assert rates == {"x": (0.0, 1), "y": (1.0, 2)}


def test_a_snapshot_stays_as_it_was(store):
    """A snapshot in hand is not changed by later recomputes, removals or recoveries."""
    record(store, bad=9, model="x")
    store.recompute_all()
    snapshot = store.snapshot()
    kept = dict(snapshot)
    store.forgive("a")
    store.remove_agent("a")
    record(store, "b", good=1)
    store.recompute_all()
    assert snapshot == kept
    assert set(store.snapshot()) == {"b"}


def test_a_changed_configuration_holds_at_once(store):
    """`configure` replaces the rule without touching the windows."""
    record(store, good=1)
    store.configure(QualityConfig(min_samples=1))
    assert store.config.min_samples == 1
    assert metrics(store).request_count_1h == 1


def test_threads_lose_no_outcome(clock):
    """Four threads record while a fifth recomputes: every outcome is counted once."""
    store = QualityMetricsStore(clock=clock)
    done = threading.Event()

    def write(model: str) -> None:
        for number in range(2000):
            store.record_outcome("a", number % 2 == 0, 10.0, model=model)

    def recompute() -> None:
        while not done.is_set():
            store.recompute_all()
            clock.advance(0.01)

    reader = threading.Thread(target=recompute)
    writers = [threading.Thread(target=write, args=(f"m{number % 2}",)) for number in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    store.recompute_all()
    assert store.get_metrics("a").success_rate_24h == 0.5
    window_counts = [sum(window.day.totals) for window in store._agents["a"].windows.values()]
    assert window_counts == [4000, 4000]


def test_the_import_is_light():
    """Whoever wants the library alone does not pay for the gateway's dependencies."""
    heavy = {
        "pydantic",
        "starlette",
        "prometheus_client",
        "structlog",
        "httptools",
        "uvloop",
        "click",
        "rich",
    }
    code = f"import sys, nexus.quality; print(sorted(set(sys.modules) & {heavy!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

"""Memory depends neither on the traffic nor on how many names are thrown at it."""

import sys
from array import array

import pytest

from nexus.quality import QualityConfig, QualityMetricsStore
from nexus.testing import ManualClock


def size_of(thing: object, seen: set[int] | None = None) -> int:
    """Bytes of an object and all that only it holds."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    total = sys.getsizeof(thing)
    if isinstance(thing, dict):
        return total + sum(size_of(part, seen) for pair in thing.items() for part in pair)
    if isinstance(thing, list | tuple | set):
        return total + sum(size_of(part, seen) for part in thing)
    if isinstance(thing, array | str | int | float | None):
        return total
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return total + sum(size_of(getattr(thing, name), seen) for name in slots)


def a_day(store: QualityMetricsStore, clock: ManualClock, per_step: int, agent_id: str) -> None:
    """A day in steps of two minutes, with so many streamed and other answers in each, of two durations."""
    for step in range(720):
        for number in range(per_step):
            slower = 39.0 * ((step + number) % 2)
            store.record_outcome(agent_id, number % 5 < 4, 20.0 + step + slower, model="m")
            store.record_outcome(agent_id, True, 20.0 + slower, model="m", streamed=False)
        clock.advance(120)


def test_busy_days_cost_no_more_than_quiet_ones():
    """Forty times the traffic, the same bytes, and under 25 kB."""
    clock = ManualClock()
    sizes = []
    for per_step in (1, 40):
        store = QualityMetricsStore(clock=clock)
        a_day(store, clock, per_step, "a")
        sizes.append(size_of(store._agents["a"]))
    assert sizes[1] <= sizes[0] * 1.02
    assert sizes[1] < 25_000


@pytest.mark.interpreted
def test_durations_of_every_length_stay_under_the_bound():
    """What is kept of them grows with their spread, up to 50 kB."""
    clock = ManualClock()
    store = QualityMetricsStore(clock=clock)
    for _ in range(60):
        for exponent in range(-10, 66):
            store.record_outcome("a", True, 10 ** (exponent / 10), model="m")
            store.record_outcome("a", True, 10 ** (exponent / 10), model="m", streamed=False)
        clock.advance(120)
    assert 30_000 < size_of(store._agents["a"]) < 50_000


def test_a_hostile_list_of_names_stays_under_the_ceiling():
    """With more models than the cap the rest is counted for the agent only; 500 kB hold it all."""
    clock = ManualClock()
    store = QualityMetricsStore(clock=clock)
    a_day(store, clock, 1, "a")
    for number in range(5000):
        store.record_outcome("a", False, None, model=f"name-{number}")
    store.forgive("a")
    assert len(store.snapshot()["a"].models) == store.config.max_models == 48
    assert store.get_metrics("a").request_count_1h == 5000 + 58
    assert size_of(store._agents["a"]) < 500_000


def test_over_the_cap_a_new_model_waits_for_an_idle_one():
    """A model idle for an hour gives way, and its outcomes stay in the agent's day."""
    clock = ManualClock()
    store = QualityMetricsStore(QualityConfig(max_models=2), clock)
    store.record_outcome("a", False, None, model="one")
    clock.advance(1800)
    store.record_outcome("a", True, None, model="two")
    store.record_outcome("a", True, None, model="three")
    store.recompute_all()
    assert set(store.snapshot()["a"].models) == {"one", "two"}
    clock.advance(1800)
    store.record_outcome("a", True, None, model="three")
    store.recompute_all()
    assert set(store.snapshot()["a"].models) == {"two", "three"}
    assert store.get_metrics("a").success_rate_24h == 0.75
    assert store.get_metrics("a").last_failure_ts == 0.0


def test_only_idle_models_give_way():
    """The busy one that comes first in the books stays."""
    clock = ManualClock()
    store = QualityMetricsStore(QualityConfig(max_models=2), clock)
    store.record_outcome("a", True, None, model="busy")
    store.record_outcome("a", True, None, model="idle")
    clock.advance(3600)
    store.record_outcome("a", True, None, model="busy")
    store.record_outcome("a", True, None, model="new")
    store.recompute_all()
    assert set(store.snapshot()["a"].models) == {"busy", "new"}


def test_a_model_idle_for_a_day_loses_its_window():
    """What is left of it is the agent's last failure."""
    clock = ManualClock(start=5.0)
    store = QualityMetricsStore(clock=clock)
    store.record_outcome("a", False, None, model="old")
    clock.advance(86_400)
    store.recompute_all()
    assert store.snapshot()["a"].models == {}
    assert store.get_metrics("a").last_failure_ts == 5.0
    assert list(store._agents["a"].windows) == [None]


def test_a_model_with_an_empty_name_is_a_model():
    """Only None means no model."""
    store = QualityMetricsStore(clock=ManualClock())
    store.record_outcome("a", True, None, model="")
    store.recompute_all()
    assert set(store.snapshot()["a"].models) == {""}

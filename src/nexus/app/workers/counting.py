"""The counters of one worker as additions for the others, and the sums of all."""

from collections.abc import Callable, Container, Sequence
from typing import TypeVar

from nexus.app.workers.news import BackendCounts, Counts, HistogramNews
from nexus.telemetry.counters import TABLES, BackendCounters, TrafficCounters
from nexus.telemetry.histogram import Histogram, StageTimes

NUMBERS = (
    "success",
    "failure",
    "rate_limited",
    "cancelled",
    "latency_ms_sum",
    "input_tokens",
    "output_tokens",
    "cost_usd",
)
Key = TypeVar("Key")


class CountsBook:
    """What others counted, and what they were told of our own counts.

    Args:
        own: this worker's counters; only read.
        stages: this worker's times; only read.
    """

    def __init__(self, own: TrafficCounters, stages: StageTimes) -> None:
        self.others = TrafficCounters()
        self.other_stages = StageTimes()
        self._own = own
        self._own_stages = stages
        self._told = TrafficCounters()
        self._told_stages = StageTimes()

    def take(self) -> Counts | None:
        """Our counts since the last call, None where there are none."""
        own, told = self._own, self._told
        for gone in told.backends.keys() - own.backends.keys():
            del told.backends[gone]
        changes = _difference(own, told, self._own_stages, self._told_stages)
        if changes is not None:
            add_counts(told, self._told_stages, changes)
        return changes

    def hear(self, counts: Counts) -> None:
        """Others counted this."""
        add_counts(self.others, self.other_stages, counts)

    def forget_others_but(self, backend_ids: Container[str]) -> None:
        """Forget what others counted of backends that are gone."""
        for backend_id in [each for each in self.others.backends if each not in backend_ids]:
            del self.others.backends[backend_id]

    def everything(self) -> Counts | None:
        """All that was told and heard, as one addition."""
        total, stages = TrafficCounters(), StageTimes()
        for counters, times in ((self._told, self._told_stages), (self.others, self.other_stages)):
            part = _difference(counters, TrafficCounters(), times, StageTimes())
            if part is not None:
                add_counts(total, stages, part)
        return _difference(total, TrafficCounters(), stages, StageTimes())

    def show(self, shown: TrafficCounters, shown_stages: StageTimes) -> None:
        """Make these the sums over all workers, as of now."""
        fresh = TrafficCounters()
        for histogram in shown_stages.histograms:
            _clear(histogram)
        for counters, times in ((self._own, self._own_stages), (self.others, self.other_stages)):
            part = _difference(counters, TrafficCounters(), times, StageTimes())
            if part is not None:
                add_counts(fresh, shown_stages, part)
        for name in TABLES:
            setattr(shown, name, getattr(fresh, name))


def add_counts(counters: TrafficCounters, stages: StageTimes, counts: Counts) -> None:
    """Add to the counters."""
    for backend_id, each in counts.backends.items():
        backend = counters.backends.get(backend_id)
        if backend is None:
            backend = counters.backends[backend_id] = BackendCounters()
        for name, number in zip(NUMBERS, each.numbers, strict=True):
            setattr(backend, name, getattr(backend, name) + number)
        _add_all(backend.failures, each.failures)
        _add_all(backend.transitions, each.transitions)
        _add_histogram(backend.ttft, each.ttft)
        _add_histogram(backend.queue_time, each.queue_time)
    _add_all(counters.models, counts.models)
    _add_all(counters.codes, counts.codes)
    for status, cells in counts.statuses.items():
        known = counters.statuses.get(status)
        counters.statuses[status] = cells if known is None else _sum(known, cells)
    _add_histogram(counters.duration, counts.duration)
    _add_histogram(counters.overhead, counts.overhead)
    _add_histogram(counters.recompute, counts.recompute)
    for histogram, addition in zip(stages.histograms, counts.stages, strict=False):
        _add_histogram(histogram, addition)
    counters.waits += counts.waits
    counters.waited_seconds += counts.waited_seconds


def _difference(
    now: TrafficCounters, then: TrafficCounters, stages: StageTimes, stages_then: StageTimes
) -> Counts | None:
    backends = {}
    for backend_id, each in now.backends.items():
        change = _backend_difference(each, then.backends.get(backend_id) or BackendCounters())
        if change is not None:
            backends[backend_id] = change
    counts = Counts(
        backends=backends,
        models=_gap(now.models, then.models),
        codes=_gap(now.codes, then.codes),
        statuses=_status_gaps(now.statuses, then.statuses),
        duration=_histogram_gap(now.duration, then.duration),
        overhead=_histogram_gap(now.overhead, then.overhead),
        recompute=_histogram_gap(now.recompute, then.recompute),
        stages=[
            _histogram_gap(*each) for each in zip(stages.histograms, stages_then.histograms, strict=True)
        ],
        waits=now.waits - then.waits,
        waited_seconds=now.waited_seconds - then.waited_seconds,
    )
    changed = (
        backends
        or counts.models
        or counts.codes
        or counts.statuses
        or counts.duration
        or counts.overhead
        or counts.recompute
        or any(counts.stages)
        or counts.waits
    )
    return counts if changed else None


def _backend_difference(now: BackendCounters, then: BackendCounters) -> BackendCounts | None:
    counts = BackendCounts(
        [getattr(now, name) - getattr(then, name) for name in NUMBERS],
        _gap(now.failures, then.failures),
        _gap(now.transitions, then.transitions),
        _histogram_gap(now.ttft, then.ttft),
        _histogram_gap(now.queue_time, then.queue_time),
    )
    changed = any(counts.numbers) or counts.failures or counts.transitions or counts.ttft or counts.queue_time
    return counts if changed else None


def _status_gaps(now: dict[int, list[int]], then: dict[int, list[int]]) -> dict[int, list[int]]:
    gaps = {}
    for status, cells in now.items():
        known = then.get(status)
        if cells != known:
            gaps[status] = list(cells) if known is None else _less(cells, known)
    return gaps


def _gap(now: dict[Key, int], then: dict[Key, int]) -> dict[Key, int]:
    """What changed; a name that is gone is a negative addition."""
    if now == then:
        return {}
    gaps = {name: now.get(name, 0) - then.get(name, 0) for name in {**then, **now}}
    return {name: gap for name, gap in gaps.items() if gap}


def _histogram_gap(now: Histogram, then: Histogram) -> HistogramNews | None:
    if now.counts == then.counts:
        return None
    return HistogramNews(_less(now.counts, then.counts), now.total - then.total)


def _add_histogram(histogram: Histogram, addition: HistogramNews | None) -> None:
    if addition is not None:
        histogram.counts = _sum(histogram.counts, addition.counts)
        histogram.total += addition.total


def _clear(histogram: Histogram) -> None:
    histogram.counts = [0] * len(histogram.counts)
    histogram.total = 0.0


def _add_all(counts: dict[Key, int], additions: dict[Key, int]) -> None:
    for name, count in additions.items():
        total = counts.get(name, 0) + count
        if total:
            counts[name] = total
        else:
            counts.pop(name, None)


def _sum(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return _each(int.__add__, one, other)


def _less(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return _each(int.__sub__, one, other)


def _each(operate: Callable[[int, int], int], one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [operate(a, b) for a, b in zip(one, other, strict=True)]

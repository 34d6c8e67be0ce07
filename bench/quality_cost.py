"""What the quality library costs by itself: writing an outcome, reading figures, making them anew.

    python -m bench.quality_cost

One process, nothing else in it; the best of some repeats.
"""

from collections.abc import Callable
from time import perf_counter

from msgspec import Struct

from nexus.quality import QualityMetricsStore

_AGENTS = 100
_OUTCOMES = 200_000
_READS = 200_000
_REPEATS = 5


class QualityCost(Struct, frozen=True):
    """The best of some repeats: microseconds per outcome and per read, milliseconds for all figures."""

    record_outcome_us: float
    get_metrics_us: float
    recompute_all_ms: float


def measure() -> QualityCost:
    """Write to 100 agents, read from them, and make their figures anew."""
    store = QualityMetricsStore()
    names = [f"agent-{number}" for number in range(_AGENTS)]

    def write() -> None:
        record = store.record_outcome
        for number in range(_OUTCOMES):
            record(names[number % _AGENTS], success=number % 50 != 0, ttft_ms=200.0)

    def read() -> None:
        get = store.get_metrics
        for number in range(_READS):
            get(names[number % _AGENTS])

    written, recomputed, got = [], [], []
    for _ in range(_REPEATS):
        # Figures are made anew only where there is something new, so each repeat writes to every agent first.
        written.append(_seconds(write))
        recomputed.append(_seconds(store.recompute_all))
        got.append(_seconds(read))
    return QualityCost(
        record_outcome_us=round(min(written) / _OUTCOMES * 1e6, 3),
        get_metrics_us=round(min(got) / _READS * 1e6, 3),
        recompute_all_ms=round(min(recomputed) * 1e3, 3),
    )


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def main() -> None:
    """Measure and print."""
    found = measure()
    print(f"record_outcome: {found.record_outcome_us} µs")
    print(f"get_metrics: {found.get_metrics_us} µs")
    print(f"recompute_all of {_AGENTS} agents: {found.recompute_all_ms} ms")


if __name__ == "__main__":
    main()

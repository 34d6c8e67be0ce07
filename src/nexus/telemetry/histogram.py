"""Histograms of plain numbers: one bisection and two additions per observation."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

STAGES = ("analyzer", "privacy", "budget", "tier", "quality", "scheduler")
STAGE_BOUNDS = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 1e-2)


class Histogram:
    """Counts of observations per bucket. `bounds` are inclusive upper bounds, ascending, without infinity.

    `counts` holds one number per bucket, not cumulated; the last is for everything over the last bound.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def cumulative(self) -> list[int]:
        """Per bound, and at the end for infinity, how many values were at or under it."""
        return list(accumulate(self.counts))


class StageTimes:
    """How long each stage of the routing pipeline takes: one histogram per stage, chosen by its index."""

    __slots__ = ("_bounds", "histograms", "names")

    def __init__(self, names: Sequence[str] = STAGES, bounds: tuple[float, ...] = STAGE_BOUNDS) -> None:
        self.names = tuple(names)
        self.histograms = tuple(Histogram(bounds) for _ in self.names)
        self._bounds = bounds

    def observe(self, stage: int, seconds: float) -> None:
        """Count one run of a stage, given by its place in `names`."""
        histogram = self.histograms[stage]
        histogram.counts[bisect_left(self._bounds, seconds)] += 1
        histogram.total += seconds

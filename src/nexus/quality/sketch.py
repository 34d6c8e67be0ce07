"""Quantiles of a stream of durations in constant memory.

Durations are counted in buckets whose bounds grow by a constant factor, so that the middle of a bucket is
within a fixed share of every value in it. The factor (1 + e) / (1 - e) for a relative error e is that of
DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", VLDB 2019).
"""

import math
from array import array
from itertools import accumulate
from operator import add
from typing import Final

RELATIVE_ERROR: Final = 0.0195
"""A little under the promised 2 %, so that rounding at a bucket's bound stays within it."""

MIN_MS: Final = 0.1
MAX_MS: Final = 3_600_000.0
SLICE_SECONDS: Final = 400
SLICES: Final = 9

_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG: Final = 1 / math.log(_GAMMA)
# log(x) * _PER_LOG + _OFFSET is 1 at MIN_MS; bucket 0 is there for rounding.
_OFFSET: Final = 1 - math.log(MIN_MS) * _PER_LOG
_MIDDLE: Final = MIN_MS * 2 / (1 + _GAMMA)
_LAST: Final = int(math.log(MAX_MS) * _PER_LOG + _OFFSET)
_COUNT: Final = "I"

_log: Final = math.log


def _bucket(milliseconds: float) -> int:
    return int(_log(min(max(milliseconds, MIN_MS), MAX_MS)) * _PER_LOG + _OFFSET)


class LogSketch:
    """Counts of durations in milliseconds, from which any quantile can be had to within 2 %.

    That holds from `MIN_MS` to `MAX_MS` (an hour); what is beyond is taken for the nearer of the two.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = array(_COUNT, [0]) * (_LAST + 1)

    def add(self, milliseconds: float) -> None:
        """Count one duration (0 or more)."""
        self.counts[_bucket(milliseconds)] += 1

    def __len__(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def merge(self, other: "LogSketch") -> None:
        """Count everything the other sketch has counted."""
        self.counts = array(_COUNT, map(add, self.counts, other.counts))

    def subtract(self, other: "Packed") -> None:
        """Take off what another sketch counted, which was merged before."""
        counts = self.counts
        for bucket, count in enumerate(other.counts, other.first):
            counts[bucket] -= count

    def quantile(self, q: float) -> float | None:
        """The duration that a share `q` (0 to 1) of all is not over, in milliseconds; None: nothing counted.

        Of n sorted durations it is number ceil(q * n), the first one for q = 0.
        """
        total = len(self)
        if not total:
            return None
        rank = max(1, math.ceil(q * total))
        index = next(index for index, seen in enumerate(accumulate(self.counts)) if seen >= rank)
        return _MIDDLE * _GAMMA**index


class Packed:
    """The counts of a sketch that counts no more: from the `first` bucket that is not empty to the last.

    Durations of one backend are alike, so this is a tenth of the sketch.
    """

    __slots__ = ("counts", "first")

    def __init__(self, sketch: LogSketch) -> None:
        filled = [bucket for bucket, count in enumerate(sketch.counts) if count] or [0]
        self.first = filled[0]
        self.counts = sketch.counts[self.first : filled[-1] + 1]


class HourSketch:
    """A sketch of the last hour, in nine slices of 400 seconds.

    It covers the current slice and the eight before it: nothing older than an hour, and at least the last 53
    minutes.
    """

    __slots__ = ("_closed", "_counts", "_current", "_number", "_slice_end", "_slices")

    def __init__(self) -> None:
        self._slices: dict[int, Packed] = {}
        # Both are made when something is counted: a backend seldom gives streams and whole answers.
        self._current: LogSketch | None = None
        # The sum of `_slices`, so that a quantile does not have to add them up.
        self._closed: LogSketch | None = None
        self._counts: array[int] = array(_COUNT)
        self._number = 0
        self._slice_end = -math.inf

    def add(self, milliseconds: float, now: float) -> None:
        """Count one duration at monotonic time `now`."""
        if now >= self._slice_end:
            self._move(now)
        # The body of `LogSketch.add`: this is on the path of every request.
        if MIN_MS <= milliseconds < MAX_MS:
            self._counts[int(_log(milliseconds) * _PER_LOG + _OFFSET)] += 1
        else:
            self._counts[_bucket(milliseconds)] += 1

    def quantile(self, q: float, now: float) -> float | None:
        """Like `LogSketch.quantile`, of the last hour."""
        if self._current is None:
            return None
        if now >= self._slice_end:
            self._move(now)
        merged = LogSketch()
        for part in (self._closed, self._current):
            if part is not None:
                merged.merge(part)
        return merged.quantile(q)

    def _move(self, now: float) -> None:
        current, closed = self._current, self._closed
        if current is not None and any(current.counts):
            if closed is None:
                closed = self._closed = LogSketch()
            closed.merge(current)
            self._slices[self._number] = Packed(current)
            current = None
        if current is None:
            current = self._current = LogSketch()
            self._counts = current.counts
        number = int(now // SLICE_SECONDS)
        if closed is not None:
            for old in [old for old in self._slices if old <= number - SLICES]:
                closed.subtract(self._slices.pop(old))
        self._number = number
        self._slice_end = float((number + 1) * SLICE_SECONDS)

"""Sliding windows in constant memory: rings of counters, one slot per stretch of time.

A ring of n buckets of w seconds covers the current, unfinished bucket and the n-1 before it: never anything
older than n*w seconds, and never less than the last (n-1)*w.
"""

from array import array
from collections.abc import Iterable
from typing import Final

HOUR_BUCKET_SECONDS: Final = 30
HOUR_BUCKETS: Final = 120
DAY_BUCKET_SECONDS: Final = 600
DAY_BUCKETS: Final = 144

COUNT: Final = "I"
"""Four bytes: outcomes of one bucket."""
MICROSECONDS: Final = "Q"
"""Eight bytes: a sum of durations of one bucket. Whole numbers, so that what was added can be taken off."""

_US_PER_MS: Final = 1000


class CounterRing:
    """Several counters, each summed over the same sliding window.

    `totals` are the sums, `columns` what they are made of, one number per bucket. `bucket` is the number of
    the current bucket, counted from time zero; the caller divides the time by the bucket's width. `size` is
    their number.
    """

    __slots__ = ("bucket", "columns", "size", "totals")

    def __init__(self, size: int, kinds: Iterable[str], bucket: int) -> None:
        self.size = size
        self.columns = tuple(array(kind, [0]) * size for kind in kinds)
        self.totals = [0] * len(self.columns)
        self.bucket = bucket

    def add(self, *amounts: int) -> None:
        """Add one amount per counter to the current bucket."""
        slot = self.bucket % self.size
        totals = self.totals
        for index, amount in enumerate(amounts):
            if amount:
                self.columns[index][slot] += amount
                totals[index] += amount

    def move_to(self, bucket: int) -> None:
        """Make `bucket` (not before the current one) the current one and forget what is too old."""
        totals = self.totals
        if any(totals):
            first = self.bucket + 1
            for number in range(first, min(bucket + 1, first + self.size)):
                slot = number % self.size
                for index, column in enumerate(self.columns):
                    if column[slot]:
                        totals[index] -= column[slot]
                        column[slot] = 0
        self.bucket = bucket

    def rows(self) -> list[tuple[int, ...]]:
        """Each counter's numbers, the oldest bucket first and the current one last."""
        oldest = (self.bucket + 1) % self.size
        return [(*column[oldest:], *column[:oldest]) for column in self.columns]

    def merge(self, other: "CounterRing") -> None:
        """Add the counts of a ring of the same shape that stands at the same bucket."""
        for index, (mine, others) in enumerate(zip(self.columns, other.columns, strict=True)):
            for slot, amount in enumerate(others):
                mine[slot] += amount
            self.totals[index] += other.totals[index]

    def copy(self, counters: int) -> "CounterRing":
        """A ring of the first `counters` counters as they are now."""
        twin = CounterRing(self.size, (), self.bucket)
        twin.columns = tuple(column[:] for column in self.columns[:counters])
        twin.totals = self.totals[:counters]
        return twin


class OutcomeWindow:
    """An hour and a day of attempt outcomes of one agent and model.

    The plain attributes count the current half minute: writing an outcome touches nothing else. `settle`
    moves them into the rings; it must be called before a write once `bucket_end` is reached, and before the
    rings are read. `last_failure` is a monotonic reading, None: never.
    """

    __slots__ = (
        "bucket_end",
        "day",
        "failures",
        "first_byte_ms",
        "first_bytes",
        "forgiven",
        "hour",
        "last_failure",
        "stream_ms",
        "streams",
        "successes",
    )

    def __init__(self, now: float) -> None:
        bucket = int(now // HOUR_BUCKET_SECONDS)
        self.hour = CounterRing(
            HOUR_BUCKETS, (COUNT, COUNT, COUNT, MICROSECONDS, COUNT, MICROSECONDS), bucket
        )
        self.day = CounterRing(DAY_BUCKETS, (COUNT, COUNT), int(now // DAY_BUCKET_SECONDS))
        self.forgiven: CounterRing | None = None
        self.last_failure: float | None = None
        self.bucket_end = float((bucket + 1) * HOUR_BUCKET_SECONDS)
        self._clear()

    def _clear(self) -> None:
        self.successes = 0
        self.failures = 0
        self.streams = 0
        self.stream_ms = 0.0
        self.first_bytes = 0
        self.first_byte_ms = 0.0

    def settle(self, now: float) -> None:
        """Bring the rings up to date and up to `now`."""
        if self.successes or self.failures:
            self.hour.add(
                self.successes,
                self.failures,
                self.streams,
                round(self.stream_ms * _US_PER_MS),
                self.first_bytes,
                round(self.first_byte_ms * _US_PER_MS),
            )
            self.day.add(self.successes, self.failures)
            self._clear()
        if now >= self.bucket_end:
            self._move(now)

    def _move(self, now: float) -> None:
        bucket = int(now // HOUR_BUCKET_SECONDS)
        self.hour.move_to(bucket)
        day_bucket = int(now // DAY_BUCKET_SECONDS)
        if day_bucket != self.day.bucket:
            self.day.move_to(day_bucket)
        if self.forgiven is not None:
            self.forgiven.move_to(bucket)
            if not any(self.forgiven.totals):
                self.forgiven = None
        self.bucket_end = float((bucket + 1) * HOUR_BUCKET_SECONDS)

    def forgive(self, now: float) -> None:
        """Leave the outcomes so far out of what `judged` says."""
        self.settle(now)
        self.forgiven = self.hour.copy(2)

    def absorb(self, other: "OutcomeWindow", now: float) -> None:
        """Add the outcomes of another window; those it has forgiven must have aged out."""
        self.settle(now)
        other.settle(now)
        self.hour.merge(other.hour)
        self.day.merge(other.day)
        self.last_failure = latest((self.last_failure, other.last_failure))


def latest(moments: Iterable[float | None]) -> float | None:
    """The last of these moments; None where there is none."""
    return max((moment for moment in moments if moment is not None), default=None)

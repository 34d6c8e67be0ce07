"""A clock for tests: time stands still until the test, or code that sleeps, moves it."""

import asyncio
import math
import threading

_NS = 1_000_000_000
_ROUNDING_NS = 1e-4
"""Nanoseconds forgiven when a float of seconds is rounded up, so that 0.3 s is exactly 300,000,000 ns."""

_NEW_YEAR_2026 = 1_767_225_600.0


class ManualClock:
    """Virtual time; goes wherever a `Clock` is taken. Safe under threads and across event loops.

    `monotonic()` begins at `start` and `time()` at `wall_start` (by default 2026-01-01 00:00 UTC, so that a
    mix-up of the two shows). Both move together, in whole nanoseconds; only `jump_wall` parts them.

    What a sleeper does is chosen once, by `auto`:

    - `auto=True`: sleeping moves time. `sleep` adds its seconds and returns. `sleep_async` lets the other
      tasks run at least once and then moves time to its deadline; of several sleeping tasks the one with the
      earliest deadline goes first. Made for retries, back-off and rate limiters: nothing has to drive them.
      A task that sleeps in an endless loop never stops moving time, so it wants the other mode.
    - `auto=False`: only `advance` moves time. `sleep` blocks its thread and `sleep_async` suspends its task
      until the deadline is reached. Made for time limits and background loops; `until_waiting` tells a test
      that they have arrived at their sleep.

    In both, `advance` wakes whoever is due, and `sleeps` lists the seconds of every sleep, as asked for.
    """

    def __init__(self, start: float = 0.0, *, auto: bool = True, wall_start: float = _NEW_YEAR_2026) -> None:
        self.sleeps: list[float] = []
        self._auto = auto
        self._start = start
        self._elapsed_ns = 0
        self._wall_start = wall_start
        self._changed = threading.Condition()
        self._sleepers: set[_Sleeper] = set()

    def monotonic(self) -> float:
        """Virtual seconds: `start` plus all that has passed."""
        return self._start + self._elapsed_ns / _NS

    def time(self) -> float:
        """Virtual Unix time in seconds, jumps included."""
        return self._wall_start + self._elapsed_ns / _NS

    @property
    def waiting(self) -> int:
        """How many sleepers are not due yet."""
        with self._changed:
            return sum(sleeper.deadline > self._elapsed_ns for sleeper in self._sleepers)

    async def until_waiting(self, count: int = 1) -> None:
        """Let other tasks (and threads) run until at least `count` sleepers are waiting for time to move."""
        while self.waiting < count:  # noqa: ASYNC110 - sleepers of other loops and threads count too
            await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Move both clocks on and wake every sleeper that is due; ValueError if `seconds` is negative."""
        if not seconds >= 0:
            raise ValueError(f"a clock moves forward only: seconds must be >= 0, got {seconds!r}")
        with self._changed:
            self._move_to(self._elapsed_ns + _whole_ns(seconds))

    def jump_wall(self, seconds: float) -> None:
        """Step `time()` by `seconds`, back too, as a clock correction would; `monotonic()` stays."""
        with self._changed:
            self._wall_start += seconds

    def sleep(self, seconds: float) -> None:
        """Move time by `seconds`, or block this thread until `advance` has; at once if not positive."""
        with self._changed:
            self.sleeps.append(seconds)
            deadline = self._elapsed_ns + _whole_ns(seconds)
            if self._auto:
                self._move_to(deadline)
                return
            sleeper = _Sleeper(deadline)
            self._sleepers.add(sleeper)
            try:
                self._changed.wait_for(lambda: self._elapsed_ns >= deadline)
            finally:
                self._sleepers.discard(sleeper)

    async def sleep_async(self, seconds: float) -> None:
        """Suspend this task at least once, until its deadline is reached in the way `auto` says."""
        with self._changed:
            self.sleeps.append(seconds)
            deadline = self._elapsed_ns + _whole_ns(seconds)
            sleeper = _Sleeper(deadline, asyncio.get_running_loop())
            self._sleepers.add(sleeper)
        try:
            await asyncio.sleep(0)
            while self._elapsed_ns < deadline:
                if not self._auto:
                    await sleeper.due.wait()
                elif not self._move_if_first(deadline):
                    await asyncio.sleep(0)
        finally:
            with self._changed:
                self._sleepers.discard(sleeper)

    def _move_if_first(self, deadline: int) -> bool:
        with self._changed:
            first = all(sleeper.deadline >= deadline for sleeper in self._sleepers)
            if first:
                self._move_to(deadline)
        return first

    def _move_to(self, elapsed_ns: int) -> None:
        # Never back: a sleeper's deadline may have been passed by `advance` in the meantime.
        self._elapsed_ns = max(self._elapsed_ns, elapsed_ns)
        for sleeper in self._sleepers:
            if sleeper.deadline <= self._elapsed_ns:
                sleeper.wake()
        self._changed.notify_all()


class _Sleeper:
    """One sleep under way; `loop` is None for a thread, which waits on the clock's condition."""

    __slots__ = ("deadline", "due", "loop")

    def __init__(self, deadline: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.deadline = deadline
        self.loop = loop
        self.due = asyncio.Event()

    def wake(self) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.due.set)


def _whole_ns(seconds: float) -> int:
    # Rounded up: who sleeps until a moment has then reached it, however the moment was computed.
    return max(0, math.ceil(seconds * _NS - _ROUNDING_NS))

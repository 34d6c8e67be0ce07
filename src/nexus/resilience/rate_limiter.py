"""A token bucket that threads and tasks can share, first come, first served."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Self

from nexus.core.clock import Clock, SystemClock
from nexus.resilience.environment import is_positive, read_int, read_seconds

# What rounding a clock's reading may cost; tokens granted that much early stay owed, so it never adds up.
_ROUNDING_SECONDS = 1e-9


class _Waiter:
    """A place in the queue; `first` is done when nobody is ahead any more."""

    __slots__ = ("deadline", "first", "granted", "tokens")

    def __init__(self, tokens: float, deadline: float) -> None:
        self.tokens = tokens
        self.deadline = deadline
        self.first: Future[None] = Future()
        self.granted = False

    def call(self) -> None:
        """Say that it is first now, unless it knows or has given up."""
        if not self.first.done() and self.first.set_running_or_notify_cancel():
            self.first.set_result(None)


class RateLimiter:
    """Grants at most `rate` tokens a second on average, and at most `capacity` at once after a pause.

    Over any stretch of t seconds at most `capacity + rate * t` tokens are granted, however many threads and
    tasks ask. Those who wait are served in the order they came, and nobody overtakes them. A waiter that
    gives up costs the ones behind it nothing. Waiting is as exact as the clock's sleep: what flows in while a
    full bucket waits for a late sleeper is lost, so give a fast rate a capacity of a few milliseconds' worth.

    Raises ValueError for a rate or capacity that is not above 0.
    """

    def __init__(self, rate: float = 10.0, capacity: float = 20, *, clock: Clock | None = None) -> None:
        for name, value in (("rate", rate), ("capacity", capacity)):
            if not is_positive(value):
                raise ValueError(f"{name} must be a number above 0, got {value!r}")
        self.rate = rate
        self.capacity = capacity
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._tokens = float(capacity)
        self._updated = self._clock.monotonic()
        self._queue: deque[_Waiter] = deque()
        self._queued = 0.0

    @classmethod
    def from_env(cls, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None) -> Self:
        """Read `RATE_LIMIT_PER_SECOND` (default 10) and `RATE_LIMIT_BURST` (default 20), the capacity.

        Raises ValueError, naming the variable, for a bad value.
        """
        rate = read_seconds("RATE_LIMIT_PER_SECOND", 10.0, environ=environ)
        return cls(rate, read_int("RATE_LIMIT_BURST", 20, minimum=1, environ=environ), clock=clock)

    def acquire(self, tokens: float = 1, timeout: float | None = 0.0) -> bool:
        """Take tokens, waiting at most `timeout` seconds for them (0: try once; None: as long as it takes).

        False, and nothing taken, where they cannot be had in time; mostly that is known, and said, at once.
        Blocks the thread: within an event loop use `acquire_async`. Raises ValueError for tokens not above 0,
        a timeout below 0, and for waiting without limit for more than the capacity.
        """
        waiter = self._enter(tokens, timeout)
        if isinstance(waiter, bool):
            return waiter
        try:
            waiter.first.result()
            wait = self._wait_of_first(waiter)
            if wait is not None:
                if wait:
                    self._clock.sleep(wait)
                waiter.granted = True
        finally:
            self._leave(waiter)
        return waiter.granted

    async def acquire_async(
        self,
        tokens: float = 1,
        timeout: float | None = 0.0,  # noqa: ASYNC109 - decides whether to wait at all, so no outer scope can stand in
    ) -> bool:
        """As `acquire`, but suspends the task. Cancelling it takes nothing."""
        waiter = self._enter(tokens, timeout)
        if isinstance(waiter, bool):
            return waiter
        try:
            if not waiter.first.done():
                await asyncio.wrap_future(waiter.first)
            wait = self._wait_of_first(waiter)
            if wait is not None:
                if wait:
                    await self._clock.sleep_async(wait)
                waiter.granted = True
        finally:
            self._leave(waiter)
        return waiter.granted

    def retry_after(self, tokens: float = 1) -> float:
        """Seconds until this many could be had, after all who wait already; infinite if over the capacity."""
        _check_tokens(tokens)
        with self._lock:
            self._refill()
            return self._wait_for(self._queued + tokens) if tokens <= self.capacity else math.inf

    def _enter(self, tokens: float, timeout: float | None) -> bool | _Waiter:
        """Grant or refuse at once where that can be told, else a place in the queue."""
        _check_tokens(tokens)
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be at least 0 or None, got {timeout!r}")
        if tokens > self.capacity:
            if timeout is None:
                raise ValueError(f"{tokens} tokens can never be had: the capacity is {self.capacity}")
            return False
        with self._lock:
            now = self._refill()
            wait = self._wait_for(self._queued + tokens)
            if wait == 0 and not self._queue:
                self._tokens -= tokens
                return True
            if timeout is not None and (timeout == 0 or wait > timeout + _ROUNDING_SECONDS):
                return False
            waiter = _Waiter(tokens, math.inf if timeout is None else now + timeout)
            self._queue.append(waiter)
            self._queued += tokens
            self._queue[0].call()
            return waiter

    def _wait_of_first(self, waiter: _Waiter) -> float | None:
        """Seconds the first in the queue has to wait; None: those ahead took so long that it is too late."""
        with self._lock:
            now = self._refill()
            wait = self._wait_for(waiter.tokens)
            return wait if now + wait <= waiter.deadline + _ROUNDING_SECONDS else None

    def _leave(self, waiter: _Waiter) -> None:
        """Take what was granted, and let the next one come first."""
        with self._lock:
            if waiter.granted:
                self._refill()
                self._tokens -= waiter.tokens
            self._queue.remove(waiter)
            # From 0 anew, so that rounding errors of fractional tokens do not pile up.
            self._queued = self._queued - waiter.tokens if self._queue else 0.0
            if self._queue:
                self._queue[0].call()

    def _refill(self) -> float:
        """Add what has flowed in since the last look; gives the time. Holds the lock."""
        now = self._clock.monotonic()
        self._tokens = min(self.capacity, self._tokens + (now - self._updated) * self.rate)
        self._updated = now
        return now

    def _wait_for(self, tokens: float) -> float:
        """Seconds until the bucket has had this many. Holds the lock."""
        wait = (tokens - self._tokens) / self.rate
        return wait if wait > _ROUNDING_SECONDS else 0.0


def _check_tokens(tokens: float) -> None:
    if not is_positive(tokens):
        raise ValueError(f"tokens must be a number above 0, got {tokens!r}")

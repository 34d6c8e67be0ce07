"""How many retries the gateway allows itself, so that an outage is not multiplied."""

import random
from collections import deque
from typing import Protocol

_WINDOW_SECONDS = 10


class RetrySettings(Protocol):
    """The settings of retries."""

    @property
    def max_retries(self) -> int:
        """Attempts beyond the first."""
        ...

    @property
    def initial_delay_seconds(self) -> float:
        """Wait before the first retry."""
        ...

    @property
    def max_delay_seconds(self) -> float:
        """Longest wait before a retry."""
        ...

    @property
    def backoff_factor(self) -> float:
        """Each wait is this many times the one before."""
        ...

    @property
    def jitter(self) -> bool:
        """Whether waits are spread at random."""
        ...

    @property
    def budget_percent(self) -> float:
        """Retries may be this share of all requests."""
        ...

    @property
    def budget_min_per_second(self) -> float:
        """Retries per second that are allowed whatever the share."""
        ...


class RetryBudget:
    """Allows retries up to a share of the requests of the last ten seconds, plus a few per second.

    `requests` is counted up by whoever takes a request on: one addition, nothing else, is paid by those that
    need no retry. `refused` counts what was not allowed. Second attempts that start before the first has
    failed are retries too.
    """

    __slots__ = ("_rng", "_second", "_spent", "_window", "refused", "requests", "retries", "settings")

    def __init__(self, settings: RetrySettings, rng: random.Random) -> None:
        self.settings = settings
        self.requests = 0
        self.retries = 0
        self.refused = 0
        self._rng = rng
        self._second = float("-inf")
        self._spent = 0
        self._window: deque[tuple[int, int]] = deque(maxlen=_WINDOW_SECONDS)

    def roll(self, now: float) -> None:
        """Let the window move on. Call it at least once a second; `now` is monotonic."""
        passed = now - self._second
        if passed < 1.0:
            return
        self._window.append((self.requests, self._spent))
        for _ in range(min(_WINDOW_SECONDS, int(min(passed, _WINDOW_SECONDS))) - 1):
            self._window.append((0, 0))
        self.requests = self._spent = 0
        self._second = now

    def allows(self, now: float) -> bool:
        """Whether a retry is within the budget."""
        self.roll(now)
        requests = self.requests + sum(each for each, _ in self._window)
        spent = self._spent + sum(each for _, each in self._window)
        settings = self.settings
        share = requests * settings.budget_percent / 100.0
        return spent + 1 <= share + settings.budget_min_per_second * _WINDOW_SECONDS

    def take(self, now: float) -> bool:
        """Spend one retry; False, and counted as refused, where the budget has none left."""
        if not self.allows(now):
            self.refused += 1
            return False
        self._spent += 1
        self.retries += 1
        return True

    def delay(self, retry: int) -> float:
        """Seconds to wait before retry number `retry` (from 0)."""
        settings = self.settings
        wait = settings.initial_delay_seconds
        if not wait:
            return 0.0
        for _ in range(retry):
            wait *= settings.backoff_factor
            if wait >= settings.max_delay_seconds:
                break
        wait = min(wait, settings.max_delay_seconds)
        return wait * self._rng.uniform(0.5, 1.0) if settings.jitter else wait

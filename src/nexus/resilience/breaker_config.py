"""The states of a circuit breaker, and when it opens, for how long, and what closes it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from nexus.resilience.environment import is_positive, read_int, read_seconds


class BreakerState(StrEnum):
    """What a breaker does with calls: let all through, none, or a few to see whether it works again."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """When a breaker opens, for how long, and what closes it.

    `failure_threshold` failures in a row open it. It stays open for `timeout_seconds`; where
    `first_timeout_seconds` is given, the first time for that long, and each time a half-open call fails
    `backoff_factor` times longer, up to `timeout_seconds`. Such growing waits are shortened by a random part
    of up to `jitter` (0.2: by at most a fifth), so that many breakers do not test the same thing at once.
    Half-open lets `max_half_open` calls run at a time, and `success_threshold` successes close it.

    Raises ValueError for a value that makes no sense.
    """

    failure_threshold: int = 5
    success_threshold: int = 2
    timeout_seconds: float = 30.0
    first_timeout_seconds: float | None = None
    backoff_factor: float = 2.0
    jitter: float = 0.2
    max_half_open: int = 1

    def __post_init__(self) -> None:
        for name in ("failure_threshold", "success_threshold", "max_half_open"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        for name in ("timeout_seconds", "first_timeout_seconds"):
            value = getattr(self, name)
            if value is not None and not is_positive(value):
                raise ValueError(f"{name} must be a number above 0, got {value!r}")
        if not 1 <= self.backoff_factor < float("inf"):
            raise ValueError(f"backoff_factor must be at least 1, got {self.backoff_factor!r}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be at least 0 and below 1, got {self.jitter!r}")

    @classmethod
    def from_env(cls, prefix: str, *, environ: Mapping[str, str] | None = None) -> Self:
        """Read `<prefix>_CB_FAILURE_THRESHOLD` and `<prefix>_CB_TIMEOUT_SECONDS`; the rest are defaults.

        Raises ValueError, naming the variable, for a bad value.
        """
        return cls(
            failure_threshold=read_int(f"{prefix}_CB_FAILURE_THRESHOLD", 5, minimum=1, environ=environ),
            timeout_seconds=read_seconds(f"{prefix}_CB_TIMEOUT_SECONDS", 30.0, environ=environ),
        )

    def wait(self, reopened: int, rng: random.Random) -> float:
        """Seconds to stay open after `reopened` failed recoveries in a row (0: opened from closed)."""
        if self.first_timeout_seconds is None:
            return self.timeout_seconds
        wait = min(self.first_timeout_seconds, self.timeout_seconds)
        for _ in range(reopened):
            wait *= self.backoff_factor
            if wait >= self.timeout_seconds or self.backoff_factor == 1:
                break
        return min(wait, self.timeout_seconds) * (1 - self.jitter * rng.random())

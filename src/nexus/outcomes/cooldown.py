"""Models that asked to be left alone: for how long, and how a rate limit is told from a failure."""

from collections.abc import Callable
from typing import Final

from nexus.outcomes.outcome import finite

TOO_MANY_REQUESTS: Final = 429
_CODES: Final = frozenset(
    {
        "rate_limit_exceeded",
        "rate_limit_error",
        "resource_exhausted",
        "resourceexhausted",
        "too_many_requests",
        "toomanyrequestsexception",
        "throttlingexception",
    }
)
FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 300.0


def is_rate_limit(status: int | None, code: str | None) -> bool:
    """Whether a failure is a rate limit: by its status or its structured code, never by its message."""
    return status == TOO_MANY_REQUESTS or (code is not None and code.lower() in _CODES)


class Cooldowns:
    """Until when each model is left out. The wait is what the model asked for, else 5 s, doubling to 300 s.

    The doubling starts again once a call has completed after the wait. Not safe under threads by itself.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waits: dict[str, tuple[float, int]] = {}

    def limited(self, model_id: str, retry_after: float | None) -> None:
        """The model refused a call; `retry_after` is in seconds."""
        until, streak = self._waits.get(model_id, (0.0, 0))
        asked = retry_after is not None and finite(retry_after)
        seconds = retry_after if asked and retry_after is not None else _growing(streak)
        self._waits[model_id] = (max(until, self._monotonic() + seconds), streak + 1)

    def answered(self, model_id: str) -> None:
        """The model answered. That ends its streak, but not a wait that is still running."""
        wait = self._waits.get(model_id)
        if wait is not None and wait[0] <= self._monotonic():
            del self._waits[model_id]

    def holds(self, model_id: str) -> bool:
        """Whether the model is left out now."""
        wait = self._waits.get(model_id)
        return wait is not None and self._monotonic() < wait[0]

    def __bool__(self) -> bool:
        return bool(self._waits)


def _growing(streak: int) -> float:
    # The exponent is bounded, so that a long streak stays a number.
    return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(streak, 10))

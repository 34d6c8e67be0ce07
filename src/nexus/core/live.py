"""The numbers of a backend that move with every attempt, and the spend of the month."""

from typing import Protocol

from nexus.core.learned import PairLearned


class Gate(Protocol):
    """The part of a circuit breaker that routing reads and the proxy drives."""

    is_closed: bool

    def permits(self) -> bool:
        """Whether a call would be let through now; reserves nothing."""
        ...

    def allow(self) -> bool:
        """Reserve a call. True must be followed by exactly one `record_*` or `release`."""
        ...

    def release(self) -> None:
        """Give a reserved call back without a verdict (it was cancelled or never made)."""
        ...

    def record_success(self) -> None:
        """The reserved call worked."""
        ...

    def record_failure(self) -> None:
        """The reserved call failed."""
        ...

    def retry_after(self) -> float:
        """Seconds until a call may be let through; 0 when one may now."""
        ...

    def end_wait(self) -> None:
        """Let a call through now if waiting is all that kept it."""
        ...


class BackendLive:
    """The moving numbers of one backend. Written by the proxy and its recorders, read by routing.

    `pending` counts attempts in flight, `latency_ms` is a smoothed time to answer (0: unknown),
    `blocked_until` is the monotonic time until which the backend asked to be left alone (429) and
    `throttles` how many 429s came in a row, `breaker` is the backend's own breaker (None: the fast path is
    off), and `gates` holds a gate per model that the hourly rule has excluded. `learned` is what attempts
    taught of each model here, and `recovered_at` when the backend last came back after being out.
    """

    __slots__ = (
        "blocked_until",
        "breaker",
        "gates",
        "latency_ms",
        "learned",
        "pending",
        "recovered_at",
        "requests",
        "throttles",
    )

    def __init__(self) -> None:
        self.pending = 0
        self.requests = 0
        self.latency_ms = 0.0
        self.blocked_until = 0.0
        self.throttles = 0
        self.breaker: Gate | None = None
        self.gates: dict[str, Gate] = {}
        self.learned: dict[str, PairLearned] = {}
        self.recovered_at = float("-inf")


class SpendMeter:
    """What this calendar month (UTC) has cost so far, in USD."""

    __slots__ = ("month", "month_usd")

    def __init__(self) -> None:
        self.month = ""
        self.month_usd = 0.0

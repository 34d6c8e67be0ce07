"""The settings of exchanges."""

from typing import Protocol

from msgspec import Struct


class TimeoutLimits(Protocol):
    """Bounds in seconds."""

    @property
    def first_token_seconds(self) -> float:
        """From sending an attempt to the first sign of an answer."""
        ...

    @property
    def stream_idle_seconds(self) -> float:
        """Between two pieces of an answer."""
        ...

    @property
    def total_seconds(self) -> float:
        """For the whole request, all attempts together."""
        ...


class ProxyLimits(Struct, frozen=True):
    """The settings of exchanges.

    Args:
        timeouts: the bounds in time.
        max_retries: attempts after the first, fallback models included.
        try_degraded: whether a candidate whose gate refuses is tried when there is no other.
        recheck_seconds: when the picture of the fleet may change at the earliest; what a refused client is
            told where nothing better is known.
    """

    timeouts: TimeoutLimits
    max_retries: int = 2
    try_degraded: bool = True
    recheck_seconds: float = 30.0

"""The story of `nexus demo`, told by what `/v1/stats` says of the unreliable backend. No I/O."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

SHOWN_SECONDS = 5.0
"""How long the exclusion is shown before the twin heals."""

AFTERMATH_SECONDS = 4.0
"""How long the recovered twin is shown before the end."""


class Phase(StrEnum):
    """A chapter of the story."""

    WARM_UP = "warm-up"
    EXCLUDED = "excluded"
    HEALED = "healed"
    RECOVERED = "recovered"
    OVER = "over"


CAPTIONS = {
    Phase.WARM_UP: "Requests go to all three in turn. The twin fails every second one; the gateway then "
    "tries another backend before the client has seen a byte.",
    Phase.EXCLUDED: "The twin's error rate reached the threshold: it gets no traffic, only single probes.",
    Phase.HEALED: "The twin has been repaired. The next probes will find out.",
    Phase.RECOVERED: "The probes succeeded: the twin is back, its old failures no longer count.",
    Phase.OVER: "That was all.",
}


class Standing(Struct, frozen=True):
    """What the gateway publishes of one backend. `state` is `quality.state`, `-` where there is none yet."""

    id: str
    status: str
    breaker: str
    state: str
    error_rate: float | None
    avg_ttft_ms: float | None
    requests: int
    pending: int
    excluded_reason: str

    @property
    def out(self) -> bool:
        """Whether it is kept from normal traffic."""
        return self.state in {"excluded", "probing"} or self.breaker in {"open", "half_open"}


def standings(stats: Mapping[str, Any]) -> tuple[Standing, ...]:
    """One entry per backend of a `/v1/stats` answer, in its order."""
    rows = []
    for backend in stats.get("backends", ()):
        quality = backend.get("quality") or {}
        rows.append(
            Standing(
                backend["id"],
                backend.get("status", "unknown"),
                backend.get("breaker", "closed"),
                quality.get("state", "-"),
                quality.get("error_rate_1h"),
                quality.get("avg_ttft_ms") or None,
                backend.get("requests", 0),
                backend.get("pending", 0),
                quality.get("excluded_reason") or "",
            )
        )
    return tuple(rows)


class Story:
    """Moves from phase to phase; `heal` is called once, when the exclusion has been shown long enough.

    `began` maps each phase reached to the seconds since the start, in order. `reason` is the exclusion's.
    """

    def __init__(self, twin: str, heal: Callable[[], None]) -> None:
        self.phase = Phase.WARM_UP
        self.began: dict[Phase, float] = {Phase.WARM_UP: 0.0}
        self.reason = ""
        self._twin = twin
        self._heal = heal

    @property
    def over(self) -> bool:
        """Whether the last phase has been shown."""
        return self.phase is Phase.OVER

    def observe(self, rows: tuple[Standing, ...], elapsed: float) -> bool:
        """Take note of the figures `elapsed` seconds after the start; whether a new phase begins."""
        twin = next((row for row in rows if row.id == self._twin), None)
        if twin is None:
            return False
        if twin.out and not self.reason:
            self.reason = twin.excluded_reason
        following = self._following(twin, elapsed - self.began[self.phase])
        if following is None:
            return False
        self.phase = following
        self.began[following] = elapsed
        if following is Phase.HEALED:
            self._heal()
        return True

    def _following(self, twin: Standing, shown: float) -> Phase | None:
        if self.phase is Phase.WARM_UP and twin.out:
            return Phase.EXCLUDED
        if self.phase is Phase.EXCLUDED and shown >= SHOWN_SECONDS:
            return Phase.HEALED
        if self.phase is Phase.HEALED and not twin.out:
            return Phase.RECOVERED
        if self.phase is Phase.RECOVERED and shown >= AFTERMATH_SECONDS:
            return Phase.OVER
        return None

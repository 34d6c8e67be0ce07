"""The queue: where requests wait while every backend that could take them is at its concurrency limit.

Two priorities, first come first served in each. Nobody polls: whoever frees a place calls `freed`, and the
first request in line that wants that backend gets it in the same moment.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from nexus.core.clock import Clock
from nexus.core.request import Priority, Request

# How many in line are asked per free place, so that a long queue of others can't hold everything up.
_MAX_ASKED = 32
_PACE_WEIGHT = 0.2
_LONGEST_ESTIMATE = 600.0
_SHORTEST_ESTIMATE = 1.0


class Waiter(Protocol):
    """A request in line."""

    request: Request

    def called(self) -> bool:
        """A place may be free: take it, or give up. True where it has left the queue, by `leave`."""
        ...

    def turned_away(self, waited: float) -> None:
        """The queue has closed, and the request is no longer in it."""
        ...


class _Place(Struct, frozen=True):
    """Since when a request waits, and for which backends."""

    since: float
    backends: frozenset[str]


class WaitingRoom:
    """Requests in line for a free place. `depth` is how many there are.

    Args:
        max_size: more do not wait; 0: nobody does.
        max_wait_seconds: how long each may wait; the waiter keeps the time itself.
        clock: measures the waits.
        on_leave: told (seconds waited, backend id or None) of everyone who leaves; None: without a place.
    """

    def __init__(
        self,
        *,
        max_size: int,
        max_wait_seconds: float,
        clock: Clock,
        on_leave: Callable[[float, str | None], object] = lambda *_: None,
    ) -> None:
        self.max_size = max_size
        self.max_wait_seconds = max_wait_seconds
        self.depth = 0
        self.closed = False
        self._clock = clock
        self._on_leave = on_leave
        self._high: dict[Waiter, _Place] = {}
        self._normal: dict[Waiter, _Place] = {}
        self._pace = 0.0
        self._last_grant = 0.0

    def enter(self, waiter: Waiter, backends: Iterable[str]) -> bool:
        """Get in line for any of these backends; False where the queue is full or closed."""
        if self.closed or self.depth >= self.max_size:
            return False
        now = self._clock.monotonic()
        if not self.depth:
            self._last_grant = now
        self._line(waiter)[waiter] = _Place(now, frozenset(backends))
        self.depth += 1
        return True

    def leave(self, waiter: Waiter, backend_id: str | None = None) -> float:
        """Get out of line, for this backend or for none; returns the seconds waited. 0.0 if not in line."""
        place = self._line(waiter).pop(waiter, None)
        if place is None:
            return 0.0
        self.depth -= 1
        now = self._clock.monotonic()
        if backend_id is not None:
            gap = now - self._last_grant
            self._pace = gap if self._pace == 0.0 else self._pace + _PACE_WEIGHT * (gap - self._pace)
            self._last_grant = now
        else:
            self._pace = max(self._pace, now - self._last_grant)
        self._on_leave(now - place.since, backend_id)
        return now - place.since

    def freed(self, backend_id: str) -> None:
        """An attempt on this backend has ended: its place goes to the first in line that can use it."""
        asked = 0
        for line in (self._high, self._normal):
            for waiter, place in list(line.items()):
                if backend_id not in place.backends or waiter not in line:
                    continue
                asked += 1
                if waiter.called() or asked >= _MAX_ASKED:
                    return

    def sweep(self) -> None:
        """Ask the first in line whether there is a place, as there may be for other reasons than an end.

        A backend has recovered or was added, or its limit has grown. Call it a few times a second.
        """
        if not self.depth:
            return
        for waiter in [*self._high, *self._normal][:_MAX_ASKED]:
            if waiter in self._line(waiter):
                waiter.called()

    def close(self) -> None:
        """Turn everybody away, now and from now on."""
        self.closed = True
        for line in (self._high, self._normal):
            for waiter in list(line):
                if waiter in line:
                    waiter.turned_away(self.leave(waiter))

    def estimate(self) -> float:
        """Seconds until one more in line might get a place, by the pace of late."""
        pace = self._pace
        if self.depth:
            # While nobody gets a place, the pace is at best what has passed since the last one.
            pace = max(pace, self._clock.monotonic() - self._last_grant)
        return min(_LONGEST_ESTIMATE, max(_SHORTEST_ESTIMATE, pace * (self.depth + 1)))

    def _line(self, waiter: Waiter) -> dict[Waiter, _Place]:
        return self._high if waiter.request.priority is Priority.HIGH else self._normal

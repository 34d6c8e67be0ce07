"""Virtual time: a heap of things to do. Nothing waits, so ten minutes of traffic take seconds."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

_NEW_YEAR_2026 = 1_767_225_600.0

Action = Callable[[Any], object]


class Engine:
    """The clock of a simulation and what is due when. It goes wherever the product takes a `Clock`."""

    __slots__ = ("_due", "_numbers", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Action, Any]] = []
        self._numbers = count()

    def at(self, moment: float, action: Action, argument: Any = None) -> None:
        """Call `action(argument)` at `moment`; of several at one moment, in the order they were asked for."""
        heappush(self._due, (moment, next(self._numbers), action, argument))

    def after(self, seconds: float, action: Action, argument: Any = None) -> None:
        """The same, counted from now."""
        heappush(self._due, (self.now + seconds, next(self._numbers), action, argument))

    def every(self, seconds: float, action: Callable[[], object], until: float) -> None:
        """Call `action()` at regular times up to `until`."""

        def turn(_: object) -> None:
            action()
            if self.now + seconds <= until:
                self.after(seconds, turn)

        self.after(seconds, turn)

    def run(self, until: float) -> None:
        """Do everything that is due up to `until`."""
        due = self._due
        while due and due[0][0] <= until:
            moment, _, action, argument = heappop(due)
            self.now = moment
            action(argument)
        self.now = until

    # --- the product's clock

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self.now

    def time(self) -> float:
        """Virtual Unix time."""
        return _NEW_YEAR_2026 + self.now

    def sleep(self, seconds: float) -> None:
        """Nothing in a simulation may block."""
        raise RuntimeError(f"a simulated gateway asked to block for {seconds} s")

    async def sleep_async(self, seconds: float) -> None:
        """Nothing in a simulation may wait for an event loop."""
        raise RuntimeError(f"a simulated gateway asked to wait for {seconds} s in an event loop")

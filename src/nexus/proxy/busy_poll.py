"""Busy polling: looks for the next request or answer a moment longer before the process goes to sleep.

To be woken takes a process 30 to 60 µs, more than a gateway needs for a request. While work comes in quick
succession it is cheaper for everybody to look for it than to be woken for it; `docs/performance.md` has the
figures.
"""

import asyncio

from nexus.core.clock import Clock

_ENOUGH = 8


class BusyPoll:
    """Keeps the loop looking while work comes in quick succession; it never begins where there are gaps.

    It begins after eight turns of work in a row, each within `seconds` of the one before, and ends with the
    first that does not come in that time. So it never takes more than `seconds` of processor time in vain for
    eight turns of work, and none while there is little to do.

    Args:
        loop: the event loop.
        clock: time.
        seconds: how long to look for more work; 0 never looks.
    """

    __slots__ = ("_in_a_row", "_loop", "_now", "_seconds", "_until", "is_looking")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, seconds: float) -> None:
        self._loop = loop
        self._now = clock.monotonic
        self._seconds = seconds
        self._in_a_row = 0
        self._until = 0.0
        self.is_looking = False

    def worked(self) -> None:
        """A turn of the loop had work to do. Call it once in each of them."""
        now = self._now()
        if now >= self._until:
            self._in_a_row = 0
        self._until = now + self._seconds
        self._in_a_row += 1
        if self._in_a_row > _ENOUGH and not self.is_looking:
            self.is_looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        # A loop that has something to call does not sleep: it asks the sockets, and comes back here.
        if self._now() < self._until:
            self._loop.call_soon(self._look)
        else:
            self.is_looking = False

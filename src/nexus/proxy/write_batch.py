"""Writes of one turn of the event loop, sent together at its end.

Writing to a socket wakes whoever waits at its other end, and that is the most expensive thing a proxy does.
Sent together, the first write of a batch wakes the other side and the rest find it awake; and what one
connection writes in several pieces goes out as one.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Writer(Protocol):
    """Something with writes to send."""

    def flush(self) -> None:
        """Send them."""
        ...


class WriteBatch:
    """Flushes writers when the events of this turn of the loop have been handled."""

    __slots__ = ("_loop", "_steps", "_writers")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writers: list[Writer] = []
        self._steps: list[Callable[[], None]] = []

    def add(self, writer: Writer) -> None:
        """Flush this writer at the end of the turn."""
        if not self._writers:
            self._loop.call_soon(self._flush)
        self._writers.append(writer)

    def then(self, step: Callable[[], None]) -> None:
        """Call `step` when what was added so far is on its way."""
        if self._writers:
            self._steps.append(step)
        else:
            self._loop.call_soon(step)

    def _flush(self) -> None:
        writers, self._writers = self._writers, []
        steps, self._steps = self._steps, []
        for step in steps:
            # Not at once: the loop sends what was written when it has called all that waits to be called now.
            self._loop.call_soon(step)
        for writer in writers:
            writer.flush()

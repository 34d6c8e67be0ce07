"""The order of work in one turn of the event loop: read all, take up what has arrived, write, keep the books.

Writing to a socket wakes whoever waits at its other end, and that is the most expensive thing a proxy does.
Sent together, the first write wakes the other side and the rest find it awake; and what one connection writes
in several pieces goes out as one. For the rest, work of one kind in a row finds its code and its tables in
the processor's caches; `docs/performance.md` says what that is worth.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from nexus.proxy.busy_poll import BusyPoll

_log: Final = logging.getLogger("nexus.proxy")

Step = Callable[[], None]


def _at_once(step: Step) -> None:
    step()


class Order:
    """When a request takes the steps that others of the same moment take, too; here each at once.

    `deliver` takes the step that passes on a whole answer that was looked at, `decide` the one that chooses a
    backend for a request that was read, `send` the one that sends an attempt that was decided on.
    """

    __slots__ = ("decide", "deliver", "send")

    def __init__(self) -> None:
        self.deliver: Callable[[Step], None] = _at_once
        self.decide: Callable[[Step], None] = _at_once
        self.send: Callable[[Step], None] = _at_once


class Turn(Order):
    """Collects the work of one turn of the loop, and does it when all that could be read has been read.

    What an answer or a request leads to (see `Order`) is done in the same turn, each kind together; outside
    of a turn it is done at once.

    What was asked and answered while the writes of one turn were on their way waits until its books are
    kept and the sockets were looked at once more: the more there is of one kind, the less each takes. What is
    to be written at once (a piece of a stream) does not wait for that, and takes the others along.

    A step that raises is logged; the others are done all the same.

    Args:
        loop: the event loop.
        busy_poll: told of each turn that had work; None: the loop sleeps as soon as it has none.
    """

    __slots__ = (
        "_answers",
        "_books",
        "_busy_poll",
        "_decisions",
        "_deliveries",
        "_due",
        "_kept",
        "_loop",
        "_requests",
        "_sendings",
        "_writes",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, busy_poll: BusyPoll | None = None) -> None:
        self._loop = loop
        self._busy_poll = busy_poll
        super().__init__()
        self._due = False
        self._answers: list[Step] = []
        self._deliveries: list[Step] = []
        self._requests: list[Step] = []
        self._decisions: list[Step] = []
        self._sendings: list[Step] = []
        self._writes: list[Step] = []
        self._books: list[Step] = []
        self._kept: list[Step] = []  # the books of the turn before, until they are kept

    def answered(self, step: Step) -> None:
        """Take an upstream's answer up with `step` once everything is read."""
        self._answers.append(step)
        if not self._due and not self._kept:
            self._schedule()

    def asked(self, step: Step) -> None:
        """Take a client's request up with `step`, after the answers."""
        self._requests.append(step)
        if not self._due and not self._kept:
            self._schedule()

    def write(self, step: Step) -> None:
        """Hand what was written to the socket with `step`, after all of these."""
        self._writes.append(step)
        if not self._due:
            self._schedule()

    def then(self, step: Step) -> None:
        """Call `step` when the writes are on their way."""
        self._books.append(step)
        if not self._due:
            self._schedule()

    def _schedule(self) -> None:
        self._due = True
        self._loop.call_soon(self._work)

    def _work(self) -> None:
        self.deliver, self.send = self._deliveries.append, self._sendings.append
        answers, self._answers = self._answers, []
        _do(answers)
        self.deliver = _at_once
        _do(self._deliveries)
        self.decide = self._decisions.append
        requests, self._requests = self._requests, []
        _do(requests)
        self.decide = _at_once
        _do(self._decisions)
        self.send = _at_once
        _do(self._sendings)
        for done in (self._deliveries, self._decisions, self._sendings):
            done.clear()
        # From here on whatever is added is for the next time.
        self._due = False
        writes, self._writes = self._writes, []
        if self._books:
            self._kept, self._books = self._books, []
            # Not at once: the loop sends what was written when it has called all that waits to be called now.
            self._loop.call_soon(self._keep)
        else:
            self._go_on()
        _do(writes)
        if self._busy_poll is not None:
            self._busy_poll.worked()

    def _keep(self) -> None:
        books, self._kept = self._kept, []
        _do(books)
        self._go_on()

    def _go_on(self) -> None:
        if (self._answers or self._requests) and not self._due:
            self._schedule()


def _do(steps: list[Step]) -> None:
    for step in steps:
        try:
            step()
        except Exception:  # noqa: BLE001  # reason: a fault of ours with one request must not cost the others theirs
            _log.exception("going on with a request failed")


def begin_now(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run what makes a transport of a socket, which waits once, for one future.

    A task would make the first step in the next turn of the loop.

    Raises:
        OSError: the first step failed.
    """
    waiter: asyncio.Future[object] = coroutine.send(None)
    waiter.add_done_callback(partial(_end, coroutine))


def _end(coroutine: Coroutine[Any, Any, object], _: asyncio.Future[object]) -> None:
    with contextlib.suppress(StopIteration):
        coroutine.send(None)

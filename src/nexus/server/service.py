"""The running process: listening, background work, and a shutdown that lets requests finish."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from msgspec import Struct

from nexus.core.clock import Clock
from nexus.server.edge import EdgeContext
from nexus.server.http import HttpConnection
from nexus.server.listening import Listener, bind, port_of

_log = logging.getLogger("nexus.server")
_DRAIN_POLL_SECONDS = 0.02


class Periodic(Struct, frozen=True):
    """Background work: `run` every `seconds` (a number, or asked before each wait).

    What it returns is awaited where it can be.
    """

    name: str
    seconds: float | Callable[[], float]
    run: Callable[[], Awaitable[object] | None]


class Service:
    """Serves clients until told to stop.

    Args:
        edge: the shared side of all connections.
        active: how many inference requests are not answered in full yet.
        clock: for background work and the grace time.
        grace_seconds: how long requests in flight may take to finish at the end.
        on_drain: called once when the shutdown begins.
        periodics: background work.
    """

    def __init__(
        self,
        *,
        edge: EdgeContext,
        active: Callable[[], int],
        clock: Clock,
        grace_seconds: float,
        on_drain: Callable[[], None],
        periodics: tuple[Periodic, ...],
    ) -> None:
        self._edge = edge
        self._active = active
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._on_drain = on_drain
        self._periodics = periodics
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._listener: Listener | None = None

    def listen(self, host: str, port: int, *, shared: bool = False) -> int:
        """Accept clients; returns the port, which matters for port 0. `shared`: with other processes.

        Raises:
            ListenError: the address is taken or not ours.
        """
        bound = bind(host, port, shared=shared)
        self._listener = Listener(bound, lambda: HttpConnection(self._edge))
        return port_of(bound)

    def also(self, work: Periodic) -> None:
        """More background work; only before `run`."""
        self._periodics = (*self._periodics, work)

    def stop(self) -> None:
        """Begin the shutdown; a second call ends at once."""
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    def heed_signals(self) -> None:
        """Let SIGTERM and SIGINT be calls of `stop`, also before `run`, which then ends at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop()`, then let what is in flight finish."""
        loop = asyncio.get_running_loop()
        self.heed_signals()
        tasks = [loop.create_task(self._repeat(each), name=each.name) for each in self._periodics]
        try:
            await self._stop.wait()
            await self._drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _drain(self) -> None:
        """Take no new requests, and wait for those in flight as long as the grace time allows."""
        edge = self._edge
        edge.draining = True
        self._on_drain()
        if self._listener is not None:
            self._listener.close()
        waiting = self._active()
        if waiting:
            _log.info("shutting down: %d requests are still being answered", waiting)
        for connection in list(edge.connections):
            connection.close_if_idle()
        deadline = self._clock.monotonic() + self._grace_seconds
        # An event would have to be kept up to date by every connection, for this one moment.
        while edge.connections and not self._stop_now.is_set() and self._clock.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        if edge.connections:
            _log.warning("cut off %d connections that had not finished", len(edge.connections))
        for connection in list(edge.connections):
            connection.abort_now()
        await asyncio.sleep(0)

    async def _repeat(self, work: Periodic) -> None:
        while True:
            seconds = work.seconds
            await self._clock.sleep_async(seconds if isinstance(seconds, int | float) else seconds())
            try:
                result = work.run()
                if result is not None:
                    await result
            except Exception:  # noqa: BLE001  # reason: one failed round must not end all later ones
                _log.exception("background work %r failed", work.name)

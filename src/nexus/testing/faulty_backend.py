"""A scriptable OpenAI-compatible upstream on a real socket, in a thread of its own."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from nexus.core.clock import Clock, SystemClock
from nexus.testing.answers import JSON, Answer, compact, model_lists
from nexus.testing.behaviours import Status
from nexus.testing.connection import ScriptedConnection, Tally
from nexus.testing.plans import Chance, Circle, Plan, Script
from nexus.testing.wire import Behaviour, ReceivedRequest, Step, reply

_GOOD = Answer()
_BACKLOG = 1024


class _Informed:
    """What a healthy server says of itself: health, version, models."""

    def __init__(self, models: tuple[str, ...]) -> None:
        self._models = models

    def steps(self, request: ReceivedRequest) -> tuple[Step, ...]:
        """The answer of the path that was asked for, or 404."""
        told = model_lists(request.path, self._models)
        if told is None:
            return tuple(Status(404).steps(request))
        return reply(200, JSON, compact(told))


class FaultyBackend:
    """An upstream that does what the test says. A context manager; usable from sync and async code.

    POST requests are answered by the script, by default `Answer()`; a single behaviour may be given at once.
    GET requests (`/v1/models`, `/health`, `/api/tags`, `/api/version`) are answered with `models` unless
    `probes` is set to a behaviour. Everything may be changed while it runs. `port` 0 takes any free port and
    keeps it over `stop` and `start`. `tls` makes it speak HTTPS.
    """

    def __init__(
        self,
        behaviour: Behaviour = _GOOD,
        *,
        models: tuple[str, ...] = ("m",),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.models = models
        self.probes: Behaviour | None = None
        self.port = port
        self._plan: Plan = Script(then=behaviour)
        self._tls = tls
        self._clock = clock or SystemClock()
        self._tally = Tally()
        self._connections: set[ScriptedConnection] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """The origin, without `/v1`."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def script(self, *behaviours: Behaviour, then: Behaviour = _GOOD) -> None:
        """Answer the next requests in this order, and every later one with `then`."""
        self._plan = Script(*behaviours, then=then)

    def always(self, behaviour: Behaviour) -> None:
        """Answer every request from now on like this."""
        self._plan = Script(then=behaviour)

    def alternate(self, *behaviours: Behaviour) -> None:
        """Answer with these in turn, for ever."""
        self._plan = Circle(*behaviours)

    def fail(
        self,
        ratio: float,
        *,
        seed: int = 0,
        failure: Behaviour | None = None,
        otherwise: Behaviour = _GOOD,
    ) -> None:
        """Answer with `failure` (default: status 500) by chance, `ratio` of the time.

        Raises:
            ValueError: `ratio` is not between 0 and 1.
        """
        self._plan = Chance(ratio, failure=failure or Status(500), otherwise=otherwise, seed=seed)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request received since the last `forget`, probes included, in order of arrival."""
        with self._tally.changed:
            return list(self._tally.requests)

    @property
    def posts(self) -> list[ReceivedRequest]:
        """The POST requests among `requests`."""
        return [request for request in self.requests if request.method == "POST"]

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return self._tally.open

    @property
    def accepted_connections(self) -> int:
        """Connections accepted so far."""
        return self._tally.accepted

    @property
    def active_requests(self) -> int:
        """Requests that are being answered now."""
        return self._tally.active

    @property
    def abandoned_requests(self) -> int:
        """Requests whose client went away before the answer was complete."""
        return self._tally.abandoned

    def forget(self) -> None:
        """Empty `requests`."""
        with self._tally.update():
            self._tally.requests.clear()

    def wait_until(self, condition: Callable[[Self], bool], timeout: float = 5.0) -> None:
        """Block until `condition(self)` holds; it is looked at again after every event on any connection.

        Raises:
            TimeoutError: it did not within `timeout` seconds.
        """
        with self._tally.changed:
            if self._tally.changed.wait_for(lambda: condition(self), timeout):
                return
        raise TimeoutError(
            f"not within {timeout:g} s: {len(self._tally.requests)} requests, {self._tally.open} open "
            f"connections, {self._tally.active} active, {self._tally.abandoned} abandoned"
        )

    async def wait_until_async(self, condition: Callable[[Self], bool], timeout: float = 5.0) -> None:  # noqa: ASYNC109 - the sync twin's parameter
        """`wait_until` without blocking the event loop."""
        await asyncio.to_thread(self.wait_until, condition, timeout)

    def close_idle(self) -> None:
        """Close the connections on which nothing is being answered, as a server's keep-alive limit does."""
        self._call(lambda: self._end([peer for peer in self._connections if not peer.busy], reset=False))

    def reset_all(self) -> None:
        """Reset every connection, as a crash does; the port goes on listening."""
        self._call(lambda: self._end(list(self._connections), reset=True))

    def start(self) -> None:
        """Listen; from now on the port answers.

        Raises:
            OSError: the port is taken.
        """
        if self._thread is not None:
            return
        listener = socket.create_server(("127.0.0.1", self.port), backlog=_BACKLOG)
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)),
            name=f"faulty-backend-{self.port}",
            daemon=True,
        )
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Reset every connection and refuse new ones, as a killed process does. `start` goes on."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = self._stopping = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self._tally.errors:
            raise self._tally.errors[0]

    def _choose(self, request: ReceivedRequest) -> Behaviour:
        if request.method == "POST":
            return self._plan.next()
        return self.probes or _Informed(self.models)

    def _end(self, peers: list[ScriptedConnection], *, reset: bool) -> None:
        for peer in peers:
            peer.end(reset=reset)

    def _call(self, work: Callable[[], object]) -> None:
        """Run `work` in the server's thread and wait for it."""
        if self._loop is None:
            return
        done = threading.Event()

        def run() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait()

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await loop.create_server(
            lambda: ScriptedConnection(self._choose, self._tally, self._clock, self._connections),
            sock=listener,
            ssl=self._tls,
        )
        self._loop = loop
        ready.set()
        await self._stopping.wait()
        server.close()
        peers = list(self._connections)
        self._end(peers, reset=True)
        for peer in peers:
            await peer.stopped()

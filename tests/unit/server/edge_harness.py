"""A real socket in front of the HTTP edge, with a handler that tests command."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from nexus.proxy.downstream import Upflow
from nexus.proxy.turn import Turn
from nexus.server.edge import ClientConnection, EdgeContext, Incoming
from nexus.server.edge_records import EdgeLimits, Unrouted
from nexus.server.http import HttpConnection
from nexus.server.trace import TraceIds
from nexus.testing import ManualClock


class Recorder(Upflow):
    """Remembers what the connection told it."""

    def __init__(self) -> None:
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()
        self.gone = asyncio.Event()

    def pause(self) -> None:
        self.paused.set()

    def resume(self) -> None:
        self.resumed.set()

    def client_gone(self) -> None:
        self.gone.set()


class Harness:
    """The edge on a free port. `seen` are the requests that reached a handler, in order."""

    def __init__(self, *, api_keys: tuple[str, ...] = (), max_body_bytes: int = 1000) -> None:
        self.clock = ManualClock()
        self.seen: list[Incoming] = []
        self.arrived = asyncio.Event()
        self.unrouted: list[Unrouted] = []
        self.held: list[ClientConnection] = []
        self.hold = False
        self.fault: Exception | None = None
        self.upflow = Recorder()
        self.context = EdgeContext(
            clock=self.clock,
            turn=Turn(asyncio.get_running_loop()),
            limits=EdgeLimits(max_body_bytes, 10.0, 60.0),
            posts={b"/v1/chat/completions": self._handle},
            control=self._control,
            api_keys=api_keys,
            unrouted=self.unrouted.append,
            trace_ids=TraceIds("t"),
        )
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    def _handle(self, _: EdgeContext, connection: ClientConnection, incoming: Incoming) -> None:
        self.seen.append(incoming)
        self.arrived.set()
        if self.fault is not None:
            raise self.fault
        if self.hold:
            self.held.append(connection)
            connection.serve_with(self.upflow)
        else:
            connection.reply(200, b"X-Seen: yes\r\n", b"got %d" % len(incoming.body))

    def _control(self, _: EdgeContext, connection: ClientConnection, incoming: Incoming) -> None:
        self.seen.append(incoming)
        connection.reply(200, b"", incoming.head.path)

    async def talk(self, data: bytes) -> bytes:
        """Send bytes, close the sending side only when the server closed, return all it said."""
        reader, writer = await self.connect()
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 5)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    def reading_one(self) -> bool:
        """Whether some connection is in the middle of a request."""
        return any(isinstance(each, HttpConnection) and each.reading for each in self.context.connections)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until something is so; the test's own time limit bounds it."""
        while not condition():  # noqa: ASYNC110  # the edge has no event for everything a test looks at
            await asyncio.sleep(0)

    async def close_clients(self) -> None:
        """Close every connection made here."""
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def edge(*, api_keys: tuple[str, ...] = (), max_body_bytes: int = 1000) -> AsyncIterator[Harness]:
    """A running edge."""
    harness = Harness(api_keys=api_keys, max_body_bytes=max_body_bytes)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpConnection(harness.context), "127.0.0.1", 0)
    harness.port = server.sockets[0].getsockname()[1]
    try:
        yield harness
    finally:
        server.close()
        await harness.close_clients()
        for connection in list(harness.context.connections):
            connection.abort()
        await harness.until(lambda: not harness.context.connections)
        await server.wait_closed()

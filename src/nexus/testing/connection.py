"""One connection of a scripted upstream: reads requests, and does step by step what their behaviours say."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httptools

from nexus.core.clock import Clock
from nexus.testing.wire import (
    Behaviour,
    Forward,
    Hangup,
    Pause,
    ReceivedRequest,
    Stall,
    Step,
    Wire,
    on_the_wire,
)

_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_RELAY_BYTES = 65536

T = TypeVar("T")


class Tally:
    """What a server has seen. Written by its thread, read by any; `changed` is notified at each step."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.requests: list[ReceivedRequest] = []
        self.errors: list[Exception] = []
        self.accepted = 0
        self.open = 0
        self.active = 0
        self.abandoned = 0

    @contextmanager
    def update(self) -> Iterator[None]:
        """Change the numbers inside the block; whoever waits for a change looks again after it."""
        with self.changed:
            yield
            self.changed.notify_all()


class _GoneError(Exception):
    """The client went away, or a behaviour ended the connection: the exchange is over."""


class ScriptedConnection(asyncio.Protocol):
    """Answers the requests of one connection one after the other; `choose` names the behaviour of each."""

    def __init__(
        self,
        choose: Callable[[ReceivedRequest], Behaviour],
        tally: Tally,
        clock: Clock,
        peers: set["ScriptedConnection"],
    ) -> None:
        self._choose = choose
        self._tally = tally
        self._clock = clock
        self._peers = peers
        self._parser = httptools.HttpRequestParser(self)
        self._queue: asyncio.Queue[ReceivedRequest] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._number = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it and start to serve."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a scripted connection needs a stream transport")
        self._transport = transport
        # asyncio does this only for sockets whose protocol number is set, which an accepted one's is not.
        # Without it a piece waits 40 ms for the acknowledgement of the one before.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._tally.update():
            self._tally.accepted += 1
            self._tally.open += 1
            self._number = self._tally.accepted
        self._peers.add(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended makes no difference
        """Count it and stop whatever was being sent."""
        self._gone.set()
        self._writable.set()
        self._peers.discard(self)
        with self._tally.update():
            self._tally.open -= 1

    def pause_writing(self) -> None:
        """The client reads slowly: wait with the next write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse; what is no HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()

    def on_message_begin(self) -> None:
        """A request starts."""
        self._url = b""
        self._headers = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; of equal names the last stays."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The request is whole: it is recorded and waits for its turn."""
        target = urlsplit(self._url.decode("latin-1"))
        request = ReceivedRequest(
            (self._parser.get_method() or b"").decode("latin-1"),
            target.path,
            target.query,
            self._headers,
            bytes(self._body),
            self._number,
        )
        self._queue.put_nowait(request)
        with self._tally.update():
            self._tally.requests.append(request)

    def end(self, *, reset: bool = False) -> None:
        """Close now; `reset` sends RST instead of FIN. A connection that is gone already stays gone."""
        if self._gone.is_set():
            return
        if reset:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            self._transport.abort()
        else:
            self._transport.close()

    async def stopped(self) -> None:
        """Wait until nothing of this connection runs any more."""
        await self._task

    async def _serve(self) -> None:
        try:
            while True:
                request = await self._unless_gone(self._queue.get())
                await self._exchange(request)
        except _GoneError:
            return
        except Exception as error:  # noqa: BLE001 - a behaviour's own mistake; it is raised where the test can see it
            with self._tally.update():
                self._tally.errors.append(error)
            self._transport.abort()

    async def _exchange(self, request: ReceivedRequest) -> None:
        self.busy = True
        with self._tally.update():
            self._tally.active += 1
        finished = False
        try:
            for step in on_the_wire(self._choose(request).steps(request)):
                if isinstance(step, Hangup):
                    finished = True
                await self._do(step, request)
            finished = True
        finally:
            self.busy = False
            with self._tally.update():
                self._tally.active -= 1
                if not finished and self._gone.is_set():
                    self._tally.abandoned += 1

    async def _do(self, step: Step, request: ReceivedRequest) -> None:
        if isinstance(step, Wire):
            await self._write(step.data)
        elif isinstance(step, Pause):
            await self._unless_gone(self._clock.sleep_async(step.seconds))
        elif isinstance(step, Stall):
            await self._gone.wait()
            raise _GoneError
        elif isinstance(step, Hangup):
            self.end(reset=step.reset)
            raise _GoneError
        elif isinstance(step, Forward):
            await self._relay(step, request)
            raise _GoneError

    async def _write(self, data: bytes) -> None:
        if self._gone.is_set():
            raise _GoneError
        self._transport.write(data)
        await self._writable.wait()

    async def _relay(self, to: Forward, request: ReceivedRequest) -> None:
        try:
            reader, writer = await asyncio.open_connection(to.host, to.port)
        except OSError:
            self.end(reset=True)
            return
        try:
            writer.write(_request_bytes(request, to))
            while data := await self._unless_gone(reader.read(_RELAY_BYTES)):
                await self._write(data)
            self.end()
        except ConnectionError:
            self.end(reset=True)
        finally:
            writer.close()

    async def _unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled when the connection ends first."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _GoneError
            return task.result()
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()


def _request_bytes(request: ReceivedRequest, to: Forward) -> bytes:
    target = f"{request.path}?{request.query}" if request.query else request.path
    lines = [
        f"{request.method} {target} HTTP/1.1",
        f"Host: {to.host}:{to.port}",
        "Connection: close",
        f"Content-Length: {len(request.body)}",
        f"Content-Type: {request.headers.get('content-type', 'application/json')}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + request.body

"""The worker's end of its line to the supervisor."""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

from nexus.app.workers.messages import Frames, FramingError, Message, encode

_log = logging.getLogger("nexus.app.workers")
_READ_BYTES = 65_536


class LineClosedError(ConnectionError):
    """The other end is gone."""


class Link(asyncio.Protocol):
    """Sends and receives messages. What comes before `deliver_to` waits; `lost` is called once at the end."""

    def __init__(self, waiting: deque[Message], frames: Frames) -> None:
        self._waiting = waiting
        self._frames = frames
        self._deliver: Callable[[Message], None] | None = None
        self._lost: Callable[[], None] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._arrived = asyncio.Event()
        self._is_lost = False

    def send(self, message: Message) -> None:
        """Send a message; nothing happens where the other end is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    async def next(self) -> Message:
        """The next message, before `deliver_to`.

        Raises:
            LineClosedError: there will be none.
        """
        while not self._waiting:
            if self._is_lost:
                raise LineClosedError("the supervisor is gone")
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    def deliver_to(self, deliver: Callable[[Message], None], lost: Callable[[], None]) -> None:
        """Hand every message to `deliver` from now on, those that wait first."""
        while self._waiting:
            deliver(self._waiting.popleft())
        self._deliver, self._lost = deliver, lost
        if self._is_lost:
            lost()

    def close(self) -> None:
        """Send what is left and close."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is open."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in messages."""
        try:
            for message in self._frames.feed(data):
                self._take(message)
        except FramingError:
            _log.exception("the supervisor can't be understood")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is gone."""
        del exc
        self._is_lost = True
        self._arrived.set()
        if self._lost is not None:
            self._lost()

    def _take(self, message: Message) -> None:
        if self._deliver is not None:
            self._deliver(message)
        else:
            self._waiting.append(message)
            self._arrived.set()


def first_message(sock: socket.socket) -> tuple[Message, deque[Message], Frames]:
    """Wait for the first message, with what came along with it. Blocks.

    Raises:
        LineClosedError: there is none.
    """
    frames = Frames()
    arrived: deque[Message] = deque()
    while not arrived:
        data = sock.recv(_READ_BYTES)
        if not data:
            raise LineClosedError("the supervisor is gone")
        arrived.extend(frames.feed(data))
    return arrived.popleft(), arrived, frames


async def open_link(sock: socket.socket, waiting: deque[Message], frames: Frames) -> Link:
    """Take over a connected socket."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(lambda: Link(waiting, frames), sock=sock)
    return link

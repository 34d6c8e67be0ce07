"""A model server that streams at the pace of a model: so many tokens a second to every client.

    python -m bench.paced_mock PORT TOKENS TOKENS_PER_SECOND

The first token goes out as soon as the request is read. A wheel of one-millisecond slots decides when each
stream gets its next one, so that a thousand streams are spread evenly and cost one timer.
"""

import asyncio
import sys
from collections import deque
from time import monotonic
from typing import cast

import uvloop

from bench.stream_mock import MODELS, answer
from nexus.server.listening import Listener, bind

_TICK_SECONDS = 0.001


class Wheel:
    """Calls each stream back once every `slots` ticks."""

    def __init__(self, slots: int) -> None:
        self._slots: deque[list[Stream]] = deque([] for _ in range(slots))
        self._next = monotonic()

    def add(self, stream: "Stream") -> None:
        """Call it one turn of the wheel from now."""
        self._slots[-1].append(stream)

    def tick(self) -> None:
        """Catch up with the time that has passed."""
        while self._next <= monotonic():
            self._next += _TICK_SECONDS
            due = self._slots.popleft()
            self._slots.append([stream for stream in due if stream.send_next()])
        asyncio.get_running_loop().call_later(_TICK_SECONDS, self.tick)


class Stream(asyncio.Protocol):
    """One connection and how far its answer has come."""

    transport: asyncio.Transport

    def __init__(self, wheel: Wheel, pieces: list[bytes]) -> None:
        self._wheel = wheel
        self._pieces = pieces
        self._position = 0
        self._inbox = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer once the request is whole."""
        self._inbox += data
        head, found, body = self._inbox.partition(b"\r\n\r\n")
        lower = head.lower()
        _, has_length, rest = lower.partition(b"content-length:")
        if not found or (has_length and len(body) < int(rest.partition(b"\r\n")[0])):
            return
        self._inbox = b""
        if lower.startswith(b"post"):
            self._position = 0
            if self.send_next():
                self._wheel.add(self)
        else:
            fixed = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            self.transport.write(fixed % (len(MODELS), MODELS))

    def send_next(self) -> bool:
        """Send the next token; whether there are more."""
        if self.transport.is_closing():
            return False
        self.transport.write(self._pieces[self._position])
        self._position += 1
        return self._position < len(self._pieces)


async def _serve(port: int, tokens: int, per_second: int) -> None:
    wheel = Wheel(round(1 / per_second / _TICK_SECONDS))
    pieces = answer(tokens)
    Listener(bind("127.0.0.1", port, shared=False), lambda: Stream(wheel, pieces))
    wheel.tick()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(*(int(argument) for argument in sys.argv[1:4])))

"""Clients that ask at given moments, whatever became of the requests before, and write down what they got."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from time import monotonic
from typing import cast

import httptools
import msgspec
from msgspec import Struct

from bench.failover_backends import LAST_WORD, MODEL

PATIENCE_SECONDS = 10.0
_OK = 200
_BODY = msgspec.json.encode(
    {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Who are you?"}]}
)
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer none\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class End(StrEnum):
    """How a request ended for its client. All but the first are failures."""

    WHOLE = "whole"
    CUT = "cut"
    """It broke off after the first token: no gateway could have taken that back."""
    FAILED = "failed"
    """No token: an error, an empty answer or a lost connection."""
    LATE = "late"
    """The client gave up."""


class Seen(Struct, frozen=True):
    """One request as its client saw it. Seconds; `at` since the start, `backend` -1 where nobody answered."""

    at: float
    end: End
    ttft: float
    backend: int


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    delta: _Delta | None = None


class _Event(Struct):
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Event).decode


class _Asking(asyncio.Protocol):
    """One request on a connection of its own."""

    def __init__(self, done: "asyncio.Future[None]") -> None:
        self.done = done
        self.text = ""
        self.first_at = 0.0
        self._rest = b""
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish()

    def on_body(self, data: bytes) -> None:
        if self._parser.get_status_code() != _OK:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                self._read(line[6:])

    def _read(self, event: bytes) -> None:
        for choice in _decode(event).choices:
            content = choice.delta.content if choice.delta else None
            if content:
                self.first_at = self.first_at or monotonic()
                self.text += content

    def on_message_complete(self) -> None:
        self._finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def ask(port: int, began: float) -> Seen:
    """One request; `began` is the start of the run on the monotonic clock."""
    loop = asyncio.get_running_loop()
    sent_at = monotonic()
    asking = _Asking(loop.create_future())
    late = False
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            transport, _ = await loop.create_connection(lambda: asking, "127.0.0.1", port)
            try:
                await asking.done
            finally:
                transport.abort()
    except TimeoutError:
        late = True
    except OSError:
        pass  # nobody listens: the empty answer says so
    ttft = asking.first_at - sent_at if asking.first_at else 0.0
    return Seen(sent_at - began, end_of(asking.text, late=late), ttft, backend_of(asking.text))


def end_of(text: str, *, late: bool) -> End:
    """How it ended, judged by what came."""
    if text.endswith(LAST_WORD):
        return End.WHOLE
    if late:
        return End.LATE
    return End.CUT if text else End.FAILED


def backend_of(text: str) -> int:
    """Who answered, -1 where the answer does not say."""
    words = text.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else -1


async def ask_all(port: int, moments: Sequence[float], began: float) -> list[Seen]:
    """A request at each of these moments; they do not wait for each other."""

    async def one(moment: float) -> Seen:
        await asyncio.sleep(began + moment - monotonic())
        return await ask(port, began)

    return list(await asyncio.gather(*(one(moment) for moment in moments)))

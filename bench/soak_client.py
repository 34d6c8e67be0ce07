"""A client that keeps its connection and notices everything that is not one answer to one request."""

import asyncio
from typing import cast

import httptools
import msgspec
from msgspec import Struct

ANSWER_SECONDS = 60.0


class Reply(Struct):
    """One answer. `status` 0: there was none. `whole`: complete, and a stream had its `[DONE]`."""

    status: int = 0
    trace_id: str = ""
    attempts: int = 0
    code: str = ""
    text: str = ""
    whole: bool = False


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Delta | None = None
    delta: _Delta | None = None


class _Error(Struct):
    code: str | None = None


class _Document(Struct):
    choices: list[_Choice] = []
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Document).decode


class _Protocol(asyncio.Protocol):
    """Reads answers; whatever comes while no request is open is counted as surplus."""

    def __init__(self) -> None:
        self.surplus = 0
        self.waiting: asyncio.Future[Reply] | None = None
        self._reset()

    def _reset(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.reply = Reply()
        self.body = bytearray()
        self.streamed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, data: bytes) -> asyncio.Future[Reply]:
        self._reset()
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.waiting

    def data_received(self, data: bytes) -> None:
        if self.waiting is None or self.waiting.done():
            self.surplus += 1
            return
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"x-nexus-trace-id":
                self.reply.trace_id = value.decode()
            case b"x-nexus-attempts":
                self.reply.attempts = int(value)
            case b"content-type":
                self.streamed = value.startswith(b"text/event-stream")

    def on_headers_complete(self) -> None:
        self.reply.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self._finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._finish()

    def _finish(self) -> None:
        if self.waiting is None or self.waiting.done():
            return
        body = bytes(self.body)
        if self.streamed:
            events = [line[6:] for line in body.split(b"\n\n") if line.startswith(b"data: ")]
            self.reply.whole = bool(events) and events[-1] == b"[DONE]"
            self._read([event for event in events if event != b"[DONE]"])
        elif body:
            self._read([body])
            self.reply.whole = True
        self.waiting.set_result(self.reply)

    def _read(self, documents: list[bytes]) -> None:
        for document in documents:
            found = _decode(document)
            if found.error is not None:
                self.reply.code = found.error.code or ""
            for choice in found.choices:
                part = choice.message or choice.delta
                self.reply.text += (part.content or "") if part else ""


class Connection:
    """One client's connection to the gateway, opened again where it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._protocol: _Protocol | None = None
        self._surplus = 0

    async def ask(self, text: str, *, stream: bool) -> Reply:
        """Send one chat request and wait for all of its answer."""
        protocol = self._protocol
        if protocol is None or protocol.transport.is_closing():
            self.close()
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_connection(_Protocol, "127.0.0.1", self._port)
            self._protocol = protocol
        body = msgspec.json.encode(
            {"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}
        )
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await protocol.send(head.encode() + body)
        except TimeoutError:
            return Reply()

    def close(self) -> int:
        """Close it; how many pieces came that nobody had asked for."""
        if self._protocol is not None:
            self._surplus += self._protocol.surplus
            self._protocol.transport.abort()
            self._protocol = None
        return self._surplus

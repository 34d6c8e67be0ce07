"""Real sockets with canned answers, standing in for other people's model servers, and a small client."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from nexus.backends.fetch import FetchError, FetchResult

Answer = tuple[int, bytes]


class CannedServer:
    """Answers each path with what the test put into `answers`; other paths get a 404.

    A path in `silent` is accepted and never answered. `requests` lists the paths asked for, `heads` the
    request heads.
    """

    def __init__(self, answers: dict[str, Answer] | None = None) -> None:
        self.answers = answers or {}
        self.silent: set[str] = set()
        self.requests: list[str] = []
        self.heads: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split()[1]
            self.requests.append(path)
            self.heads.append(head)
            if path in self.silent:
                await reader.read()
                return
            status, body = self.answers.get(path, (404, b'{"error":"no such path"}'))
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
            )
            writer.write(body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client went away, as a cancelled check does.
            return
        finally:
            self._writers.discard(writer)
            writer.close()


async def fetch(url: str, headers: tuple[tuple[str, str], ...], timeout_seconds: float) -> FetchResult:
    """A GET over a connection of its own."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _get(url, headers)
    except TimeoutError:
        raise FetchError(f"no answer within {timeout_seconds:g} s") from None
    except (OSError, asyncio.IncompleteReadError) as error:
        raise FetchError(f"no connection: {error}") from None


async def _get(url: str, headers: tuple[tuple[str, str], ...]) -> FetchResult:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return FetchResult(int(head.split()[1]), await reader.read())
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop work until the condition holds; a test that waits in vain fails after 5 s."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is set by code that knows of no event
            await asyncio.sleep(0)


def models_body(*names: str) -> bytes:
    """An OpenAI list of these models."""
    return b'{"object":"list","data":[' + b",".join(b'{"id":"%b"}' % each.encode() for each in names) + b"]}"

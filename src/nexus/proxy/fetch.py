"""Small GET requests through the gateway's own pool: what health checks and discovery ask with."""

import asyncio
from urllib.parse import urlsplit

from nexus.backends.fetch import FetchError, FetchResult
from nexus.core.outcome import FailureKind
from nexus.proxy.calling import Caller
from nexus.proxy.headers import ResponseHead
from nexus.proxy.origin import Origin

_MAX_BODY_BYTES = 4 * 1024 * 1024


class PoolFetch:
    """`await fetch(url, headers, timeout_seconds)`; see `nexus.backends.fetch.Fetch`."""

    def __init__(self, pool: Caller) -> None:
        self._pool = pool

    async def __call__(
        self, url: str, headers: tuple[tuple[str, str], ...], timeout_seconds: float
    ) -> FetchResult:
        """The answer to a GET.

        Raises:
            FetchError: no complete answer in time.
        """
        parts = urlsplit(url)
        origin = Origin(f"{parts.scheme}://{parts.netloc}", headers)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        collector = _Collector(asyncio.get_running_loop().create_future())
        call = self._pool.send(origin, origin.get(path), collector)
        try:
            async with asyncio.timeout(timeout_seconds):
                found = await collector.answer
        except TimeoutError:
            raise FetchError(f"no answer within {timeout_seconds:g} s") from None
        finally:
            call.cancel()
        if isinstance(found, str):
            raise FetchError(found)
        return found


class _Collector:
    """Gathers one answer (a `CallHandler`), or says why there is none.

    A future that raised would hold its exception, which holds the frames that hold the future.
    """

    def __init__(self, answer: asyncio.Future[FetchResult | str]) -> None:
        self.answer = answer
        self._status = 0
        self._body: list[bytes] = []
        self._size = 0

    def on_head(self, head: ResponseHead) -> None:
        self._status = head.status

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > _MAX_BODY_BYTES:
            self.on_failure(FailureKind.PROTOCOL, f"the answer is larger than {_MAX_BODY_BYTES} bytes")
            return
        self._body.append(data)

    def on_read_done(self) -> None:
        pass

    def on_end(self) -> None:
        if not self.answer.done():
            self.answer.set_result(FetchResult(self._status, b"".join(self._body)))

    def on_failure(self, kind: FailureKind, message: str) -> None:  # noqa: ARG002  # the interface
        if not self.answer.done():
            self.answer.set_result(message)

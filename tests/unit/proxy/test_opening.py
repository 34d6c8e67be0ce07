"""How connections to upstreams are opened, and what is said when they can't be."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nexus.core.outcome import FailureKind
from nexus.proxy.headers import ResponseHead
from nexus.proxy.origin import Origin
from nexus.proxy.turn import Turn
from nexus.proxy.upstream import UpstreamPool
from nexus.testing import FaultyBackend, ManualClock
from nexus.testing.gateway_process import free_port

SECONDS = 10.0
REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


class Caller:
    """Notes how a call goes."""

    def __init__(self) -> None:
        self.status = 0
        self._end: asyncio.Future[tuple[FailureKind, str] | None] = asyncio.get_running_loop().create_future()

    def on_head(self, head: ResponseHead) -> None:
        self.status = head.status

    def on_body(self, data: bytes) -> None:
        pass

    def on_read_done(self) -> None:
        pass

    def on_end(self) -> None:
        self._end.set_result(None)

    def on_failure(self, kind: FailureKind, message: str) -> None:
        self._end.set_result((kind, message))

    @property
    def is_told(self) -> bool:
        return self._end.done()

    async def end(self) -> None:
        async with asyncio.timeout(SECONDS):
            assert await self._end is None

    async def failure(self) -> tuple[FailureKind, str]:
        async with asyncio.timeout(SECONDS):
            failure = await self._end
        assert failure is not None
        return failure


@pytest.fixture
async def pool() -> Any:
    loop = asyncio.get_running_loop()
    pool = UpstreamPool(loop, Turn(loop), ManualClock(), connect_seconds=SECONDS)
    yield pool
    pool.close()
    await asyncio.sleep(0)


@contextmanager
def deaf() -> Iterator[socket.socket]:
    """A listener whose backlog is full: whoever comes now waits for somebody to be accepted."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        yield listener


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080/v1", (socket.AF_INET, ("127.0.0.1", 8080))),
        ("http://[::1]", (socket.AF_INET6, ("::1", 80, 0, 0))),
        ("http://localhost:8080", None),
        ("http://gpu box.example", None),
        ("http://" + "a" * 70 + ".example", None),
        ("https://127.0.0.1", None),
    ],
)
def test_which_addresses_need_no_task(url, address):
    assert Origin(url).address == address


async def test_a_request_goes_out_in_the_turn_after_it_was_asked_for(pool):
    """However long the turns of the loop are, a new connection costs one."""
    with FaultyBackend() as backend:
        caller = Caller()
        call = pool.send(Origin(backend.url), REQUEST, caller)
        await asyncio.sleep(0)
        assert call.connection.transport.get_write_buffer_size() == 0, "it is sent"
        await caller.end()
        assert caller.status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_listens(pool, host):
    port = free_port()
    caller = Caller()
    pool.send(Origin(f"http://{host}:{port}"), REQUEST, caller)
    assert not caller.is_told
    kind, message = await caller.failure()
    assert kind is FailureKind.CONNECT
    assert message.startswith(f"no connection to {host}:{port}: ")
    assert "refused" in message.lower()
    assert pool.open_connections == 0


async def test_where_no_connection_may_go(pool):
    """The system says no at once; the handler is told later all the same."""
    caller = Caller()
    pool.send(Origin("http://255.255.255.255:9"), REQUEST, caller)
    assert not caller.is_told
    kind, message = await caller.failure()
    assert kind is FailureKind.CONNECT
    assert message.startswith("no connection to 255.255.255.255:9: ")


async def test_nobody_takes_the_connection_in_time(pool):
    pool.opener.connect_seconds = 0.05
    with deaf() as listener:
        origin = Origin(url_of(listener))
        caller = Caller()
        pool.send(origin, REQUEST, caller)
        assert await caller.failure() == (
            FailureKind.CONNECT_TIMEOUT,
            f"no connection to {origin.authority} within 0.05 s",
        )
        assert not pool.is_connected(origin)
    assert pool.open_connections == 0


async def test_a_connection_that_is_taken_late_carries_its_request(pool):
    """The system tries again by itself after a second; until then nobody is known to listen there."""
    with deaf() as listener:
        origin = Origin(url_of(listener))
        caller = Caller()
        call = pool.send(origin, REQUEST, caller)
        await asyncio.sleep(0)
        assert call.connection.transport.get_write_buffer_size() == len(REQUEST)
        assert not pool.is_connected(origin)
        listener.accept()[0].close()
        accepted = (await asyncio.to_thread(listener.accept))[0]
        with accepted:
            assert accepted.recv(len(REQUEST)) == REQUEST
            accepted.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            await caller.end()
        assert caller.status == 204


async def test_a_large_request_that_is_still_being_sent_has_its_connection(pool):
    """That the upstream reads slowly is not that it does not take connections."""
    pool.opener.connect_seconds = 1.5
    with deaf() as listener:
        origin = Origin(url_of(listener))
        caller = Caller()
        call = pool.send(origin, REQUEST + bytes(32 * 1024 * 1024), caller)
        await asyncio.sleep(0)
        listener.accept()[0].close()
        accepted = (await asyncio.to_thread(listener.accept))[0]
        with accepted:
            async with asyncio.timeout(SECONDS):
                while not pool.is_connected(origin):  # noqa: ASYNC110  # the pool has no event for it
                    await asyncio.sleep(0.01)
            assert call.connection.transport.get_write_buffer_size() > 0
            assert not caller.is_told
    kind, _ = await caller.failure()
    assert kind is FailureKind.RESET


async def test_a_call_that_is_given_up_while_its_connection_is_opened(pool):
    with socket.create_server(("127.0.0.1", 0)) as listener, deaf() as silent:
        caller = Caller()
        for url in (url_of(listener), url_of(silent), url_of(listener).replace("127.0.0.1", "localhost")):
            for turns in range(3):
                call = pool.send(Origin(url), REQUEST, caller)
                for _turn in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
        async with asyncio.timeout(SECONDS):
            while pool.open_connections:  # noqa: ASYNC110  # the pool has no event for its last connection
                await asyncio.sleep(0.001)
        assert not caller.is_told
        assert not any(pool.is_connected(Origin(url_of(each))) for each in (listener, silent))

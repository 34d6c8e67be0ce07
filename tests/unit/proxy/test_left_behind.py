"""What is over frees itself: the garbage collector runs too seldom to be waited for."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest
import uvloop

from nexus.backends.fetch import FetchError
from nexus.proxy.fetch import PoolFetch
from nexus.proxy.turn import Turn
from nexus.proxy.upstream import UpstreamPool
from nexus.testing import FaultyBackend, ManualClock
from tests.unit.server.edge_harness import edge

OURS = ("nexus.proxy.", "nexus.server.", "nexus.backends.fetch")
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


def alive() -> Counter[str]:
    """The objects of the gateway, by type."""
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    return Counter(name for name in names if name.startswith(OURS))


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("no_collection")
async def test_a_closed_client_connection_leaves_nothing():
    async with edge() as harness:
        before = alive()
        for _ in range(3):
            answer = await harness.talk(REQUEST)
            assert answer.startswith(b"HTTP/1.1 200")
        harness.seen.clear()
        await harness.close_clients()
        await harness.until(lambda: not harness.context.connections)
        await asyncio.sleep(0)
        assert not alive() - before


@pytest.mark.usefixtures("no_collection")
def test_upstream_connections_and_failed_fetches_leave_nothing():
    # On the loop of the product: it makes a protocol before it knows whether there will be a connection.
    uvloop.run(fetch_and_fail())


async def fetch_and_fail() -> None:
    loop = asyncio.get_running_loop()
    with FaultyBackend() as backend:
        pool = UpstreamPool(loop, Turn(loop), ManualClock(), connect_seconds=5.0)
        fetch = PoolFetch(pool)
        before = alive()
        for _ in range(2):
            assert (await fetch(f"{backend.url}/v1/models", (), 5.0)).status == 200
    for _ in range(2):
        with pytest.raises(FetchError, match="no connection"):
            await fetch(f"{backend.url}/v1/models", (), 5.0)
    pool.close()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while pool.open_connections:  # noqa: ASYNC110  # the pool has no event for its last connection
            await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    assert not alive() - before

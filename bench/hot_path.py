"""What one request costs in Python, without sockets: CPU time and function calls per request.

    python -m bench.hot_path [--requests 5000] [--profile]

The real gateway, everything on, between two in-memory transports: one stands for the client's socket, one for
the upstream's, which answers each request at once. The number of calls depends on the code alone, not on the
machine, so a test can hold it to a bound.
"""

import argparse
import asyncio
import cProfile
import os
import pstats
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from time import process_time
from types import FrameType
from typing import Any, cast

import uvloop

from bench.subjects import ANSWER, nexus_config
from nexus.app.gateway import Gateway
from nexus.backends.prices import PriceList
from nexus.config.load import load_config
from nexus.core.clock import Clock, SystemClock
from nexus.proxy.connection import UpstreamConnection
from nexus.proxy.turn import Turn
from nexus.proxy.upstream import UpstreamPool
from nexus.server.http import HttpConnection
from nexus.telemetry.logging import set_up_logging

BODY = (
    b'{"model":"mock","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"'
    + b"Why do gateways need to be fast? " * 8
    + b'"}],"max_tokens":64,"temperature":0.7}'
)
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
UPSTREAM_ANSWER = (
    "HTTP/1.1 200 OK\r\nServer: mock\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n"
    f"Connection: keep-alive\r\n\r\n{ANSWER}"
).encode()


class SteadyClock(SystemClock):
    """A tenth of a millisecond passes at each reading, so that what is done at times is done as often."""

    def __init__(self) -> None:
        self.monotonic = count(1_000.0, 1e-4).__next__
        self.time = count(1_700_000_000.0, 1e-4).__next__


class MemoryTransport(asyncio.Transport):
    """Hands what is written to a function instead of a socket."""

    def __init__(self, written: Callable[[bytes], None]) -> None:
        super().__init__()
        self._written = written

    def write(self, data: Any) -> None:
        """Pass it on."""
        self._written(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """A loopback peer."""
        return ("127.0.0.1", 50000) if name == "peername" else default

    def abort(self) -> None:
        """Nothing to close."""

    def close(self) -> None:
        """Nothing to close."""


CONNECTIONS = 16
"""Client connections that ask at the same time: each turn of the loop has so many requests, as under load."""


class Bench:
    """Some client connections of a real gateway, and as many upstream connections."""

    def __init__(self, folder: Path, settings: str = "", clock: Clock | None = None) -> None:
        loop = asyncio.get_running_loop()
        path = folder / "nexus.toml"
        path.write_text(settings + nexus_config(1, "http://127.0.0.1:2"))
        config = load_config(path, {"NEXUS_DATA_DIR": str(folder)}, {}, folder).config
        self.log = set_up_logging(config.logging, fd=os.open(folder / "log", os.O_CREAT | os.O_WRONLY))
        clock = clock or SystemClock()
        pool = UpstreamPool(loop, Turn(loop), clock, 5.0)
        backends = tuple(each.to_backend({}) for each in config.backends)
        self.gateway = Gateway(
            config, backends, clock=clock, pool=pool, prices=PriceList(clock), process_log=self.log
        )
        target = self.gateway.forwarder.context.target(backends[0])
        for _ in range(CONNECTIONS):
            upstream = UpstreamConnection(pool, target.origin)
            upstream.connection_made(MemoryTransport(partial(self._answer, upstream)))
            pool.release(upstream)
        self._clients = [HttpConnection(self.gateway.edge) for _ in range(CONNECTIONS)]
        for client in self._clients:
            client.connection_made(MemoryTransport(partial(self._answered, client)))
        self._unasked = self._unanswered = 0
        self._done = loop.create_future()
        self._loop = loop

    async def run(self, requests: int) -> None:
        """So many requests, each connection's one after the other."""
        self._unanswered = requests
        self._unasked = max(0, requests - len(self._clients))
        self._done = self._loop.create_future()
        for client in self._clients[:requests]:
            client.data_received(REQUEST)
        await self._done
        self.gateway.forwarder.context.recording.tell()

    def _answer(self, upstream: UpstreamConnection, _: bytes) -> None:
        self._loop.call_soon(upstream.data_received, UPSTREAM_ANSWER)

    def _answered(self, client: HttpConnection, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200 "):
            self._done.set_exception(RuntimeError(data[:500].decode("latin-1")))
            return
        self._unanswered -= 1
        if self._unasked:
            self._unasked -= 1
            self._loop.call_soon(client.data_received, REQUEST)
        elif not self._unanswered:
            self._done.set_result(None)


async def calls_per_request(bench: Bench, requests: int = 200) -> float:
    """Python and C function calls that one request makes."""
    await bench.run(50)
    calls = 0

    def counted(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        await bench.run(requests)
    finally:
        sys.setprofile(None)
    return calls / requests


async def cpu_us_per_request(bench: Bench, requests: int, rounds: int = 20) -> list[float]:
    """CPU time per request in microseconds, one figure per round."""
    figures = []
    for _ in range(rounds):
        before = process_time()
        await bench.run(requests)
        bench.gateway.request_log.flush()
        figures.append((process_time() - before) / requests * 1e6)
    return sorted(figures)


async def _main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        print(f"calls per request: {await calls_per_request(bench):.1f}")
        figures = await cpu_us_per_request(bench, options.requests)
        print(f"CPU per request: {figures[0]:.1f} µs at best, {figures[len(figures) // 2]:.1f} µs median")
        if options.profile:
            profile = cProfile.Profile()
            profile.enable()
            await bench.run(options.requests)
            profile.disable()
            pstats.Stats(cast("Any", profile)).sort_stats("tottime").print_stats(60)
        bench.log.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    uvloop.run(_main(parser.parse_args()))

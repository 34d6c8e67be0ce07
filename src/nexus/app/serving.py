"""Serves in one process: set up, serve until told to stop, write what is left."""

import asyncio
import logging
import os
import signal
import sys

import uvloop

from nexus.app.gateway import Gateway
from nexus.app.memory import keep_heap_small, settle_memory
from nexus.app.reload import Reloader
from nexus.backends.discovery import discover
from nexus.backends.prices import PriceList
from nexus.config.load import LoadedConfig
from nexus.config.model import Config
from nexus.core.backend import Backend
from nexus.core.clock import Clock, SystemClock
from nexus.dialects.table import dialect_for
from nexus.proxy.busy_poll import BusyPoll
from nexus.proxy.fetch import PoolFetch
from nexus.proxy.turn import Turn
from nexus.proxy.upstream import UpstreamPool
from nexus.server.banner import banner
from nexus.server.service import Periodic
from nexus.telemetry.logging import ProcessLog, set_up_logging

_log = logging.getLogger("nexus.app")
FIRST_CHECKS_SECONDS = 2.0
RELOAD_SECONDS = 0.25
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def run(loaded: LoadedConfig) -> int:
    """Run one gateway in this process until it is told to stop; returns the exit code.

    Raises:
        NexusError: it can't start; the message says what to do.
    """
    process_log = set_up_logging(loaded.config.logging)
    keep_heap_small()
    try:
        uvloop.run(_serve(loaded, process_log))
    finally:
        process_log.close()
    return 0


async def _serve(loaded: LoadedConfig, process_log: ProcessLog) -> None:
    config = loaded.config
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    turn = make_turn(loop, clock, config)
    pool = UpstreamPool(loop, turn, clock, config.timeouts.connect_seconds)
    fetch = PoolFetch(pool)
    prices = PriceList(clock)
    backends = await find_backends(config, fetch, prices)
    gateway = Gateway(config, backends, clock=clock, pool=pool, prices=prices, process_log=process_log)
    gateway.service.heed_signals()

    async def apply(new: Config) -> None:
        found = gateway.fleet.backends if not (new.backends or config.backends) else ()
        gateway.apply(new, found or await find_backends(new, fetch, prices))

    reloader = Reloader(loaded, apply)
    gateway.service.also(Periodic("configuration", RELOAD_SECONDS, reloader.tick))
    loop.add_signal_handler(signal.SIGHUP, reloader.request)
    monitor = gateway.monitor
    monitor.start()
    try:
        async with asyncio.timeout(FIRST_CHECKS_SECONDS):
            await monitor.first_checks()
    except TimeoutError:
        _log.warning("not every backend has answered its first check yet")
    try:
        gateway.start()
        port = gateway.service.listen(config.server.host, config.server.port)
        announce(config, gateway, port, pretty=process_log.pretty)
        settle_memory()
        await gateway.service.run()
    finally:
        await monitor.stop()
        pool.close()
        await gateway.finish()


def make_turn(loop: asyncio.AbstractEventLoop, clock: Clock, config: Config) -> Turn:
    """The order of work on this loop, with busy polling where the machine has a processor to spare for it."""
    microseconds = config.server.busy_poll_microseconds if (os.cpu_count() or 1) > 1 else 0
    return Turn(loop, BusyPoll(loop, clock, microseconds / 1e6))


async def find_backends(config: Config, fetch: PoolFetch, prices: PriceList) -> tuple[Backend, ...]:
    """The configured backends, or those found on this machine where none is configured."""
    backends = tuple(each.to_backend(os.environ) for each in config.backends)
    if not backends and config.discovery.enabled:
        backends = await discover(fetch, own_port=config.server.port)
    for backend in backends:
        dialect_for(backend.type)  # a type that can't be spoken yet is said now, not at the first request
    if any(backend.type.is_cloud for backend in backends):
        await asyncio.to_thread(prices.load)
    return backends


def announce(config: Config, gateway: Gateway, port: int, *, pretty: bool) -> None:
    """Say where to point a client at, and what was found behind it."""
    errors = {backend.id: gateway.fleet.last_error(backend.id) for backend in gateway.fleet.backends}
    text = banner(gateway.fleet.snapshot, errors, config.server.host, port)
    # The banner is for the person at the terminal; in the JSON format standard output holds log lines only.
    print(text, file=sys.stdout if pretty else sys.stderr, flush=True)  # not an event to log: a greeting
    if config.server.host not in _LOOPBACK and not gateway.edge.asks_for_key:
        _log.warning(
            "anyone who reaches %s:%d can use this gateway: set server.api_keys_env",
            *(config.server.host, port),
        )

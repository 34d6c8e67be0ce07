"""One worker: a process that serves clients beside others. The supervisor starts it."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import uvloop

from nexus.app.memory import keep_heap_small, settle_memory
from nexus.app.reload import Reloader
from nexus.app.serving import FIRST_CHECKS_SECONDS, RELOAD_SECONDS, announce, find_backends, make_turn
from nexus.app.workers.asking import Asker
from nexus.app.workers.gateway import WorkerGateway
from nexus.app.workers.link import LineClosedError, Link, first_message, open_link
from nexus.app.workers.messages import (
    Answer,
    Ask,
    Batch,
    Failed,
    Found,
    Gone,
    Lead,
    Message,
    Picture,
    Ready,
    Reload,
    Stop,
    Wanted,
    Welcome,
    encode,
)
from nexus.app.workers.news import Scene, scene_decoder
from nexus.app.workers.sharing import TELL_SECONDS, Sharing
from nexus.backends.prices import PriceList
from nexus.config.errors import ConfigError
from nexus.config.load import LoadedConfig, load_config
from nexus.config.model import Config
from nexus.core.backend import Backend
from nexus.core.clock import SystemClock
from nexus.core.errors import NexusError
from nexus.proxy.fetch import PoolFetch
from nexus.proxy.upstream import UpstreamPool
from nexus.server.service import Periodic
from nexus.telemetry.logging import ProcessLog, set_up_logging

_log = logging.getLogger("nexus.app.workers")


class _StoppedError(Exception):
    """The supervisor wants an end before there was a beginning."""


def main() -> int:
    """Serve until told to stop; returns the exit code.

    The arguments are two descriptors: the line to the supervisor, and the file whose lock guards the log.
    """
    line, log_lock = map(int, sys.argv[1:])
    sock = socket.socket(fileno=line)
    message, waiting, frames = first_message(sock)
    if not isinstance(message, Welcome):
        raise LineClosedError(f"the supervisor began with {message!r}")
    path = Path(message.file) if message.file else None
    try:
        loaded = load_config(path, os.environ, message.flags, Path(message.cwd))
    except ConfigError as error:
        # The file was changed, and is wrong now: the next try may find it mended.
        sock.sendall(encode(Failed("; ".join(map(str, error.problems)))))
        return 1
    process_log = set_up_logging(loaded.config.logging, lock=log_lock)
    keep_heap_small()
    try:
        return uvloop.run(_work(loaded, process_log, message, lambda: open_link(sock, waiting, frames)))
    except (_StoppedError, LineClosedError):
        return 0
    finally:
        process_log.close()


async def _work(
    loaded: LoadedConfig, process_log: ProcessLog, welcome: Welcome, connect: Callable[[], Awaitable[Link]]
) -> int:
    link = await connect()
    try:
        scene = await _scene(link)
        worker = _Worker(loaded, process_log, welcome, link)
        await worker.serve(scene)
    except NexusError as error:
        link.send(Failed(" ".join(str(error).split())))
        return 1
    finally:
        link.close()
        await asyncio.sleep(0)
    return 0


async def _scene(link: Link) -> Scene | None:
    """What the others know; None for the first worker."""
    while True:
        message = await link.next()
        match message:
            case Found():
                return None
            case Picture(body=body):
                return scene_decoder.decode(body)
            case Stop():
                raise _StoppedError
            case _:
                _log.debug("not needed at the start: %r", message)


class _Worker:
    """The parts of one worker, from its beginning to its end."""

    def __init__(self, loaded: LoadedConfig, process_log: ProcessLog, welcome: Welcome, link: Link) -> None:
        self._loaded = loaded
        self._config = loaded.config
        self._process_log = process_log
        self._index = welcome.index
        self._port = welcome.port
        self._key = welcome.key
        self._link = link
        self._clock = SystemClock()
        loop = asyncio.get_running_loop()
        turn = make_turn(loop, self._clock, self._config)
        self._pool = UpstreamPool(loop, turn, self._clock, self._config.timeouts.connect_seconds)
        self._fetch = PoolFetch(self._pool)
        self._prices = PriceList(self._clock)
        self._asker = Asker(welcome.index, link.send)

    async def serve(self, scene: Scene | None) -> None:
        """Serve until told to stop. `scene` is what the others know, None for the first worker."""
        gateway = await self._gateway(scene)
        self._reloader = Reloader(self._loaded, self._reload)
        service, monitor, link = gateway.service, gateway.monitor, self._link
        sharing = Sharing(
            gateway,
            self._index,
            self._clock,
            link.send,
            () if self._config.backends else gateway.fleet.backends,
        )
        service.also(Periodic("configuration", RELOAD_SECONDS, self._reloader.tick))
        service.also(Periodic("workers", TELL_SECONDS, sharing.tell))
        try:
            if scene is None:
                await _first_checks(gateway)
            else:
                sharing.look(scene)
            gateway.start()
            service.listen(self._config.server.host, self._port, shared=True)
            link.deliver_to(self._listener(gateway, sharing), service.stop)
            link.send(Ready())
            if scene is None:
                announce(self._config, gateway, self._port, pretty=self._process_log.pretty)
            settle_memory()
            await service.run()
        finally:
            await monitor.stop()
            self._pool.close()
            await gateway.finish()
            sharing.tell()

    async def _gateway(self, scene: Scene | None) -> WorkerGateway:
        if scene is None:
            backends = await find_backends(self._config, self._fetch, self._prices)
        else:
            backends = scene.found or await find_backends(self._config, self._fetch, self._prices)
        self._made = WorkerGateway(
            self._config,
            backends,
            clock=self._clock,
            pool=self._pool,
            prices=self._prices,
            process_log=self._process_log,
            index=self._index,
            leads=scene is None,
            key=self._key,
            elsewhere=self._asker,
        )
        return self._made

    async def _reload(self, new: Config) -> None:
        gateway = self._made
        kept: tuple[Backend, ...] = ()
        if not (new.backends or self._config.backends):
            kept = gateway.fleet.backends
        gateway.apply(new, kept or await find_backends(new, self._fetch, self._prices))

    def _listener(self, gateway: WorkerGateway, sharing: Sharing) -> Callable[[Message], None]:
        def act(message: Message) -> None:
            match message:
                case Batch(sender=sender, body=body):
                    sharing.hear(sender, body)
                case Wanted(target=target):
                    sharing.paint(target)
                case Gone(index=index):
                    sharing.forget(index)
                case Ask():
                    self._asker.take_question(message)
                case Answer():
                    self._asker.take_answer(message)
                case Lead():
                    gateway.lead()
                case Reload():
                    self._reloader.request()
                case Stop():
                    gateway.service.stop()
                case _:
                    _log.debug("not needed: %r", message)

        return _guarded(act)


def _guarded(act: Callable[[Message], None]) -> Callable[[Message], None]:
    def take(message: Message) -> None:
        try:
            act(message)
        except Exception:  # noqa: BLE001  # reason: what one worker says wrong must not end all the others
            _log.exception("a message could not be taken in")

    return take


async def _first_checks(gateway: WorkerGateway) -> None:
    gateway.monitor.start()
    try:
        async with asyncio.timeout(FIRST_CHECKS_SECONDS):
            await gateway.monitor.first_checks()
    except TimeoutError:
        _log.warning("not every backend has answered its first check yet")


def _exit() -> NoReturn:
    sys.exit(main())


if __name__ == "__main__":
    _exit()

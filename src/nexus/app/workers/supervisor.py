"""Starts the workers, passes messages between them, and replaces those that die."""

import asyncio
import logging
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import cast

from nexus.app.workers.hub import Hub
from nexus.app.workers.messages import (
    Answer,
    Ask,
    Batch,
    Failed,
    Frames,
    FramingError,
    Message,
    Picture,
    Ready,
    Reload,
    Stop,
    Welcome,
    encode,
)
from nexus.app.workers.port import hold_port
from nexus.config.load import Asked, LoadedConfig
from nexus.core.clock import Clock, SystemClock
from nexus.core.errors import NexusError
from nexus.telemetry.logging import set_up_logging

_log = logging.getLogger("nexus.app.workers")
_WORKER_MODULE = "nexus.app.workers.process"
_FIRST_PAUSE_SECONDS = 0.1
_MOST_PAUSE_SECONDS = 10.0
_SETTLED_SECONDS = 30.0
_BEYOND_GRACE_SECONDS = 10.0
_MOST_UNREAD_BYTES = 64 * 1024 * 1024
_KEY_BYTES = 32


class StartError(NexusError):
    """A worker could not start."""


class Line(asyncio.Protocol):
    """The supervisor's end of the line to one worker."""

    def __init__(self, supervisor: "Supervisor", index: int) -> None:
        self._supervisor = supervisor
        self._index = index
        self._frames = Frames()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is open."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in messages."""
        try:
            for message in self._frames.feed(data):
                self._supervisor.take(self._index, message)
        except FramingError as error:
            self._supervisor.give_up_on(self._index, f"sent what is no message: {error}")

    def send(self, message: Message) -> None:
        """Send a message. A worker that has not read for very long is given up."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(encode(message))
        if transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
            self._supervisor.give_up_on(self._index, "has not read its messages for too long")

    def close(self) -> None:
        """Close the line."""
        if self._transport is not None:
            self._transport.close()


class _Worker:
    """One child process."""

    __slots__ = ("index", "line", "process", "started_at")

    def __init__(
        self, index: int, process: asyncio.subprocess.Process, line: Line, started_at: float
    ) -> None:
        self.index = index
        self.process = process
        self.line = line
        self.started_at = started_at


class Supervisor:
    """Keeps `count` workers running until it is told to stop.

    Args:
        loaded: the configuration; each worker reads it again.
        clock: for pauses and the grace time.
        count: how many workers.
        port: where they listen.
        log_lock: the descriptor whose lock all hold while they write log lines.
    """

    def __init__(self, loaded: LoadedConfig, clock: Clock, *, count: int, port: int, log_lock: int) -> None:
        self._clock = clock
        self._count = count
        self._port = port
        self._log_lock = log_lock
        self._grace_seconds = loaded.config.server.shutdown_grace_seconds
        self._asked = loaded.asked or Asked(loaded.file, {}, Path.cwd())
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._hub = Hub()
        self._workers: dict[int, _Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_index = 0
        self._failure = ""
        self._has_served = False
        self._worst_code = 0
        self._done = asyncio.Event()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; the exit code is 0 where every worker ended well.

        Raises:
            StartError: a worker could not start; the others were stopped.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, partial(self._hub.tell_all, Reload()))
        for _ in range(self._count):
            self._keep_task(self._live(_FIRST_PAUSE_SECONDS))
        await self._done.wait()
        await asyncio.gather(*self._tasks)
        if self._failure:
            raise StartError(self._failure)
        return self._worst_code

    def stop(self) -> None:
        """Let the workers finish; a second call ends them at once."""
        if not self._done.is_set():
            self._done.set()
            asyncio.get_running_loop().call_later(self._grace_seconds + _BEYOND_GRACE_SECONDS, self._kill_all)
        self._hub.tell_all(Stop())

    def take(self, sender: int, message: Message) -> None:
        """Act on a message of a worker."""
        hub = self._hub
        match message:
            case Batch(body=body):
                hub.batch(sender, body)
            case Picture(target=target, body=body):
                hub.picture(sender, target, body)
            case Ask(number=number, body=body):
                hub.ask(sender, number, body)
            case Answer(sender=asker, number=number, body=body):
                hub.answer(sender, asker, number, body)
            case Ready():
                self._has_served = True
                _log.info("worker %d serves (process %d)", sender, self._workers[sender].process.pid)
            case Failed(reason=reason):
                self._fail(sender, reason)
            case _:
                self.give_up_on(sender, f"sent a message that is not for the supervisor: {message!r}")

    def give_up_on(self, index: int, reason: str) -> None:
        """End a worker that can't be worked with; another one takes its place."""
        worker = self._workers.get(index)
        if worker is not None and worker.process.returncode is None:
            _log.error("worker %d is ended: it %s", index, reason)
            worker.process.kill()

    def _fail(self, sender: int, reason: str) -> None:
        # Later, what is wrong may be mended while the others serve; at the very start it is told at once.
        if self._has_served:
            _log.error("worker %d can't start: %s", sender, reason)
            return
        self._failure = self._failure or reason
        self.stop()

    async def _live(self, pause: float) -> None:
        """Run workers one after the other in one place, until the end."""
        while not self._done.is_set():
            worker = await self._start()
            code = await worker.process.wait()
            self._hub.leave(worker.index)
            worker.line.close()
            del self._workers[worker.index]
            if not self._has_served:
                self._fail(worker.index, f"a worker ended with code {code} before it could serve")
            if self._done.is_set():
                self._worst_code = self._worst_code or (1 if code else 0)
                return
            if self._clock.monotonic() - worker.started_at > _SETTLED_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            _log.warning(
                "worker %d (process %d) ended with code %d: another one takes its place",
                *(worker.index, worker.process.pid, code),
            )
            await self._pause(pause)
            pause = min(2.0 * pause, _MOST_PAUSE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        waits = (
            asyncio.ensure_future(self._clock.sleep_async(seconds)),
            asyncio.ensure_future(self._done.wait()),
        )
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _start(self) -> _Worker:
        self._last_index += 1
        index = self._last_index
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _WORKER_MODULE, str(theirs.fileno()), str(self._log_lock)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._log_lock),
                # A terminal's Ctrl-C is for the supervisor, which then tells the workers.
                start_new_session=True,
            )
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: Line(self, index), sock=ours)
        worker = self._workers[index] = _Worker(index, process, line, self._clock.monotonic())
        asked = self._asked
        file = str(asked.path) if asked.path is not None else ""
        line.send(Welcome(index, file, dict(asked.flags), str(asked.cwd), self._key, self._port))
        self._hub.join(index, line.send)
        if self._done.is_set():
            line.send(Stop())
        return worker

    def _kill_all(self) -> None:
        for index in list(self._workers):
            self.give_up_on(index, "did not end in time")

    def _keep_task(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)


def run(loaded: LoadedConfig) -> int:
    """Run the workers until the end; returns the exit code.

    Raises:
        NexusError: they can't start; the message says what to do.
    """
    config = loaded.config
    with tempfile.TemporaryFile() as log_lock:
        process_log = set_up_logging(config.logging, lock=log_lock.fileno())
        try:
            with hold_port(config.server.host, config.server.port) as port:
                return asyncio.run(_supervise(loaded, port, log_lock.fileno()))
        finally:
            process_log.close()


async def _supervise(loaded: LoadedConfig, port: int, log_lock: int) -> int:
    count = loaded.config.server.workers
    return await Supervisor(loaded, SystemClock(), count=count, port=port, log_lock=log_lock).run()

"""Opens connections to upstreams: at once where the address is known, else in a task."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from nexus.core.outcome import FailureKind
from nexus.proxy.origin import Address, Origin
from nexus.proxy.turn import begin_now

Failed = Callable[[FailureKind, str], None]
Make = Callable[[], asyncio.Protocol]


class Opener:
    """Opens connections.

    Args:
        loop: the running event loop.
        connect_seconds: bound on opening one, name look-up and TLS included.
        tls: makes the TLS context, on first use.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connect_seconds: float, tls: Callable[[], ssl.SSLContext]
    ) -> None:
        self.connect_seconds = connect_seconds
        self._loop = loop
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, origin: Origin, make: Make, failed: Failed) -> asyncio.Task[None] | None:
        """Connect what `make` returns, or call `failed` with the reason, never before this returns.

        The task that is returned may be cancelled. It is None where the address is known. Then the socket may
        still be connecting when `connection_made` is called: what is written waits, `connection_lost` has the
        error if nobody takes the connection, and how long that may last is for the protocol to watch.
        """
        if origin.address is not None:
            self._open_now(origin, origin.address, make, failed)
            return None
        task = self._loop.create_task(self._open(origin, make, failed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def expect(self, check: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `check` when a connection that is being opened must have been taken."""
        return self._loop.call_later(self.connect_seconds, check)

    def close(self) -> None:
        """Give up what is being opened in tasks."""
        for task in list(self._tasks):
            task.cancel()

    def _open_now(self, origin: Origin, address: Address, make: Make, failed: Failed) -> None:
        try:
            # Nobody asks whether it was accepted. `create_connection` takes a socket over when it has waited;
            # until then the descriptor of a connection that fails is closed twice.
            begin_now(self._loop.connect_accepted_socket(make, _begin(*address)))
        except OSError as error:
            self._loop.call_soon(failed, FailureKind.CONNECT, no_connection(origin, error))

    async def _open(self, origin: Origin, make: Make, failed: Failed) -> None:
        try:
            async with asyncio.timeout(self.connect_seconds):
                await self._loop.create_connection(
                    make,
                    origin.host,
                    origin.port,
                    ssl=self._tls_context() if origin.tls else None,
                    server_hostname=origin.host if origin.tls else None,
                )
        except TimeoutError:
            failed(FailureKind.CONNECT_TIMEOUT, too_slow(origin, self.connect_seconds))
        except socket.gaierror as error:
            failed(FailureKind.DNS, f"the name {origin.host} can't be resolved: {error.strerror}")
        except ssl.SSLError as error:
            failed(FailureKind.TLS, f"TLS with {origin.authority} failed: {error.reason or error}")
        except OSError as error:
            failed(FailureKind.CONNECT, no_connection(origin, error))

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls


def no_connection(origin: Origin, error: OSError) -> str:
    """That nobody answers there, for a person."""
    return f"no connection to {origin.authority}: {error.strerror or error}"


def too_slow(origin: Origin, seconds: float) -> str:
    """That nobody has answered there in time, for a person."""
    return f"no connection to {origin.authority} within {seconds:g} s"


def _begin(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    """A socket that is connecting, or already has."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock

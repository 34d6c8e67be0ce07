"""Pooled keep-alive HTTP/1.1 connections to upstreams.

A `Call` is one request on its way: the pool writes it to an idle connection or opens one, and then calls the
handler back as the answer arrives. There is no task or future per call; only opening a connection takes one.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from nexus.core.clock import Clock
from nexus.proxy.calling import CallHandler
from nexus.proxy.connection import Call, UpstreamConnection
from nexus.proxy.opening import Opener
from nexus.proxy.origin import Origin
from nexus.proxy.turn import Turn

_MAX_IDLE: Final = 512
_IDLE_SECONDS: Final = 60.0


class UpstreamPool:
    """Idle connections by origin, newest first, and the opening of new ones.

    Args:
        loop: the running event loop.
        turn: sends what is written.
        clock: for the age of idle connections.
        connect_seconds: bound on opening a connection, name look-up and TLS included.
        tls: makes the TLS context, on first use; tests pass one that trusts their own certificate.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turn: Turn,
        clock: Clock,
        connect_seconds: float,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.open_connections = 0
        self.turn = turn
        self._clock = clock
        self.opener = Opener(loop, connect_seconds, tls)
        self._idle: dict[tuple[str, int, bool], list[UpstreamConnection]] = {}
        self._open_to: Counter[tuple[str, int, bool]] = Counter()

    def send(self, origin: Origin, data: bytes, handler: CallHandler) -> Call:
        """Send a complete request; the handler is called back, never before this returns."""
        call = Call(origin, data, handler)
        idle = self._idle.get(origin.key)
        while idle:
            connection = idle.pop()
            if not connection.closing:
                connection.reused = True
                connection.send(call)
                return call
        self.connect(call)
        return call

    def connect(self, call: Call) -> None:
        """Open a connection for this call."""
        make = partial(UpstreamConnection, self, call.origin, call)
        call.task = self.opener.open(call.origin, make, call.not_opened)

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next call, unless enough are kept already."""
        key = connection.origin.key
        idle = self._idle.get(key)
        if idle is None:
            idle = self._idle[key] = []
        if len(idle) >= _MAX_IDLE:
            connection.close()
            return
        connection.idle_since = self._clock.monotonic()
        idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is no longer usable."""
        idle = self._idle.get(connection.origin.key)
        if idle and connection in idle:
            idle.remove(connection)

    def count(self, origin: Origin, change: int) -> None:
        """A connection was opened, or is gone."""
        self.open_connections += change
        self._open_to[origin.key] += change
        if not self._open_to[origin.key]:
            del self._open_to[origin.key]

    def is_connected(self, origin: Origin) -> bool:
        """Whether a connection is open there: somebody listens, or did a moment ago."""
        return self._open_to[origin.key] > 0

    def sweep(self) -> None:
        """Close connections that have been idle for long. Call it every few seconds."""
        oldest = self._clock.monotonic() - _IDLE_SECONDS
        for key, idle in list(self._idle.items()):
            stale = [connection for connection in idle if connection.idle_since < oldest]
            self._idle[key] = [connection for connection in idle if connection.idle_since >= oldest]
            for connection in stale:
                connection.close()
            if not self._idle[key]:
                del self._idle[key]

    def close(self) -> None:
        """Close every idle connection, which takes a turn of the loop, and give up those being opened."""
        self.opener.close()
        for idle in list(self._idle.values()):
            for connection in list(idle):
                connection.close()
        self._idle.clear()

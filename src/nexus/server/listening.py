"""Where clients connect: the listening sockets, and taking in all who wait there.

In one turn of its loop uvloop's own server takes in one client. A turn is some milliseconds long where a
thousand streams have something to say, and then new clients would queue for seconds before anybody has seen
them.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from nexus.core.errors import NexusError
from nexus.proxy.turn import begin_now

_log = logging.getLogger("nexus.server")
_BACKLOG = 4096
_MOST_AT_ONCE = 256
_PAUSE_SECONDS = 0.5
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ListenError(NexusError):
    """The address can't be listened on."""


def bind(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """A socket for each address of `host`, all on one port; they do not listen yet.

    `shared`: with others of this user that say so, too. Of several addresses those may be missing that this
    machine has not, as a name for the loopback interface has one of a family that is turned off.

    Raises:
        ListenError: the address is taken or not ours, or this system can't share a port.
    """
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                bound.append(
                    _bound(family, (address[0], port or port_of(bound), *address[2:]), shared=shared)
                )
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
        if missing is not None and not bound:
            raise missing
    except OSError as error:
        for each in bound:
            each.close()
        raise _refusal(host, port, error) from error
    return bound


def port_of(bound: list[socket.socket]) -> int:
    """The port of sockets that are bound, 0 if there are none."""
    return int(bound[0].getsockname()[1]) if bound else 0


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _refusal(host: str, port: int, error: OSError) -> ListenError:
    reason = error.strerror or str(error)
    return ListenError(
        f"can't listen on {host}:{port}: {reason}; choose another address with --host and --port"
    )


class Listener:
    """Listens on bound sockets, which it closes at the end, and gives each client what `make` returns.

    Raises:
        ListenError: somebody else listens there since they were bound.
    """

    def __init__(self, sockets: list[socket.socket], make: Callable[[], asyncio.Protocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = list(sockets)
        self._make = make
        for each in sockets:
            each.setblocking(False)
            try:
                each.listen(_BACKLOG)
            except OSError as error:
                host, port = each.getsockname()[:2]
                self.close()
                raise _refusal(host, port, error) from error
            self._loop.add_reader(each, self._accept, each)

    def close(self) -> None:
        """Take in nobody else."""
        while self._sockets:
            each = self._sockets.pop()
            self._loop.remove_reader(each)
            each.close()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                client, _address = listening.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause(listening, error)
                return  # nobody waits, or one who did is gone: the next look at the socket tells
            begin_now(self._loop.connect_accepted_socket(self._make, client))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """No descriptor is left, or no memory: clients wait until there may be some again."""
        _log.error("can't take in a client: %s; trying again in %g s", error.strerror, _PAUSE_SECONDS)
        self._loop.remove_reader(listening)
        self._loop.call_later(_PAUSE_SECONDS, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

"""The port that several workers listen on."""

import contextlib
import socket
from collections.abc import Iterator

from nexus.core.errors import NexusError


class PortError(NexusError):
    """The address can't be listened on by several processes."""


@contextlib.contextmanager
def hold_port(host: str, port: int) -> Iterator[int]:
    """Keep a port for the workers inside the block; gives its number, which matters for port 0.

    Raises:
        PortError: it is taken or not ours, or this system can't share a port.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With sharing alone a second gateway could take this port too, and get half of the clients.
        _bind(family, address, shared=False).close()
        holder = _bind(family, address, shared=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PortError(
            f"can't listen on {host}:{port}: {reason}; choose another address with --host and --port"
        ) from error
    with holder:
        yield int(holder.getsockname()[1])


def _bind(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
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

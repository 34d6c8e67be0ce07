"""The port that several workers listen on."""

import contextlib
from collections.abc import Iterator

from nexus.server.listening import bind, port_of


@contextlib.contextmanager
def hold_port(host: str, port: int) -> Iterator[int]:
    """Keep a port for the workers inside the block; gives its number, which matters for port 0.

    Raises:
        ListenError: it is taken or not ours, or this system can't share a port.
    """
    # With sharing alone a second gateway could take this port too, and get half of the clients.
    for probe in bind(host, port, shared=False):
        probe.close()
    with contextlib.ExitStack() as held:
        holders = [held.enter_context(each) for each in bind(host, port, shared=True)]
        yield port_of(holders)

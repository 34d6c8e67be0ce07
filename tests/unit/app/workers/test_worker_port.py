"""One port for several processes, and only for those of one gateway."""

import socket

import pytest

from nexus.app.workers.port import hold_port
from nexus.server.listening import ListenError


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_is_held_for_who_shares_it_and_nobody_else(host):
    """A second gateway is refused, a worker of ours is not, and nothing answers before one listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with hold_port(host, 0) as port:
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, port)):
            pass
        with socket.socket(family) as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind((host, port))
            worker.listen()
            with socket.create_connection((host, port)):
                pass
            with pytest.raises(ListenError, match=f"can't listen on {host}:{port}"), hold_port(host, port):
                pass


def test_a_port_that_workers_of_another_gateway_share_is_taken():
    with hold_port("127.0.0.1", 0) as port:
        pass
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ListenError), hold_port("127.0.0.1", port):
            pass


def test_an_address_that_is_not_ours_is_refused_with_its_name():
    with pytest.raises(ListenError, match=r"can't listen on 192\.0\.2\.1:80"), hold_port("192.0.2.1", 80):
        pass

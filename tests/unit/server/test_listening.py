"""Listening sockets, and that nobody queues at them."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from nexus.server.listening import Listener, ListenError, bind, port_of

SECONDS = 10.0


class Guest(asyncio.Protocol):
    """A client that was taken in."""

    def __init__(self, made: list["Guest"]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._made.append(self)


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[tuple[Listener, int, list[Guest]]]:
    bound, guests = bind(host, 0, shared=False), list[Guest]()
    port = port_of(bound)
    listener = Listener(bound, lambda: Guest(guests))
    try:
        yield listener, port, guests
    finally:
        listener.close()
        for guest in guests:
            guest.transport.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.001)


async def test_all_who_wait_are_taken_in_within_one_turn():
    """However many they are: one in each turn would let the last wait as many turns as there are clients."""
    with listening() as (_, port, guests), ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(socket.create_connection(("127.0.0.1", port)))
        await asyncio.sleep(0)  # the next look at the sockets
        await asyncio.sleep(0)
        assert len(guests) == 100


async def test_after_the_end_nobody_is_taken_in_and_guests_stay():
    with listening() as (listener, port, guests):
        with socket.create_connection(("127.0.0.1", port)) as client:
            await until(lambda: guests)
            listener.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            assert not guests[0].transport.is_closing()
            client.close()
        await asyncio.sleep(0)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Inside the block this process can open nothing."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, most[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


async def test_without_descriptors_clients_wait_until_there_are_some(caplog):
    with listening() as (_, port, guests), socket.socket() as client:
        with no_descriptors():
            client.connect(("127.0.0.1", port))
            await until(lambda: caplog.records)
        assert caplog.records[0].levelno == logging.ERROR
        assert caplog.records[0].getMessage() == (
            "can't take in a client: Too many open files; trying again in 0.5 s"
        )
        assert not guests
        await until(lambda: guests)
        assert len(caplog.records) == 1


async def test_a_listener_can_be_closed_while_it_can_not_take_in_clients(caplog):
    with listening() as (listener, port, guests), socket.socket() as client:
        with no_descriptors():
            client.connect(("127.0.0.1", port))
            await until(lambda: caplog.records)
        listener.close()
        await asyncio.sleep(0.5)  # begun after the listener's own half second, so it ends after that
        assert not guests
        assert len(caplog.records) == 1, "nothing went wrong"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", ""])
async def test_every_address_of_a_name_has_the_same_port(host):
    with listening(host) as (_, port, guests):
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in found:
            near = "::1" if family == socket.AF_INET6 else "127.0.0.1"
            socket.create_connection((near, address[1])).close()
        await until(lambda: len(guests) == len(found))


@pytest.mark.parametrize(
    ("host", "reason"), [("192.0.2.1", "Cannot assign requested address"), ("no.such.host.invalid", "")]
)
def test_an_address_that_is_not_ours(host, reason):
    with pytest.raises(ListenError) as refused:
        bind(host, 8080, shared=False)
    assert str(refused.value).startswith(f"can't listen on {host}:8080: {reason}")
    assert str(refused.value).endswith("; choose another address with --host and --port")


async def test_a_port_that_somebody_else_has():
    with listening() as (_, port, _), pytest.raises(ListenError, match="Address already in use"):
        bind("127.0.0.1", port, shared=False)


async def test_a_port_that_somebody_takes_before_we_listen():
    ours, theirs = bind("127.0.0.1", 0, shared=True), list[socket.socket]()
    try:
        theirs = bind("127.0.0.1", port_of(ours), shared=True)
        ours[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        theirs[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        theirs[0].listen()
        with pytest.raises(ListenError, match=f"can't listen on 127.0.0.1:{port_of(theirs)}: Address"):
            Listener(ours, lambda: Guest([]))
        assert ours[0].fileno() == -1
    finally:
        for each in theirs:
            each.close()

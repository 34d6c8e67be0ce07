"""Invariant of the upstream side: a remembered head never makes an answer mean something else."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.core.outcome import FailureKind
from nexus.proxy.connection import Call, UpstreamConnection
from nexus.proxy.headers import ResponseHead
from nexus.proxy.known_head import KnownHead
from nexus.proxy.opening import Opener
from nexus.proxy.origin import Origin
from nexus.proxy.turn import Turn

Event = tuple[object, ...]


class Notes:
    """Notes what a call is told."""

    def __init__(self, events: list[Event], number: int) -> None:
        self._events = events
        self._number = number
        self._body = b""

    def on_head(self, head: ResponseHead) -> None:
        head.read()
        # The length is not relayed, and is all in which the heads of two answers may differ that share one.
        self._events.append((self._number, head.status, head.relayed, head.is_events, head.is_opaque))

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_read_done(self) -> None:
        pass

    def on_end(self) -> None:
        self._events.append((self._number, "end", self._body))

    def on_failure(self, kind: FailureKind, message: str) -> None:
        self._events.append((self._number, kind, message, self._body))


class Socket(asyncio.Transport):
    """Takes everything; `over` once it was closed."""

    over = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - asyncio's signature
        return ("127.0.0.1", 1)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        self.over = True


class Home:
    """A pool with room for one connection, on a loop that is turned by hand. `again` counts second tries."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.turn = Turn(loop)
        self.opener: Opener = None  # type: ignore[assignment]
        self.again = 0

    def connect(self, call: Call) -> None:  # noqa: ARG002 - the interface
        self.again += 1

    def release(self, connection: UpstreamConnection) -> None:
        """It is taken up again where there is a next call."""

    def discard(self, connection: UpstreamConnection) -> None:
        """It was never given away."""

    def count(self, origin: Origin, change: int) -> None:
        """Nobody asks."""


class Forgetful(Origin):
    """An origin whose answers are always parsed."""

    __slots__ = ()

    @property
    def known(self) -> KnownHead[ResponseHead] | None:
        return None

    @known.setter
    def known(self, value: KnownHead[ResponseHead] | None) -> None:
        pass


def answered(origin: Origin, rounds: list[list[bytes]]) -> tuple[list[Event], int, bool]:
    """What the calls of one connection are told, one round of reads after the other."""
    loop = asyncio.new_event_loop()
    try:
        home, events = Home(loop), list[Event]()
        connection, socket = UpstreamConnection(home, origin), Socket()
        connection.connection_made(socket)
        for number, reads in enumerate(rounds):
            if socket.over:
                break
            connection.send(Call(origin, b"", Notes(events, number)))
            for read in reads:
                loop.run_until_complete(asyncio.sleep(0))
                if not socket.over:
                    connection.data_received(read)
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0))
        connection.connection_lost(None)
        return events, home.again, socket.over
    finally:
        loop.close()


STATUSES = st.sampled_from([b"200 OK"] * 3 + [b"404 Not Found", b"204 No Content", b"103 Early Hints"])
LENGTHS = st.sampled_from([b"Content-Length: %d", b"content-length:%d", b"Content-Length: 0%d", b"X-Is: %d"])
MORE = st.sampled_from(
    [b"Content-Type: application/json", b"Connection: close", b"Content-Encoding: gzip", b"Content-Length: 2"]
)
BODIES = st.sampled_from([b"", b"{}", b"\r\n\r\n", b"x" * 30, b"HTTP/1.1 200 OK\r\nX-Size: 0\r\n\r\n"])


@st.composite
def conversations(draw: st.DrawFn) -> list[list[bytes]]:
    """The reads that answer each call: few heads, mostly whole, some with a wrong length."""
    heads = draw(st.lists(st.tuples(STATUSES, LENGTHS, st.lists(MORE, max_size=2)), min_size=1, max_size=2))
    rounds = []
    for _ in range(draw(st.integers(2, 6))):
        status, length, more = draw(st.sampled_from(heads))
        body = draw(BODIES)
        claimed = max(0, len(body) + draw(st.sampled_from([0, 0, 0, 0, -1, 1])))
        lines = b"\r\n".join([length % claimed, *more])
        whole = b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, lines, body)
        cut = draw(st.sampled_from([0, 0, 0, 0, 12, len(whole) - len(body), len(whole) - 1]))
        rounds.append([each for each in (whole[:cut], whole[cut:]) if each])
    return rounds


@pytest.mark.interpreted
@given(rounds=conversations())
def test_a_repeated_answer_is_never_read_otherwise_than_by_the_parser(rounds: list[list[bytes]]):
    """Each call is told the same, whether heads are remembered or not."""
    url = "http://127.0.0.1:1"
    assert answered(Origin(url), rounds) == answered(Forgetful(url), rounds)


@pytest.mark.parametrize("apart", [False, True])
def test_a_repeated_answer_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch, apart: bool):
    """The test above would hold if nothing were remembered. Many servers send heads and bodies apart."""
    parsed = []
    complete = UpstreamConnection.on_headers_complete

    def noted(connection: UpstreamConnection) -> None:
        parsed.append(connection)
        complete(connection)

    monkeypatch.setattr(UpstreamConnection, "on_headers_complete", noted)
    rounds = []
    for body in (b"{}", b"", b"three"):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: b\r\n\r\n" % len(body)
        rounds.append([each for each in (head, body[:1], body[1:]) if each] if apart else [head + body])
    events, _, _ = answered(Origin("http://127.0.0.1:1"), rounds)
    assert [event[2] for event in events if event[1] == "end"] == [b"{}", b"", b"three"]
    assert len(parsed) == 1

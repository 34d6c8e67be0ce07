"""Invariants of the HTTP edge: no bytes break it, and no other parser reads its requests differently."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.proxy.turn import Turn
from nexus.server.edge import ClientConnection, EdgeContext, Incoming
from nexus.server.edge_records import EdgeLimits
from nexus.server.http import HttpConnection
from nexus.server.trace import TraceIds
from nexus.testing import ManualClock, parse_answers

Seen = tuple[bytes, bytes, bytes]
"""Method, target and body of a request."""
MAX_BODY = 2000


class FakeTransport(asyncio.Transport):
    """A client's side without a socket: `sent` is what the edge wrote."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: HttpConnection) -> None:
        super().__init__()
        self.sent = bytearray()
        self.reading = True
        self.over = False
        self._loop = loop
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - asyncio's signature
        return ("127.0.0.1", 1)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.over, "written after the end"
        self.sent += data

    def close(self) -> None:
        if not self.over:
            self.over = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.over

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever held back here."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The client may still send."""

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Edge:
    """The edge on a loop of its own; each `talk` is a connection. Heads of requests to `posts` are kept."""

    def __init__(self, *posts: bytes) -> None:
        self.loop = asyncio.new_event_loop()
        self.faults: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self._seen: list[Seen] = []
        self._context = EdgeContext(
            clock=ManualClock(),
            turn=Turn(self.loop),
            limits=EdgeLimits(MAX_BODY, 10.0, 60.0),
            posts=dict.fromkeys(posts, self._handle),
            control=self._handle,
            api_keys=(),
            unrouted=lambda _: None,
            trace_ids=TraceIds("t"),
        )

    def _handle(self, _: EdgeContext, connection: ClientConnection, incoming: Incoming) -> None:
        target = incoming.head.path + (b"?" + incoming.head.query if incoming.head.query else b"")
        self._seen.append((incoming.head.method, target, incoming.body))
        connection.reply(200, b"", b"got %d" % len(incoming.body))

    def talk(self, pieces: Sequence[bytes]) -> tuple[list[Seen], bytes, bool]:
        """What was taken for requests, what was answered, and whether the edge ended the connection."""
        return self.loop.run_until_complete(self._talk(pieces))

    async def _talk(self, pieces: Sequence[bytes]) -> tuple[list[Seen], bytes, bool]:
        self._seen = []
        self._context.trace_ids = TraceIds("t")
        protocol = HttpConnection(self._context)
        transport = FakeTransport(self.loop, protocol)
        protocol.connection_made(transport)
        for piece in pieces:
            while not (transport.reading or transport.over):  # noqa: ASYNC110 - the loop itself is what is awaited
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            if transport.over:
                break
            protocol.data_received(piece)
        while protocol._waiting and not transport.over:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.sleep(0)
        ended = transport.over
        transport.close()
        await asyncio.sleep(0)
        assert not self._context.connections
        assert not self.faults
        return self._seen, bytes(transport.sent), ended


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    made = Edge()
    yield made
    made.loop.close()


@pytest.fixture(scope="module")
def remembering() -> Iterator[Edge]:
    made = Edge(CHAT)
    yield made
    made.loop.close()


# --- requests

CHAT = b"/v1/chat/completions"

paths = st.sampled_from([b"/v1/chat/completions", b"/health", b"/", b"/a?b=c&d", b"/%20"])
bodies = st.binary(max_size=300)
spare_headers = st.lists(
    st.sampled_from([b"X-A: 1", b"Accept: */*", b"x-b:", b"Cookie: a=b; c", b"X-Utf: \xc3\xa9"]), max_size=3
)


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> bytes:
    cuts = draw(st.lists(st.integers(0, len(body)), max_size=4, unique=True))
    bounds = sorted({0, len(body), *cuts})
    form = draw(st.sampled_from([b"%x\r\n", b"%X\r\n", b"00%x\r\n", b"%x;a=b\r\n"]))
    pieces = [body[a:b] for a, b in itertools.pairwise(bounds)]
    return b"".join(form % len(piece) + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"


@st.composite
def requests(draw: st.DrawFn) -> tuple[Seen, bytes]:
    """A well-formed request: what it means, and its bytes."""
    path = draw(paths)
    lines = [b"Host: h", *draw(spare_headers)]
    kind = draw(st.sampled_from(["length", "chunked", "none"]))
    if kind == "none":
        method = draw(st.sampled_from([b"GET", b"DELETE", b"OPTIONS"]))
        body = data = b""
    else:
        method, body = b"POST", draw(bodies)
        data = body if kind == "length" else draw(chunks(body))
        lines.append(b"Content-Length: %d" % len(body) if kind == "length" else b"Transfer-Encoding: chunked")
    lines = draw(st.permutations(lines))
    return (method, path, body), b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method, path, b"\r\n".join(lines), data)


@st.composite
def cut_up(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes in the pieces in which they may arrive."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12))
    return [data[a:b] for a, b in itertools.pairwise(sorted({0, len(data), *cuts})) if a < b]


def statuses(sent: bytes) -> list[int]:
    """The statuses of answers that must all be whole HTTP."""
    answers = parse_answers(sent)
    assert all(answer.whole for answer in answers)
    return [answer.status for answer in answers]


@given(data=st.data())
def test_requests_mean_the_same_however_they_are_cut_up(edge: Edge, data: st.DataObject):
    """Every one is seen once, in order, with its body; each gets one answer."""
    wanted = data.draw(st.lists(requests(), min_size=1, max_size=5))
    pieces = data.draw(cut_up(b"".join(each for _, each in wanted)))
    seen, sent, ended = edge.talk(pieces)
    assert seen == [meant for meant, _ in wanted]
    assert statuses(sent) == [200] * len(wanted)
    assert not ended


TOKENS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b",", b";", b"0", b"-1", b"ffffffffffffffffff",
        b"\r\n\r\n", b"0\r\n\r\n", b"5\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"te:\tchunked\r\n",
        b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.0", b"HTTP/2.0", b"\xff", b"\x0b", b"X: \r\n y\r\n",
    ]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Well-formed requests in which some bytes were lost, added, doubled or changed."""
    data = bytearray(b"".join(each for _, each in draw(st.lists(requests(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["insert", "delete", "double", "change"])):
            case "insert":
                data[at:at] = draw(TOKENS)
            case "delete":
                del data[at : at + draw(st.integers(1, 12))]
            case "double":
                end = at + draw(st.integers(1, 40))
                data[end:end] = data[at:end]
            case _:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
    return bytes(data)


def read_by_another(data: bytes) -> list[Seen]:
    """What an independent HTTP/1.1 parser takes for whole requests, up to where it refuses."""
    found: list[Seen] = []
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(data)
    request, body = None, b""
    try:
        while True:
            event = parser.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                found.append((bytes(request.method), bytes(request.target), body))
                parser.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                parser.send(h11.EndOfMessage())
                if parser.our_state is not h11.DONE or parser.their_state is not h11.DONE:
                    return found
                parser.start_next_cycle()
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return found
    except h11.RemoteProtocolError:
        return found


@given(data=st.data())
def test_damaged_requests_are_refused_or_read_as_anybody_else_reads_them(edge: Edge, data: st.DataObject):
    """No fault of ours, whole answers only, and never a request that another parser sees differently."""
    stream = data.draw(mutated())
    seen, sent, _ = edge.talk(data.draw(cut_up(stream)))
    found = statuses(sent)
    assert found.count(200) == len(seen)
    assert set(found) <= {200, 400, 413, 431, 505}
    assert set(found[:-1]) <= {200}, "nothing is answered after a refusal"
    other = read_by_another(stream)
    for ours, theirs in zip(seen, other, strict=False):
        assert (ours[0], ours[2]) == (theirs[0], theirs[2]), "two parsers disagree about what a request is"


@given(stream=st.binary(max_size=500), data=st.data())
def test_any_bytes_at_all_get_whole_answers_or_none(edge: Edge, stream: bytes, data: st.DataObject):
    """Nothing raises, nothing but whole HTTP is written, and nothing stays behind."""
    seen, sent, _ = edge.talk(data.draw(cut_up(stream)))
    found = statuses(sent)
    assert found.count(200) == len(seen)
    assert set(found) <= {200, 400, 413, 431, 505}
    assert set(found[:-1]) <= {200}, "nothing is answered after a refusal"


lengths = st.sampled_from(
    [b"Content-Length: %d", b"content-length:%d", b"CONTENT-LENGTH:  00%d", b"Content-Length: %d "]
)
connections = st.sampled_from(
    [b"X-A: 1", b"Connection: close", b"Expect: 100-continue", b"Content-Length: 3"]
)


@st.composite
def repeating(draw: st.DrawFn) -> list[bytes]:
    """What arrives, read by read: requests with few heads, mostly whole, some with a wrong length."""
    names = draw(st.lists(st.tuples(lengths, st.lists(connections, max_size=1)), min_size=1, max_size=2))
    reads: list[bytes] = []
    for _ in range(draw(st.integers(2, 8))):
        length, more = draw(st.sampled_from(names))
        body = draw(st.sampled_from([b"", b"a", b"bc", b"\r\n\r\n", b"x" * 40, b"y" * (MAX_BODY + 1)]))
        claimed = len(body) + draw(st.sampled_from([0, 0, 0, 0, 0, -1, 1]))
        lines = b"\r\n".join([b"Host: h", *more, length % max(0, claimed), *more])
        whole = b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (CHAT, lines, body)
        cut = draw(st.sampled_from([0, 0, 0, 0, 10, len(whole) - len(body), len(whole) - 1]))
        if reads and draw(st.integers(0, 5)) == 0:
            reads[-1] += whole
        else:
            reads += [each for each in (whole[:cut], whole[cut:]) if each]
    return reads


@given(reads=repeating())
def test_a_remembered_head_is_never_read_otherwise_than_by_the_parser(
    edge: Edge, remembering: Edge, reads: list[bytes]
):
    """The same requests, answers to the byte, and end, whether heads are remembered or not."""
    assert remembering.talk(reads) == edge.talk(reads)


@pytest.mark.parametrize("apart", [False, True])
def test_a_repeated_head_is_remembered(monkeypatch: pytest.MonkeyPatch, apart: bool):
    """The test above would hold if nothing were remembered. Many clients send heads and bodies apart."""
    parsed: list[bytes] = []
    url = HttpConnection.on_url

    def noted(connection: HttpConnection, data: bytes) -> None:
        parsed.append(data)
        url(connection, data)

    monkeypatch.setattr(HttpConnection, "on_url", noted)
    reads: list[bytes] = []
    for body in (b"one", b"two", b"three"):
        head = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (CHAT, len(body))
        reads += [head, body[:1], body[1:]] if apart else [head + body]
    edge = Edge(CHAT)
    try:
        for connection in ("the first", "another"):
            seen, _, _ = edge.talk(reads)
            assert [body for _, _, body in seen] == [b"one", b"two", b"three"], connection
            assert parsed == [CHAT], connection
    finally:
        edge.loop.close()

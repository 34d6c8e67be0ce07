"""A client that does to a server, over real sockets, what clients should not do."""

import contextlib
import resource
import select
import socket
import struct
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httptools
import msgspec
from msgspec import Struct

from nexus.testing.hostile_requests import CHAT_PATH, chat_body, request_bytes

_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_READ_BYTES = 65536
_SPARE_FILES = 256
_NO_BODY = frozenset({204, 304})
_FIRST_FINAL = 200


class HostileAnswer(Struct, frozen=True):
    """One answer. Header names are in lower case; `whole` is false where the connection ended within it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:
        """The decoded body. Raises msgspec.DecodeError where it is not JSON."""
        return msgspec.json.decode(self.body)


class Moment(StrEnum):
    """When a client leaves."""

    BEFORE_REQUEST = "before_request"
    IN_HEAD = "in_head"
    AFTER_HEAD = "after_head"
    IN_BODY = "in_body"
    AFTER_REQUEST = "after_request"
    IN_ANSWER = "in_answer"
    AFTER_ANSWER = "after_answer"


class HostileClient:
    """Does one bad thing per call to the server at `url` (plain HTTP).

    Nothing is kept between calls: each has a connection of its own. `body` and `path` are those of the
    well-formed requests; `timeout` (seconds) bounds every single wait for the server.

    Raises (every method):
        TimeoutError: the server neither answered nor closed the connection in time.
        OSError: it can't be connected to.
    """

    def __init__(
        self, url: str, *, path: str = CHAT_PATH, body: bytes | None = None, timeout: float = 10.0
    ) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.path = path
        self.body = chat_body() if body is None else body
        self.timeout = timeout

    @property
    def request(self) -> bytes:
        """The well-formed request."""
        return request_bytes(self.body, path=self.path)

    def connect(self, *, receive_buffer: int = 0) -> socket.socket:
        """A new connection; `receive_buffer` (bytes) makes the kernel take in little ahead of the reader."""
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.settimeout(self.timeout)
        try:
            peer.connect(self._address)
        except OSError:
            peer.close()
            raise
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer

    def exchange(self, data: bytes, *, answers: int = 1) -> tuple[HostileAnswer, ...]:
        """Send any bytes; everything that is answered to them.

        Once there are as many whole `answers` as expected the client says that it is done, and reads on to
        the end of the connection: what is answered beyond them is in the result too.
        """
        with self.connect() as peer:
            return self._talk(peer, data, answers)

    def ask(self, body: bytes | None = None) -> HostileAnswer:
        """The answer to a well-formed request."""
        sent = request_bytes(self.body if body is None else body, path=self.path)
        return self.exchange(sent)[0]

    def pipeline(self, *bodies: bytes) -> tuple[HostileAnswer, ...]:
        """Well-formed requests sent in one go; their answers, in order."""
        data = b"".join(request_bytes(body, path=self.path) for body in bodies)
        return self.exchange(data, answers=len(bodies))

    def lie_about_length(self, by: int) -> tuple[HostileAnswer, ...]:
        """Announce a body `by` bytes longer than it is (negative: shorter), and send what there is."""
        data = request_bytes(self.body, path=self.path, length=len(self.body) + by)
        return self.exchange(data)

    def send_slowly(
        self, data: bytes, *, pause: float, at_once: int = 0, size: int = 1
    ) -> tuple[HostileAnswer, ...]:
        """Send `at_once` bytes, then `size` bytes every `pause` seconds until the server has had enough."""
        with self.connect() as peer:
            peer.sendall(data[:at_once])
            for start in range(at_once, len(data), size):
                if _readable(peer, pause) or not _sent(peer, data[start : start + size]):
                    break
            return self._talk(peer, b"", 1)

    def flood(self, limit: int, *, piece: int = 65536) -> tuple[int, tuple[HostileAnswer, ...]]:
        """Send a body in chunks without end, `limit` bytes at most; how many were taken, and the answers."""
        head = b"POST %b HTTP/1.1\r\nHost: hostile\r\nContent-Type: application/json\r\n" % self.path.encode()
        chunk = b"%x\r\n%b\r\n" % (piece, b" " * piece)
        sent = 0
        with self.connect() as peer:
            peer.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            while sent < limit and not _readable(peer, 0) and _sent(peer, chunk):
                sent += piece
            return sent, self._talk(peer, b"", 1)

    def leave(self, moment: Moment, *, reset: bool = False) -> bytes:
        """Leave at this moment of a well-formed request, with a FIN or a reset; what was read until then."""
        head, _, body = self.request.partition(b"\r\n\r\n")
        sent = {
            Moment.BEFORE_REQUEST: b"",
            Moment.IN_HEAD: head[: len(head) // 2],
            Moment.AFTER_HEAD: head + b"\r\n\r\n",
            Moment.IN_BODY: head + b"\r\n\r\n" + body[: len(body) // 2],
        }.get(moment, self.request)
        with self.connect() as peer:
            peer.sendall(sent)
            seen = b""
            if moment is Moment.IN_ANSWER:
                seen = peer.recv(1)
            elif moment is Moment.AFTER_ANSWER:
                seen = self._read(peer, 1)
            if reset:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            return seen

    @contextlib.contextmanager
    def read_slowly(self) -> Iterator["SlowReader"]:
        """A well-formed request whose answer is taken from the network only as the block asks for it."""
        with self.connect(receive_buffer=4096) as peer:
            peer.sendall(self.request)
            yield SlowReader(peer)

    def crowd(self, count: int) -> "IdleCrowd":
        """This many connections that say nothing, open inside a `with` block."""
        return IdleCrowd(self._address, count, self.timeout)

    def _talk(self, peer: socket.socket, data: bytes, answers: int) -> tuple[HostileAnswer, ...]:
        # A server may refuse before it has read everything: what it said then is still there to be read.
        _sent(peer, data)
        return parse_answers(self._read(peer, answers))

    def _read(self, peer: socket.socket, answers: int) -> bytes:
        """Everything until the server closes; with `answers` whole answers this side closes its half."""
        seen = bytearray()
        counter = _Counter()
        done = False
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while data := peer.recv(_READ_BYTES):
                seen += data
                counter.feed(data)
                if counter.whole >= answers and not done:
                    done = True
                    with contextlib.suppress(OSError):
                        peer.shutdown(socket.SHUT_WR)
        return bytes(seen)


class SlowReader:
    """The reading side of a request whose client is in no hurry."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._seen = bytearray()
        self._counter = _Counter()

    @property
    def seen(self) -> bytes:
        """What has been read so far."""
        return bytes(self._seen)

    def take(self, size: int) -> bytes:
        """Up to `size` more bytes; empty at the end of the connection."""
        data = self._peer.recv(size)
        self._seen += data
        self._counter.feed(data)
        return data

    def take_all(self) -> tuple[HostileAnswer, ...]:
        """Read on at full speed until the answer is whole or the connection ends."""
        while not self._counter.whole and self.take(_READ_BYTES):
            pass
        return parse_answers(self.seen)


class _Counter:
    """Counts the whole answers in what arrives. Bytes that are no HTTP end the count."""

    def __init__(self) -> None:
        self.whole = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """An answer, or an interim one, is complete."""
        self.whole += self._parser.get_status_code() >= _FIRST_FINAL


class IdleCrowd:
    """Connections that say nothing.

    `count` is how many there are: fewer than asked for if the system allows this process no more open files.
    """

    def __init__(self, address: tuple[str, int], count: int, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._peers: list[socket.socket] = []
        self.count = min(count, max(0, allow_open_files(count + _SPARE_FILES) - _SPARE_FILES))

    def still_open(self) -> int:
        """How many of them the server has not closed."""
        poller = select.poll()
        for peer in self._peers:
            poller.register(peer, select.POLLIN | select.POLLHUP)
        return len(self._peers) - len(poller.poll(0))

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for _ in range(self.count):
                peer = stack.enter_context(socket.create_connection(self._address, self._timeout))
                self._peers.append(peer)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._peers.clear()
        self._open.close()


def allow_open_files(count: int) -> int:
    """Raise this process's limit of open files to `count`, as far as the system lets it; the limit then.

    Processes that are started afterwards inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return count if soft == resource.RLIM_INFINITY else soft


def parse_answers(data: bytes) -> tuple[HostileAnswer, ...]:
    """The answers in what a server sent, interim ones (1xx) left out; of the last one what has arrived.

    Raises:
        ValueError: it is not HTTP/1.1.
    """
    found = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        status, headers = _parse_head(head)
        if status < _FIRST_FINAL:
            data = rest
            continue
        body, data, whole = _take_body(status, headers, rest)
        found.append(HostileAnswer(status, headers, body, whole))
    return tuple(found)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if version != "HTTP/1.1" or not code.isdecimal():
        raise ValueError(f"not an HTTP/1.1 answer: {first[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    return int(code), {name.lower(): value.strip() for name, _, value in pairs}


def _take_body(status: int, headers: Mapping[str, str], rest: bytes) -> tuple[bytes, bytes, bool]:
    """A body, what follows it, and whether it was all there."""
    if status in _NO_BODY:
        return b"", rest, True
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _take_chunks(rest)
    if "content-length" not in headers:
        return rest, b"", True
    size = int(headers["content-length"])
    return rest[:size], rest[size:], len(rest) >= size


def _take_chunks(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = bytearray()
    at = 0
    while (end := rest.find(b"\r\n", at)) >= 0:
        size = int(rest[at:end].partition(b";")[0], 16)
        at = end + 2
        if size == 0:
            return bytes(body), rest[at + 2 :], rest.startswith(b"\r\n", at)
        body += rest[at : at + size]
        at += size + 2
        if len(rest) < at:
            break
    return bytes(body), b"", False


def _readable(peer: socket.socket, seconds: float) -> bool:
    """Whether there is something to read, or an end, within this time."""
    poller = select.poll()  # select() knows no descriptor beyond 1023
    poller.register(peer, select.POLLIN | select.POLLHUP)
    return bool(poller.poll(seconds * 1000))


def _sent(peer: socket.socket, data: bytes) -> bool:
    """Send, unless the server has gone; False then."""
    try:
        peer.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        return False
    return True

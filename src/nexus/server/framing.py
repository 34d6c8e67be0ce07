"""The lines of HTTP/1.1 heads that depend on nothing but the request and the status."""

from http import HTTPStatus

from nexus.server.edge import Incoming, RequestHead

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def status_line(status: int) -> bytes:
    """The first line of an answer, also for a status that nobody has named."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def connection_line(incoming: Incoming | None, *, keep: bool) -> bytes:
    """The `Connection` header of an answer; empty where the version of HTTP says as much."""
    if not keep:
        return b"Connection: close\r\n"
    if incoming is not None and incoming.head.version == "1.0":
        return b"Connection: keep-alive\r\n"
    return b""


def head_size(head: RequestHead) -> int:
    """Bytes of a request's target and headers."""
    lines = sum(len(name) + len(value) for name, value in head.headers)
    return len(head.path) + len(head.query) + lines


def framing_headers(head: RequestHead) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The values of Host, Content-Length and Expect; None for each that is absent."""
    host = length = expect = None
    for name, value in head.headers:
        if name == b"host":
            host = value
        elif name == b"content-length":
            length = value
        elif name == b"expect":
            expect = value
    return host, length, expect


def origin_form(target: bytes) -> bytes:
    """The path in a target that is a whole URL (RFC 9112, section 3.2.2); any other target as it is."""
    _, mark, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if mark else target

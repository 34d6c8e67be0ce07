"""Where an upstream is: a parsed base URL, and the request heads that go there, formatted once."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from nexus import __version__

_DEFAULT_PORTS = {"http": 80, "https": 443}
_USER_AGENT = f"User-Agent: nexus/{__version__}\r\n"


class Origin:
    """Host, port and transport security of one upstream, with the fixed part of every request to it.

    Args:
        url: absolute, with an optional path prefix and nothing behind it.
        headers: sent with every request.
    """

    __slots__ = ("common", "host", "key", "port", "prefix", "tls")

    def __init__(self, url: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        parts = urlsplit(url)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self.prefix = parts.path.rstrip("/")
        self.key = (self.host, self.port, self.tls)
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port != _DEFAULT_PORTS[parts.scheme]:
            host = f"{host}:{self.port}"
        self.common = f"Host: {host}\r\n{_USER_AGENT}{extra}".encode("latin-1")

    def post(self, path: str, forwarded: bytes, body: bytes) -> bytes:
        """A complete POST request; `forwarded` is a block of header lines each ended by CRLF."""
        return b"POST %b HTTP/1.1\r\n%b%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            (self.prefix + path).encode("latin-1"),
            self.common,
            forwarded,
            len(body),
            body,
        )

    def get(self, path: str) -> bytes:
        """A complete GET request."""
        return b"GET %b HTTP/1.1\r\n%bAccept: application/json\r\n\r\n" % (
            (self.prefix + path).encode("latin-1"),
            self.common,
        )

"""Where an upstream is: a parsed base URL, and the request heads that go there, formatted once."""

from urllib.parse import urlsplit

from nexus import __version__
from nexus.core.backend import Backend

_DEFAULT_PORTS = {"http": 80, "https": 443}
_USER_AGENT = f"User-Agent: nexus/{__version__}\r\n"


class Origin:
    """Host, port and transport security of one upstream, with the fixed part of every request to it.

    `sends_own_key` says whether the backend has a key of its own, so that a client's is never forwarded.
    """

    __slots__ = ("common", "host", "key", "port", "prefix", "sends_own_key", "tls")

    def __init__(self, backend: Backend, auth_headers: tuple[tuple[str, str], ...]) -> None:
        parts = urlsplit(backend.url)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self.prefix = parts.path.rstrip("/")
        self.key = (self.host, self.port, self.tls)
        self.sends_own_key = bool(auth_headers)
        named = (*auth_headers, *backend.headers.items())
        extra = "".join(f"{name}: {value}\r\n" for name, value in named)
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

"""Where an upstream is: a parsed base URL, and the request heads that go there, formatted once."""

import socket
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from nexus import __version__
from nexus.proxy.headers import ResponseHead
from nexus.proxy.known_head import KnownHead

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_USER_AGENT: Final = f"User-Agent: nexus/{__version__}\r\n"

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family of addresses, and a socket address of it."""


class Origin:
    """Host, port and transport security of one upstream, with the fixed part of every request to it.

    Args:
        url: absolute, with an optional path prefix and nothing behind it.
        headers: sent with every request.

    `address` is what a socket can connect to at once; None where a name must be looked up first, and for TLS.
    `known` is the head of the last answer from there, for those that repeat it.
    """

    __slots__ = ("address", "common", "host", "key", "known", "port", "prefix", "tls")

    def __init__(self, url: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        parts = urlsplit(url)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self.prefix = parts.path.rstrip("/")
        self.key = (self.host, self.port, self.tls)
        self.address = None if self.tls else _literal(self.host, self.port)
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port != _DEFAULT_PORTS[parts.scheme]:
            host = f"{host}:{self.port}"
        self.known: KnownHead[ResponseHead] | None = None
        self.common = f"Host: {host}\r\n{_USER_AGENT}{extra}".encode("latin-1")

    @property
    def authority(self) -> str:
        """Host and port, for a person."""
        return f"{self.host}:{self.port}"

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


def _literal(host: str, port: int) -> Address | None:
    try:
        [found] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):  # it is a name, whatever it is worth
        return None
    return found[0], found[4]

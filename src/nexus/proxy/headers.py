"""Reading and writing header lines. No I/O."""

import math
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

_LONGEST_RETRY_AFTER: Final = 86_400.0
# What an upstream says about its own connection or its own browser clients is not the gateway's to repeat.
_NOT_RELAYED: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"content-length",
        b"proxy-authenticate",
        b"trailer",
        b"upgrade",
        b"date",
        b"server",
        b"set-cookie",
        b"x-request-id",
        b"alt-svc",
    }
)
_NOT_RELAYED_PREFIXES = (b"x-nexus-", b"access-control-")
_DROP, _RELAY, _TYPE, _ENCODING = range(4)


def header_text(text: str) -> str:
    """The text with everything that may not stand in a header value replaced by `?`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if " " <= char <= "~" else "?" for char in text)


class ResponseHead:
    """Status and headers of an upstream's answer, names as the upstream wrote them.

    Answers with the same head may share one. Once `read`, `relayed` are the header lines that go on to the
    client; `is_events` says that the body is a stream of events, and `is_opaque` that it is compressed or the
    like, so there is no looking into it.
    """

    __slots__ = ("_is_read", "headers", "is_events", "is_opaque", "relayed", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        self.relayed = b""
        self.is_events = False
        self.is_opaque = False
        self._is_read = False

    def read(self) -> None:
        """Sort the headers by what they are for, unless that is done."""
        if self._is_read:
            return
        self._is_read = True
        lines: list[bytes] = []
        for name, value in self.headers:
            use, start = _use_of(name)
            if use is _DROP:
                continue
            if use is _TYPE:
                self.is_events = value.startswith(b"text/event-stream")
            elif use is _ENCODING:
                self.is_opaque = True
            lines += (start, value, b"\r\n")
        self.relayed = b"".join(lines)


@lru_cache(maxsize=1024)
def _use_of(name: bytes) -> tuple[int, bytes]:
    """What a header is for, and the start of its line; names are few and come with every answer."""
    lower = name.lower()
    if lower in _NOT_RELAYED or lower.startswith(_NOT_RELAYED_PREFIXES):
        return _DROP, b""
    use = {b"content-type": _TYPE, b"content-encoding": _ENCODING}.get(lower, _RELAY)
    return use, lower + b": "


def header_value(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first value of a header (`name` in lower case); empty where there is none."""
    for each, value in headers:
        if each.lower() == name:
            return value
    return b""


def retry_after_seconds(value: bytes, wall_now: float) -> float | None:
    """Seconds that a `Retry-After` value (seconds or an HTTP date) asks for; None where it says nothing."""
    text = value.decode("latin-1").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - wall_now
        except ValueError:
            return None
    if not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)

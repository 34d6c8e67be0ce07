"""Reading and writing header lines. No I/O."""

import math
from email.utils import parsedate_to_datetime

_LONGEST_RETRY_AFTER = 86_400.0
# What an upstream says about its own connection or its own browser clients is not the gateway's to repeat.
_NOT_RELAYED = frozenset(
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


def header_text(text: str) -> str:
    """The text with everything that may not stand in a header value replaced by `?`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def relayed_headers(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The upstream's header lines that go on to the client."""
    relayed = b""
    for name, value in headers:
        if name not in _NOT_RELAYED and not name.startswith(_NOT_RELAYED_PREFIXES):
            relayed += b"%b: %b\r\n" % (name, value)
    return relayed


def header_value(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first value of a header (name in lower case); empty where there is none."""
    for each, value in headers:
        if each == name:
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

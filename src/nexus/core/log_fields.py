"""What may stand in a log line: values as JSON can hold them, times as people and machines read them."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from nexus.core.masking import MASK, mask_secrets

_MAX_DEPTH = 4
# What is beyond this, and infinity and NaN, is written as text: readers differ in what they make of it.
_JSON_INTEGER = 2**63 - 1
_SECRET_NAMES = frozenset(
    {"api_key", "apikey", "authorization", "password", "passwd", "secret", "client_secret", "token"}
    | {"access_token", "refresh_token", "auth_token", "private_key", "x_api_key"}
)


def timestamp(seconds: float) -> str:
    """Unix time as `2025-01-01T00:00:00.123Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(name: str, value: object, depth: int = 0) -> object:
    """A field's value without secrets; what is nested too deep, and what JSON does not know, becomes text."""
    if name.lower().replace("-", "_") in _SECRET_NAMES:
        return MASK
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _JSON_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {encodable(str(key)): plain(str(key), item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [plain("", item, depth + 1) for item in value]
    return text(value)


def text(value: object) -> str:
    """The value as text without secrets."""
    return encodable(mask_secrets(str(value)))


def encodable(value: str) -> str:
    """The text with half surrogate pairs replaced: they would keep a line from being written."""
    return value if value.isascii() else value.encode(errors="replace").decode()


def printable(value: str) -> str:
    """The text with control characters escaped, so that nobody else's text can command a terminal."""
    if value.isprintable():
        return value
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in value)

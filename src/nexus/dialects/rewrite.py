"""Changing the model name in a JSON request body without touching any other byte of it."""

import json
import re
from typing import Final

import msgspec

_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NESTING: Final = re.compile(rb'["{}\[\]]')
_SCALAR: Final = re.compile(rb"[^ \t\n\r,\]}]+")
_OPENING: Final = frozenset(b"{[")
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_LONGEST_ESCAPED_KEY: Final = len("model") * len("\\u0000")


def replace_model(body: bytes, model: str) -> bytes:
    """The body with `model` as the value of its top-level `model` key; of duplicate keys, of the last one.

    Every other byte stays as it was: white space, order, escapes, nested `model` keys. Time is linear in the
    body's length, and nesting costs no recursion.

    Raises:
        ValueError: the body is not a JSON object, ends too early, or has no top-level `model` key.
    """
    span = _model_span(body)
    if span is None:
        raise ValueError("the body has no top-level `model` key")
    start, end = span
    return b"".join((body[:start], msgspec.json.encode(model), body[end:]))


def _model_span(body: bytes) -> tuple[int, int] | None:
    """Where the value of the last top-level `model` key starts and ends; None without such a key."""
    span = None
    at = _expect(body, 0, b"{")
    if body[at : at + 1] == b"}":
        return None
    while True:
        _expect(body, at, b'"')
        key_end = _string_end(body, at)
        start = _expect(body, key_end, b":")
        end = _value_end(body, start)
        if _is_model(body[at + 1 : key_end - 1]):
            span = start, end
        at = _skip_space(body, end)
        if body[at : at + 1] == b"}":
            return span
        at = _expect(body, at, b",")


def _skip_space(body: bytes, at: int) -> int:
    found = _SPACE.match(body, at)
    return found.end() if found else at


def _expect(body: bytes, at: int, sign: bytes) -> int:
    """The position of the next token after `sign`, which must be the next token itself."""
    at = _skip_space(body, at)
    if body[at : at + 1] != sign:
        raise ValueError(f"the body is not a JSON object: no {sign.decode()} at byte {at}")
    return _skip_space(body, at + 1)


def _string_end(body: bytes, start: int) -> int:
    """The position after the string whose opening quote is at `start`."""
    # `find` is far faster than any pattern, which matters for images: they are strings of megabytes.
    at = body.find(b'"', start + 1)
    if at >= 0 and body[at - 1] != _BACKSLASH:
        return at + 1
    whole = _STRING.match(body, start)
    if whole is None:
        raise ValueError(f"the string that starts at byte {start} has no end")
    return whole.end()


def _value_end(body: bytes, start: int) -> int:
    """The position after the value that starts at `start`."""
    if start >= len(body):
        raise ValueError(f"the body ends at byte {start}, where a value should be")
    if body[start] == _QUOTE:
        return _string_end(body, start)
    if body[start] not in _OPENING:
        scalar = _SCALAR.match(body, start)
        if scalar is None:
            raise ValueError(f"there is no value at byte {start}")
        return scalar.end()
    return _container_end(body, start)


def _container_end(body: bytes, start: int) -> int:
    depth = 0
    at = start
    while True:
        found = _NESTING.search(body, at)
        if found is None:
            raise ValueError(f"the object or array that starts at byte {start} has no end")
        at = found.start()
        if body[at] == _QUOTE:
            at = _string_end(body, at)
            continue
        depth += 1 if body[at] in _OPENING else -1
        at += 1
        if not depth:
            return at


def _is_model(raw_key: bytes) -> bool:
    if raw_key == b"model":
        return True
    if b"\\" not in raw_key or len(raw_key) > _LONGEST_ESCAPED_KEY:
        return False
    # json, not msgspec: a lone surrogate in some other key is no reason to refuse the body here.
    return bool(json.loads(b'"%b"' % raw_key) == "model")

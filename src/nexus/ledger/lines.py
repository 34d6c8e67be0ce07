"""A receipt as one line of JSON: the form in which every store keeps it."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import msgspec

from nexus.core.masking import mask_secrets
from nexus.core.receipt import LedgerEntry

TEXT_LIMIT = 256
"""Characters kept of an error or a routing reason, the ellipsis included."""

LINES_AT_ONCE = 250
"""Receipts that `encode_all` makes lines of in one go."""

_TEXTS = ("trace_id", "model_id", "routing_reason", "backend_id", "error", "project_id", "intent", "signal")
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(LedgerEntry)


class Line(NamedTuple):
    """What identifies a receipt, and its JSON without a line feed."""

    trace_id: str
    timestamp: float
    json: bytes


class Lines(NamedTuple):
    """As `Line`, of several receipts: what identifies each, and their JSON, each followed by a line feed."""

    trace_ids: list[str]
    timestamps: list[float]
    json: bytes


def encode(entry: LedgerEntry) -> Line:
    """The line of a receipt, made so that every store can keep it and give it back.

    Errors and routing reasons are cut to `TEXT_LIMIT` characters, and secrets in errors masked, whoever made
    the receipt. A number that is not finite becomes 0 where one must stand and is left out elsewhere; NUL
    characters and lone surrogates become U+FFFD.
    """
    if entry.error is not None or len(entry.routing_reason) > TEXT_LIMIT:
        entry = _capped(entry)
    try:
        line = _ENCODER.encode(entry)
    except UnicodeEncodeError:
        line = b"null"
    if _is_odd(line):
        entry = _mended(entry)
        line = _ENCODER.encode(entry)
    return Line(entry.trace_id, entry.timestamp, line)


def encode_all(entries: Iterable[LedgerEntry]) -> Iterator[Lines]:
    """The lines of many receipts. Other threads get a turn in between: one of them may serve requests."""
    rest = iter(entries)
    while batch := list(islice(rest, LINES_AT_ONCE)):
        yield _encode_batch(batch)
        time.sleep(0)  # gives up the interpreter's lock, which a busy thread else keeps for 5 ms


def _encode_batch(batch: Sequence[LedgerEntry]) -> Lines:
    """As `encode` for each; where there is nothing to cut or to mend, all at once, which is faster."""
    for entry in batch:
        if entry.error is not None or len(entry.routing_reason) > TEXT_LIMIT:
            break
    else:
        with suppress(UnicodeEncodeError):
            lines = _ENCODER.encode_lines(batch)
            if not _is_odd(lines):
                return Lines([entry.trace_id for entry in batch], [entry.timestamp for entry in batch], lines)
    each = [encode(entry) for entry in batch]
    return Lines(
        [line.trace_id for line in each],
        [line.timestamp for line in each],
        b"".join([line.json + b"\n" for line in each]),
    )


def _is_odd(line: bytes) -> bool:
    # None is never written, so a null is a number that JSON does not have (or the word in a text).
    return b"null" in line or b"\\u0000" in line


def decode(line: bytes | str) -> LedgerEntry | None:
    """The receipt of a line; None for what is torn, no UTF-8 or no receipt. Unknown fields are ignored."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def decode_all(lines: Iterable[bytes | str]) -> list[LedgerEntry]:
    """The receipts of these lines, without those that can't be decoded."""
    return [entry for line in lines if (entry := decode(line)) is not None]


def capped(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text, or its beginning with `…` as the last of `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _capped(entry: LedgerEntry) -> LedgerEntry:
    error = None if entry.error is None else capped(mask_secrets(entry.error))
    return msgspec.structs.replace(entry, error=error, routing_reason=capped(entry.routing_reason))


def _mended(entry: LedgerEntry) -> LedgerEntry:
    changes: dict[str, object] = {}
    for name in ("latency_ms", "timestamp"):
        if not math.isfinite(getattr(entry, name)):
            changes[name] = 0.0
    for name in ("quality", "ttft_ms", "cost_usd", "propensity"):
        value = getattr(entry, name)
        if value is not None and not math.isfinite(value):
            changes[name] = None
    for name in _TEXTS:
        text = getattr(entry, name)
        changes[name] = None if text is None else _plain(text)
    if entry.candidates is not None:
        changes["candidates"] = tuple(map(_plain, entry.candidates))
    return msgspec.structs.replace(entry, **changes)


def _plain(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "\ufffd")

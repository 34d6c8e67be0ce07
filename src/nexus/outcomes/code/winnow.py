"""Fingerprints of code by winnowing: a sample of keyed hashes that shows copies, whole or in part.

Schleimer, Wilkerson, Aiken: Winnowing: Local Algorithms for Document Fingerprinting, SIGMOD 2003. Of every
WINDOW consecutive hashes of GRAM tokens the least is kept. So any run of GRAM + WINDOW - 1 tokens that two
texts share is found. The first and the last hash are kept as well: with GRAM > WINDOW no change of a token
goes unseen then, wherever it is. Of short code all hashes are kept: a sample of a few says little about how
much of it was used.
"""

import hashlib
import os
import struct
from collections.abc import Iterable
from itertools import islice

from msgspec import Struct

from nexus.outcomes.code.tokens import first_tokens

GRAM = 5
WINDOW = 4
MIN_TOKENS = GRAM + WINDOW - 1
"""Code shorter than this is too common to be recognised."""
SAMPLED_FROM = 400
"""Code with more tokens than this is sampled."""
MAX_TOKENS = 4_000
"""So much of a suggestion is looked at."""
KEY_BYTES = 16
PROCESS_KEY = os.urandom(KEY_BYTES)
"""The key of this process: made anew by each, never written."""
_PRIME = (1 << 61) - 1


class Fingerprint(Struct, frozen=True, gc=False):
    """A piece of suggested code, as something to recognise it by.

    `tokens` is its length. `hashes` are packed 64-bit little-endian numbers, ascending, made with `key`; code
    that is too short has none. `language` is what the answer called it, in lower case. `known` are
    those of the hashes that the conversation held before the answer, `elsewhere` those that a check found in
    code which came from another suggestion.
    """

    tokens: int
    hashes: bytes
    key: bytes
    language: str | None = None
    known: bytes = b""
    elsewhere: bytes = b""


class GramHasher:
    """Hashes runs of GRAM tokens under one key, by a rolling polynomial over keyed hashes of the tokens."""

    __slots__ = ("_base", "_key", "_numbers", "_out")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._numbers: dict[str, int] = {}
        self._base = self._hash("\0base") or 1
        self._out = pow(self._base, GRAM, _PRIME)

    def grams(self, words: list[str]) -> list[int]:
        """The hash of each run, in order; below 2^61. Fewer words than a run have none."""
        known = self._numbers
        for word in set(words).difference(known):
            known[word] = self._hash(word)
        numbers = [known[word] for word in words]
        base, out, prime, value = self._base, self._out, _PRIME, 0
        for number in islice(numbers, GRAM - 1):
            value = (value * base + number) % prime
        found = []
        leaving = [0, *numbers]
        for number, gone in zip(numbers[GRAM - 1 :], leaving, strict=False):
            value = (value * base + number - gone * out) % prime
            found.append(value)
        return found

    def fingerprint(self, text: str, language: str | None) -> Fingerprint:
        """The fingerprint of a piece of code; see the function of this name."""
        words = first_tokens(text, MAX_TOKENS)
        hashes = self.grams(words) if len(words) >= MIN_TOKENS else []
        kept = winnow(hashes) if len(words) > SAMPLED_FROM else set(hashes)
        return Fingerprint(len(words), pack(kept), self._key, language.lower() if language else None)

    def _hash(self, word: str) -> int:
        data = word.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=self._key).digest(), "little") % _PRIME


def fingerprint(text: str, language: str | None = None, *, key: bytes = PROCESS_KEY) -> Fingerprint:
    """The fingerprint of a piece of code, of which nothing can be read back without the key and a guess.

    Layout, kinds of quotes, semicolons and trailing commas do not count. Code of fewer than 8 tokens has no
    hashes, and what comes after 4,000 tokens is not looked at. Whoever has the `key` can compare fingerprints
    with code; by default it is one that each process makes for itself.
    """
    return GramHasher(key).fingerprint(text, language)


def winnow(hashes: list[int]) -> set[int]:
    """The least of every WINDOW consecutive hashes, and the first and the last of all."""
    if not hashes:
        return set()
    kept = {hashes[0], hashes[-1]}
    kept.update(map(min, zip(*(hashes[shift:] for shift in range(WINDOW)), strict=False)))
    return kept


def pack(hashes: Iterable[int]) -> bytes:
    """Hashes as a fingerprint holds them."""
    ordered = sorted(hashes)
    return struct.pack(f"<{len(ordered)}Q", *ordered)


def unpack(packed: bytes) -> frozenset[int]:
    """The reverse of `pack`; ValueError where the length is wrong."""
    if len(packed) % 8:
        raise ValueError(f"hashes take 8 bytes each, got {len(packed)} bytes")
    return frozenset(struct.unpack(f"<{len(packed) // 8}Q", packed))

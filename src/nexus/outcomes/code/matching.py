"""Which of several suggestions are in a text, whole or in part."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from nexus.outcomes.code.tokens import placed_tokens
from nexus.outcomes.code.winnow import GRAM, Fingerprint, GramHasher, unpack

MIN_SHARE = 0.3
"""Less than this of a suggestion is no use of it."""
MIN_HASHES = 3


class Suggestion:
    """One code block that is looked for: block `position` of the answer of a call.

    `since` is when it was suggested, in Unix seconds: what is older shows nothing.
    """

    __slots__ = ("fingerprint", "hashes", "new", "partial", "position", "since", "trace_id")

    def __init__(self, trace_id: str, position: int, since: float, fingerprint: Fingerprint) -> None:
        self.trace_id = trace_id
        self.position = position
        self.since = since
        self.fingerprint = fingerprint
        self.hashes = unpack(fingerprint.hashes)
        self.new = self.hashes - unpack(fingerprint.known)
        self.partial = self.new - unpack(fingerprint.elsewhere)


class Found(NamedTuple):
    """A suggestion that is in a text: `whole`, or a `share` of its hashes. `places` are character ranges."""

    suggestion: Suggestion
    whole: bool
    share: float
    places: tuple[tuple[int, int], ...]


class Comparison(NamedTuple):
    """What was found, and the hashes of other suggestions that are there only as a part of it."""

    found: list[Found]
    elsewhere: list[tuple[Suggestion, frozenset[int]]]


class _Hit(NamedTuple):
    """A run of GRAM tokens with a wanted hash: place of its first token, first and last character."""

    value: int
    at: int
    start: int
    end: int


class Matcher:
    """Compares texts with suggestions that were all made under one key."""

    def __init__(self, key: bytes, suggestions: Sequence[Suggestion]) -> None:
        self._hasher = GramHasher(key)
        self._suggestions = suggestions
        self._wanted = frozenset[int]().union(*(each.hashes for each in suggestions))

    def present(self, text: str) -> frozenset[int]:
        """The wanted hashes that a text holds."""
        words = [word for word, _ in placed_tokens(text)]
        return self._wanted.intersection(self._hasher.grams(words))

    def compare(self, text: str, before: AbstractSet[int], *, made_at: float | None = None) -> Comparison:
        """Look for the suggestions in a text that replaced another one, which held the hashes `before`.

        A suggestion is there as a whole if all its hashes are, within its length, and one of them is new. It
        is there in part if a share of its new hashes is. Tokens count for one suggestion: for those that are
        whole, then for the one with the largest share. With `made_at`, the time of the text in Unix seconds,
        suggestions that came later are left out.
        """
        asked = [each for each in self._suggestions if made_at is None or each.since <= made_at]
        hits = self._hits(text)
        if not hits or not asked:
            return Comparison([], [])
        found, claimed = [], set[int]()
        for each in asked:
            run = _whole(each, hits, before)
            if run:
                found.append(Found(each, True, 1.0, tuple((hit.start, hit.end) for hit in run)))
                claimed.update(range(run[0].at, run[-1].at + 1))
        whole = {id(each.suggestion) for each in found}
        rest = [each for each in asked if id(each) not in whole]
        return _in_parts(rest, hits, before, claimed, found)

    def _hits(self, text: str) -> list[_Hit]:
        words, starts = [], []
        for word, start in placed_tokens(text):
            words.append(word)
            starts.append(start)
        wanted = self._wanted
        return [
            _Hit(value, index, starts[index], starts[index + GRAM - 1] + len(words[index + GRAM - 1]))
            for index, value in enumerate(self._hasher.grams(words))
            if value in wanted
        ]


def _whole(suggestion: Suggestion, hits: Sequence[_Hit], before: AbstractSet[int]) -> list[_Hit]:
    """The hits of a suggestion within its own length, if all its hashes are there and one is new."""
    wanted = suggestion.hashes
    if not suggestion.new - before:
        return []
    own = [hit for hit in hits if hit.value in wanted]
    span = suggestion.fingerprint.tokens - GRAM
    counts: dict[int, int] = {}
    first = 0
    for last, hit in enumerate(own):
        counts[hit.value] = counts.get(hit.value, 0) + 1
        while hit.at - own[first].at > span:
            value = own[first].value
            counts[value] -= 1
            if not counts[value]:
                del counts[value]
            first += 1
        if len(counts) == len(wanted):
            return own[first : last + 1]
    return []


def _in_parts(
    rest: Iterable[Suggestion],
    hits: Sequence[_Hit],
    before: AbstractSet[int],
    claimed: set[int],
    found: list[Found],
) -> Comparison:
    elsewhere = []
    waiting = [(each, _own(each, hits, before)) for each in rest]
    waiting = [(each, own) for each, own in waiting if own]
    waiting.sort(key=lambda pair: -_share(pair[0], pair[1], before))
    taken_by: dict[int, frozenset[int]] = {}
    for suggestion, own in waiting:
        free = [
            hit
            for hit in own
            # Equal suggestions of two models share what they have in common.
            if hit.at not in claimed and taken_by.get(hit.at, suggestion.hashes) == suggestion.hashes
        ]
        share = _share(suggestion, free, before)
        if share >= MIN_SHARE and len({hit.value for hit in free}) >= MIN_HASHES:
            places = tuple((hit.start, hit.end) for hit in free)
            found.append(Found(suggestion, False, share, places))
            taken_by.update((hit.at, suggestion.hashes) for hit in free)
        taken = {hit.value for hit in own} - {hit.value for hit in free}
        if taken:
            elsewhere.append((suggestion, frozenset(taken)))
    return Comparison(found, elsewhere)


def _own(suggestion: Suggestion, hits: Sequence[_Hit], before: AbstractSet[int]) -> list[_Hit]:
    wanted = suggestion.partial
    return [hit for hit in hits if hit.value in wanted and hit.value not in before]


def _share(suggestion: Suggestion, hits: Iterable[_Hit], before: AbstractSet[int]) -> float:
    possible = len(suggestion.partial - before)
    return len({hit.value for hit in hits}) / possible if possible else 0.0

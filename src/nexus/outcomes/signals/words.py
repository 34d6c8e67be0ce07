"""The words of a question, and how alike two questions are by them."""

import re
from collections.abc import Set as AbstractSet

COMPARE_CHARS = 1000
"""So much of a text is compared."""
_STEM = 5
_RUN = 4
_HELD = 0.75
_WORD = re.compile(r"\w+")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an the of in on to for with and or is are be it this that i me my you your how do does can could "
        "would what which if from by as at so not no python code write function give get given need want "
        "please wait mean just only using use program method way"
    )
)


def words(text: str) -> list[str]:
    """The words of the beginning of a text, in small letters and in order."""
    return _WORD.findall(text[:COMPARE_CHARS].lower())


def stems(found: list[str]) -> set[str]:
    """The first five letters of the words that are neither stop words nor single letters."""
    return {word[:_STEM] for word in found if len(word) > 1 and word not in _STOP_WORDS}


def dice(one: AbstractSet[object], other: AbstractSet[object]) -> float:
    """Dice's coefficient of two sets, in [0, 1]; 0 where both are empty."""
    total = len(one) + len(other)
    return 2 * len(one & other) / total if total else 0.0


class Terms:
    """What a question is compared by: the `stems` of its words, and all its words, `joined`."""

    __slots__ = ("joined", "stems")

    def __init__(self, text: str) -> None:
        found = words(text)
        self.joined = " ".join(found)
        self.stems = stems(found)

    def likeness(self, other: "Terms") -> float:
        """The mean of two Dice coefficients, of stems and of four-letter runs; in [0, 1]."""
        return (dice(_runs(self.joined), _runs(other.joined)) + dice(self.stems, other.stems)) / 2


def _runs(joined: str) -> set[str]:
    return {joined[at : at + _RUN] for at in range(max(1, len(joined) - _RUN + 1))} if joined else set()


def held(one: AbstractSet[object], other: AbstractSet[object]) -> bool:
    """Whether the larger of two sets holds over three quarters of the smaller; False where one is empty.

    A question put again says more or says less. Where each has words that the other lacks, one was exchanged,
    and it is the next question of the same form: "drop a column" after "add a column".
    """
    return bool(one and other) and len(one & other) > _HELD * min(len(one), len(other))

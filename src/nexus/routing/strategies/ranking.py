"""Candidates in the order in which they are tried, where only some of them were compared."""

from collections.abc import Iterator, Sequence
from typing import overload

from nexus.core.decision import Candidate
from nexus.routing.plan import Option


class Ranking(Sequence[Candidate]):
    """The candidates that were compared, and behind them the other options in turn.

    Who comes behind is worked out when somebody goes that far, which is seldom; until then a ranking of a
    hundred takes the room of a few. It does not change.

    Args:
        compared: best first.
        options: all of them, those that were compared too.
        drawn: the places among the options of those that were compared. The turn begins at the first one.
    """

    __slots__ = ("_compared", "_drawn", "_options")

    def __init__(
        self, compared: Sequence[Candidate], options: Sequence[Option], drawn: Sequence[int]
    ) -> None:
        self._compared = tuple(compared)
        self._options = options
        self._drawn = tuple(drawn)

    def __len__(self) -> int:
        return len(self._options)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, place: int | slice) -> Candidate | tuple[Candidate, ...]:
        if isinstance(place, int) and 0 <= place < len(self._compared):
            return self._compared[place]
        return tuple(self)[place]

    def __iter__(self) -> Iterator[Candidate]:
        yield from self._compared
        options, seen = self._options, set(self._drawn)
        first = self._drawn[0]
        for index in (*range(first, len(options)), *range(first)):
            if index not in seen:
                yield options[index].unweighed

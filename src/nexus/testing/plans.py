"""Which behaviour is whose turn: in order, in a circle, or by chance."""

import itertools
import random
from typing import Protocol

from nexus.testing.wire import Behaviour


class Plan(Protocol):
    """Chooses a behaviour per request. Called by the server's thread only."""

    def next(self) -> Behaviour:
        """The behaviour of the request at hand."""
        ...


class Script:
    """These behaviours once each, in order, and `then` ever after."""

    def __init__(self, *behaviours: Behaviour, then: Behaviour) -> None:
        self._turns = itertools.chain(behaviours, itertools.repeat(then))

    def next(self) -> Behaviour:
        """The next of the script."""
        return next(self._turns)


class Circle:
    """These behaviours in turn, for ever."""

    def __init__(self, *behaviours: Behaviour) -> None:
        if not behaviours:
            raise ValueError("a circle needs at least one behaviour")
        self._turns = itertools.cycle(behaviours)

    def next(self) -> Behaviour:
        """The next in the circle."""
        return next(self._turns)


class Chance:
    """`failure` with probability `ratio` (0 to 1), else `otherwise`; equal seeds give equal sequences."""

    def __init__(self, ratio: float, *, failure: Behaviour, otherwise: Behaviour, seed: int) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio must be between 0 and 1, got {ratio!r}")
        self._ratio = ratio
        self._failure = failure
        self._otherwise = otherwise
        self._random = random.Random(seed)

    def next(self) -> Behaviour:
        """One throw of the dice."""
        return self._failure if self._random.random() < self._ratio else self._otherwise

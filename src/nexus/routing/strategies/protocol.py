"""What a strategy is, and the two things all of them share."""

from collections.abc import Sequence
from random import Random
from typing import Protocol

from nexus.core.decision import Candidate
from nexus.routing.intent import Intent
from nexus.routing.plan import Option

# Scores closer than this are ties.
TIE_WIDTH = 1e-6


class Strategy(Protocol):
    """A way to order backends that could all answer."""

    def name(self) -> str:
        """The route reason it gives: its configured name with dashes."""
        ...

    def rank(self, intent: Intent, options: Sequence[Option]) -> Sequence[Candidate]:
        """One candidate per option, best first; equal ones in random order. `options` is never empty.

        What is returned does not change any more.
        """
        ...


def best_first(candidates: Sequence[Candidate], rng: Random) -> tuple[Candidate, ...]:
    """Sorted by score, highest first. Ties are broken at random, so that no position is favoured."""
    if len(candidates) == 1:
        return tuple(candidates)
    draw = rng.random
    return tuple(sorted(candidates, key=lambda candidate: candidate.score + draw() * TIE_WIDTH, reverse=True))


def estimated_cost(intent: Intent, option: Option) -> float | None:
    """What the budget stage estimated for this option in USD, None where the price is unknown."""
    return intent.costs.get(option.backend_id) if intent.costs is not None else None

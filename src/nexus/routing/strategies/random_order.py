"""`random`: every order is equally likely."""

from collections.abc import Sequence
from random import Random

from nexus.core.decision import Candidate
from nexus.routing.intent import Intent
from nexus.routing.plan import Option
from nexus.routing.strategies.protocol import best_first, estimated_cost


class RandomOrder:
    """Gives every candidate the same score, so that only the breaking of ties orders them."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def name(self) -> str:
        """`random`."""
        return "random"

    def rank(self, intent: Intent, options: Sequence[Option]) -> Sequence[Candidate]:
        """All options in random order."""
        candidates = [
            Candidate(option.view, option.model, 0.0, cost_usd=estimated_cost(intent, option))
            for option in options
        ]
        return best_first(candidates, self._rng)

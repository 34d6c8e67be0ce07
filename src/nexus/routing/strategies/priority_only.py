"""`priority_only`: the configured priority and nothing else."""

from collections.abc import Sequence
from random import Random

from nexus.core.decision import Candidate
from nexus.routing.intent import Intent
from nexus.routing.plan import Option
from nexus.routing.strategies.protocol import best_first, estimated_cost


class PriorityOnly:
    """Lower priority numbers first; the score is the negated number."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def name(self) -> str:
        """`priority-only`."""
        return "priority-only"

    def rank(self, intent: Intent, options: Sequence[Option]) -> Sequence[Candidate]:
        """Lowest priority number first, equal ones in random order."""
        candidates = [
            Candidate(
                option.view,
                option.model,
                -float(option.priority),
                (("priority", float(option.priority)),),
                cost_usd=estimated_cost(intent, option),
            )
            for option in options
        ]
        return best_first(candidates, self._rng)

"""`round_robin`: each backend in turn."""

from collections.abc import Sequence
from random import Random
from typing import Final

from nexus.core.decision import Candidate
from nexus.routing.intent import Intent
from nexus.routing.plan import Option
from nexus.routing.strategies.protocol import estimated_cost

_MAX_MODELS: Final = 4096


class RoundRobin:
    """Takes turns per model, from a random start, so that several gateways do not move in step."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._turns: dict[str, int] = {}

    def name(self) -> str:
        """`round-robin`."""
        return "round-robin"

    def rank(self, intent: Intent, options: Sequence[Option]) -> Sequence[Candidate]:
        """The backend whose turn it is, then the others in order. The score is the distance from the end."""
        count = len(options)
        first = self._turn(intent.plan.model, count, keep=intent.preview)
        ordered = [*options[first:], *options[:first]]
        return tuple(
            Candidate(
                option.view,
                option.model,
                float(count - position),
                (("turn", float(position)),),
                cost_usd=estimated_cost(intent, option),
            )
            for position, option in enumerate(ordered)
        )

    def _turn(self, model: str, count: int, *, keep: bool) -> int:
        turn = self._turns.get(model)
        if turn is None:
            turn = self._rng.randrange(count)
            if len(self._turns) >= _MAX_MODELS:
                self._turns.clear()
        self._turns[model] = turn if keep else turn + 1
        return turn % count

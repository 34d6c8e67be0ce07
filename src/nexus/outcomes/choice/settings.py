"""What can be set about the choice of a model."""

import math

from msgspec import Struct


class ChoiceSettings(Struct, frozen=True, kw_only=True):
    """The constants of the chooser; docs/auto.md says what each does.

    `exploration` is the share of choices drawn evenly among all models, in [0, 1]. The weights are of quality
    (in [0, 1]), cost term (in [0, 1]) and time term (in [0, 1)). `prior_mean` is the quality a model is taken
    to have until something is known. Masses are in observations of full weight.

    Raises:
        ValueError: a value is out of its range.
    """

    exploration: float = 0.05
    quality_weight: float = 1.0
    cost_weight: float = 0.1
    latency_weight: float = 0.1
    prior_mean: float = 0.9
    model_mass: float = 20.0
    model_decay: float = 0.99
    task_mass: float = 60.0
    task_decay: float = 0.98
    cost_low_usd: float = 1e-5
    cost_high_usd: float = 0.1
    half_time_seconds: float = 10.0
    max_conversations: int = 10_000
    conversation_idle_seconds: float = 3600.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.exploration <= 1.0:
            raise ValueError(f"exploration must be in [0, 1], got {self.exploration}")
        if not 0.0 < self.prior_mean < 1.0:
            raise ValueError(f"prior_mean must be between 0 and 1, got {self.prior_mean}")
        if min(self.quality_weight, self.cost_weight, self.latency_weight) < 0:
            raise ValueError("weights must not be negative")
        if min(self.model_mass, self.task_mass, self.half_time_seconds) <= 0:
            raise ValueError("masses and half_time_seconds must be over 0")
        if not (0.0 < self.model_decay <= 1.0 and 0.0 < self.task_decay <= 1.0):
            raise ValueError("decays must be over 0 and at most 1")
        if not 0.0 < self.cost_low_usd < self.cost_high_usd:
            raise ValueError("cost_low_usd must be over 0 and under cost_high_usd")

    def cost_term(self, cost_usd: float) -> float:
        """Where a cost lies between the low and the high one on a logarithmic scale, kept in [0, 1]."""
        if cost_usd <= self.cost_low_usd:
            return 0.0
        span = math.log(self.cost_high_usd / self.cost_low_usd)
        return min(1.0, math.log(cost_usd / self.cost_low_usd) / span)

    def time_term(self, seconds: float) -> float:
        """`s / (s + half_time_seconds)`: 0 at once, 1/2 at the half time, towards 1 beyond."""
        return seconds / (seconds + self.half_time_seconds) if seconds > 0 else 0.0

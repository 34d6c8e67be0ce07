"""Which configured name stands for which strategy. A new one is a file of its own and a line here."""

from collections.abc import Callable, Mapping
from random import Random

from msgspec import Struct

from nexus.config.model import QualitySettings, RoutingConfig
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.routing.affinity import PrefixAffinity
from nexus.routing.strategies.expected_time import ExpectedTime
from nexus.routing.strategies.priority_only import PriorityOnly
from nexus.routing.strategies.protocol import Strategy
from nexus.routing.strategies.random_order import RandomOrder
from nexus.routing.strategies.round_robin import RoundRobin
from nexus.routing.strategies.smart import Smart


class Means(Struct, frozen=True):
    """What strategies are made with. `affinity` knows who has which prompt cached, None: nobody looks."""

    routing: RoutingConfig
    quality: QualitySettings
    tuning: ExpectedTimeSettings
    rng: Random
    affinity: PrefixAffinity | None = None


STRATEGIES: Mapping[str, Callable[[Means], Strategy]] = {
    "expected_time": lambda means: ExpectedTime(
        means.tuning,
        means.rng,
        quality=means.quality.enabled,
        affinity=means.affinity if means.routing.prefix_affinity else None,
    ),
    "smart": lambda means: Smart(means.routing.weights, means.quality, means.rng),
    "round_robin": lambda means: RoundRobin(means.rng),
    "priority_only": lambda means: PriorityOnly(means.rng),
    "random": lambda means: RandomOrder(means.rng),
}


def strategy_for(means: Means) -> Strategy:
    """The configured strategy, ready for use."""
    return STRATEGIES[means.routing.strategy](means)

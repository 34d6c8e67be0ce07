"""Which configured name stands for which strategy. A new one is a file of its own and a line here."""

from collections.abc import Callable, Mapping
from random import Random

from nexus.config.model import QualitySettings, RoutingConfig
from nexus.routing.strategies.priority_only import PriorityOnly
from nexus.routing.strategies.protocol import Strategy
from nexus.routing.strategies.random_order import RandomOrder
from nexus.routing.strategies.round_robin import RoundRobin
from nexus.routing.strategies.smart import Smart

StrategyMaker = Callable[[RoutingConfig, QualitySettings, Random], Strategy]

STRATEGIES: Mapping[str, StrategyMaker] = {
    "smart": lambda routing, quality, rng: Smart(routing.weights, quality, rng),
    "round_robin": lambda _routing, _quality, rng: RoundRobin(rng),
    "priority_only": lambda _routing, _quality, rng: PriorityOnly(rng),
    "random": lambda _routing, _quality, rng: RandomOrder(rng),
}


def strategy_for(routing: RoutingConfig, quality: QualitySettings, rng: Random) -> Strategy:
    """The configured strategy, ready for use."""
    return STRATEGIES[routing.strategy](routing, quality, rng)

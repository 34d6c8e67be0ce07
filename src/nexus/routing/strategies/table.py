"""Which configured name stands for which strategy. A new one is a file of its own and a line here."""

from collections.abc import Callable, Mapping
from random import Random

from nexus.config.model import QualitySettings, RoutingConfig
from nexus.core.learned import ExpectedTimeSettings
from nexus.routing.strategies.expected_time import ExpectedTime
from nexus.routing.strategies.priority_only import PriorityOnly
from nexus.routing.strategies.protocol import Strategy
from nexus.routing.strategies.random_order import RandomOrder
from nexus.routing.strategies.round_robin import RoundRobin
from nexus.routing.strategies.smart import Smart

StrategyMaker = Callable[[RoutingConfig, QualitySettings, ExpectedTimeSettings, Random], Strategy]

STRATEGIES: Mapping[str, StrategyMaker] = {
    "expected_time": lambda _routing, quality, tuning, rng: ExpectedTime(
        tuning, rng, quality=quality.enabled
    ),
    "smart": lambda routing, quality, _tuning, rng: Smart(routing.weights, quality, rng),
    "round_robin": lambda _routing, _quality, _tuning, rng: RoundRobin(rng),
    "priority_only": lambda _routing, _quality, _tuning, rng: PriorityOnly(rng),
    "random": lambda _routing, _quality, _tuning, rng: RandomOrder(rng),
}


def strategy_for(
    routing: RoutingConfig, quality: QualitySettings, tuning: ExpectedTimeSettings, rng: Random
) -> Strategy:
    """The configured strategy, ready for use."""
    return STRATEGIES[routing.strategy](routing, quality, tuning, rng)

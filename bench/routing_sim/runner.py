"""Runs policies through scenarios and puts the figures together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

import msgspec

from bench.routing_sim.baseline import BaselineGateway
from bench.routing_sim.baselines import BASELINES
from bench.routing_sim.engine import Engine
from bench.routing_sim.gateway import SimulatedGateway
from bench.routing_sim.measures import Figures, RunFigures, Tally, combine, run_figures
from bench.routing_sim.scenarios import DURATION, Scenario
from bench.routing_sim.servers import make_backends
from bench.routing_sim.trace import Arrival, make_trace
from bench.routing_sim.wiring import Product
from nexus.config.model import BreakerSettings, QualitySettings, RoutingConfig
from nexus.core.expected_time import ExpectedTimeSettings

# The last request may meet three time-outs of a minute each, and its answer takes a while.
_DRAIN_SECONDS = 900.0

PRODUCTS: Mapping[str, Product] = {
    "expected_time": Product(RoutingConfig(strategy="expected_time")),
    # What the documented rule is by itself: no breakers, and failures that have to age out of the hour.
    "smart": Product(
        RoutingConfig(strategy="smart"), QualitySettings(recovery="window"), BreakerSettings(enabled=False)
    ),
    "round_robin": Product(
        RoutingConfig(strategy="round_robin"), QualitySettings(enabled=False), BreakerSettings(enabled=False)
    ),
}
POLICIES = (
    "expected_time",
    "smart",
    "litellm_shuffle",
    "envoy_outlier",
    "peak_ewma",
    "prequal",
    "oracle",
    "round_robin",
)


class Replica(Protocol):
    """One gateway in the simulation."""

    def join(self, index: int) -> None:
        """A backend is added."""
        ...

    def submit(self, arrival: Arrival) -> None:
        """A client sends a request."""
        ...


def run(
    policy: str,
    scenario: Scenario,
    seed: int,
    arrivals: list[Arrival],
    *,
    replicas: int,
    product: Product | None = None,
) -> RunFigures:
    """One policy in one scenario. Replicas share nothing; each request goes to one of them at random."""
    engine = Engine()
    backends = list(make_backends(engine, scenario))
    tally = Tally(scenario)
    members = [index for index in range(len(backends)) if index not in scenario.joins]
    chosen = product if product is not None else PRODUCTS.get(policy)
    gateways: list[Replica] = []
    for number in range(replicas):
        name = f"{policy}/{seed}/{number}"
        if chosen is not None:
            gateways.append(
                SimulatedGateway(
                    engine,
                    backends,
                    arrivals,
                    tally,
                    product=chosen,
                    members=members,
                    seed=name,
                    until=DURATION + _DRAIN_SECONDS,
                )
            )
        else:
            rule = BASELINES[policy](engine, backends, members, Random(name))
            gateways.append(BaselineGateway(engine, backends, rule, tally))
    for index, moment in scenario.joins.items():
        for gateway in gateways:
            engine.at(moment, gateway.join, index)
    _feed(engine, gateways, arrivals)
    _run_dry(engine, tally, len(arrivals))
    spoiled = [
        backends[index].spoiled_at for index in scenario.focus if backends[index].spoiled_at is not None
    ]
    return run_figures(
        tally, scenario, arrivals, min((each for each in spoiled if each is not None), default=None)
    )


def _feed(engine: Engine, gateways: Sequence[Replica], arrivals: Sequence[Arrival]) -> None:
    """Let each arrival bring in the next, so that the heap stays small."""
    coming = iter(arrivals)

    def bring(arrival: Arrival) -> None:
        following = next(coming, None)
        if following is not None:
            engine.at(following.moment, bring, following)
        gateways[int(arrival.replica * len(gateways))].submit(arrival)

    first = next(coming, None)
    if first is not None:
        engine.at(first.moment, bring, first)


def _run_dry(engine: Engine, tally: Tally, requests: int) -> None:
    """Go on after the last arrival until every request has ended."""
    engine.run(DURATION)
    until = DURATION
    while len(tally.costs) < requests and until < DURATION + _DRAIN_SECONDS:
        until += 10.0
        engine.run(until)


def compare(
    scenario: Scenario,
    seeds: Sequence[int],
    policies: Iterable[str],
    *,
    replicas: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, Figures]:
    """Every policy on every seed; the oracle always runs, because regret is measured against it."""
    wanted = list(policies)
    traces = {seed: make_trace(scenario, seed) for seed in seeds}
    runs: dict[str, list[RunFigures]] = {}
    for policy in dict.fromkeys(["oracle", *wanted]):
        told(f"{scenario.name} {policy}")
        runs[policy] = [
            run(policy, scenario, seed, traces[seed], replicas=1 if policy == "oracle" else replicas)
            for seed in seeds
        ]
    return {policy: combine(runs[policy], runs["oracle"]) for policy in wanted}


def tuned(name: str = "", factor: float = 1.0) -> Product:
    """`expected_time` with one of its constants multiplied; whole numbers stay whole."""
    tuning = ExpectedTimeSettings()
    if name:
        value = getattr(tuning, name)
        changed = max(1, round(value * factor)) if isinstance(value, int) else value * factor
        tuning = msgspec.structs.replace(tuning, **{name: changed})
    return replace(PRODUCTS["expected_time"], tuning=tuning)

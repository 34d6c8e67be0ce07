"""Each constant of `expected_time` halved and doubled: what becomes of the mean regret."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from bench.routing_sim.runner import run, tuned
from bench.routing_sim.scenarios import SCENARIOS
from bench.routing_sim.trace import make_trace
from nexus.core.expected_time import ExpectedTimeSettings

FACTORS = (0.5, 2.0)
# With six backends all candidates are compared, and all have the same priority.
LEFT_OUT = frozenset({"exact_up_to", "sample", "priority_tolerance"})


@dataclass(frozen=True)
class Ablation:
    """One constant: its value, and the change of the mean regret in seconds when it is halved and doubled."""

    name: str
    value: float
    halved: float
    doubled: float


@dataclass(frozen=True)
class _Case:
    name: str
    factor: float


def names() -> list[str]:
    """The constants that can matter in the simulation."""
    return [name for name in ExpectedTimeSettings.__struct_fields__ if name not in LEFT_OUT]


def ablate(scenarios: Sequence[str], seeds: Sequence[int], *, jobs: int = 1) -> list[Ablation]:
    """Run every case on the same traffic. The differences are against the constants as they are."""
    constants = names()
    cases = [_Case("", 1.0), *(_Case(name, factor) for name in constants for factor in FACTORS)]
    work = partial(_mean_cost, scenarios=scenarios, seeds=seeds)
    if jobs == 1:
        costs = dict(map(work, cases))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            costs = dict(pool.map(work, cases))
    base = costs[_Case("", 1.0)]
    defaults = ExpectedTimeSettings()
    return [
        Ablation(
            name,
            getattr(defaults, name),
            *(costs[_Case(name, factor)] - base for factor in FACTORS),
        )
        for name in constants
    ]


def _mean_cost(case: _Case, *, scenarios: Sequence[str], seeds: Sequence[int]) -> tuple[_Case, float]:
    product = tuned(case.name, case.factor) if case.name else tuned()
    total = 0.0
    for scenario in scenarios:
        for seed in seeds:
            arrivals = make_trace(SCENARIOS[scenario], seed)
            figures = run("expected_time", SCENARIOS[scenario], seed, arrivals, replicas=1, product=product)
            total += figures.cost / figures.requests
    return case, total / (len(scenarios) * len(seeds))


def ablation_markdown(rows: Sequence[Ablation]) -> str:
    """A table, in the order of the record."""
    lines = ["| constant | value | halved: change of mean regret, s | doubled |", "|---|---:|---:|---:|"]
    lines += [f"| `{row.name}` | {row.value:g} | {row.halved:+.4f} | {row.doubled:+.4f} |" for row in rows]
    return "\n".join(lines) + "\n"

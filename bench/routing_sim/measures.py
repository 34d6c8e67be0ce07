"""What is counted of one run, and the figures made of it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.routing_sim.scenarios import DURATION, Scenario
from bench.routing_sim.trace import Arrival

FAILURE_PENALTY_SECONDS = 10.0
"""A request that fails costs the time until its failure and this much more: somebody has to ask again."""
WINDOW_SECONDS = 10.0
EXCLUDED_SHARE = 0.1
RECOVERED_SHARE = 0.8


class Tally:
    """Told of everything that happens to requests and attempts. Times are virtual seconds."""

    def __init__(self, scenario: Scenario) -> None:
        self._focus = frozenset(scenario.focus)
        self.sends: list[float] = []
        self.focus_sends: list[float] = []
        self.wasted = 0
        self.focus_wasted = 0
        self.costs: dict[int, float] = {}
        self.ttfts: list[float] = []

    def sent(self, backend: int, now: float) -> None:
        """An attempt was sent."""
        self.sends.append(now)
        if backend in self._focus:
            self.focus_sends.append(now)

    def spoiled(self, backend: int) -> None:
        """An attempt did not lead to an answer."""
        self.wasted += 1
        if backend in self._focus:
            self.focus_wasted += 1

    def served(self, arrival: Arrival, ttft: float) -> None:
        """A request was answered in full; `ttft` counts from its arrival."""
        self.ttfts.append(ttft)
        self.costs[arrival.number] = ttft

    def lost(self, arrival: Arrival, elapsed: float) -> None:
        """A request failed, or its answer broke off."""
        self.costs[arrival.number] = elapsed + FAILURE_PENALTY_SECONDS


@dataclass(frozen=True)
class RunFigures:
    """One run of one policy. Times to exclude and recover are None where the scenario has no such moment."""

    requests: int
    wasted: int
    focus_wasted: int
    cost: float
    ttfts: Sequence[float]
    time_to_exclude_s: float | None
    time_to_recover_s: float | None


@dataclass
class Figures:
    """One policy in one scenario over all seeds, as the JSON has it."""

    success: float
    wasted_per_request: float
    ttft_p50_s: float
    ttft_p99_s: float
    time_to_exclude_s: float | None
    time_to_recover_s: float | None
    regret_s: float
    regret_by_seed: list[float] = field(default_factory=list)
    focus_wasted_per_request: float = 0.0


def run_figures(
    tally: Tally, scenario: Scenario, arrivals: Sequence[Arrival], spoiled_at: float | None
) -> RunFigures:
    """Sum up a run; a request nobody answered is an error of the simulation and raises RuntimeError."""
    missing = len(arrivals) - len(tally.costs)
    if missing:
        raise RuntimeError(f"{scenario.name}: {missing} requests have no end")
    return RunFigures(
        requests=len(arrivals),
        wasted=tally.wasted,
        focus_wasted=tally.focus_wasted,
        cost=sum(tally.costs.values()),
        ttfts=tally.ttfts,
        time_to_exclude_s=_time_to_exclude(tally, scenario, spoiled_at),
        time_to_recover_s=_time_to_recover(tally, scenario),
    )


def combine(runs: Sequence[RunFigures], oracle: Sequence[RunFigures]) -> Figures:
    """Put the runs of several seeds together; `oracle` are its runs on the same seeds, in the same order."""
    requests = sum(run.requests for run in runs)
    ttfts = sorted(ttft for run in runs for ttft in run.ttfts)
    regrets = [(ours.cost - best.cost) / ours.requests for ours, best in zip(runs, oracle, strict=True)]
    return Figures(
        success=len(ttfts) / requests,
        wasted_per_request=sum(run.wasted for run in runs) / requests,
        ttft_p50_s=quantile(ttfts, 0.5),
        ttft_p99_s=quantile(ttfts, 0.99),
        time_to_exclude_s=_mean([run.time_to_exclude_s for run in runs]),
        time_to_recover_s=_mean([run.time_to_recover_s for run in runs]),
        regret_s=sum(regrets) / len(regrets),
        regret_by_seed=regrets,
        focus_wasted_per_request=sum(run.focus_wasted for run in runs) / requests,
    )


def quantile(ordered: Sequence[float], q: float) -> float:
    """The value that a share `q` of the sorted values is not over; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _share(tally: Tally, scenario: Scenario, start: float) -> float:
    """What the focus gets in the window from `start` on, as a part of an even share."""
    end = start + WINDOW_SECONDS
    every = bisect_left(tally.sends, end) - bisect_left(tally.sends, start)
    focus = bisect_left(tally.focus_sends, end) - bisect_left(tally.focus_sends, start)
    even = every * len(scenario.focus) / len(scenario.slots)
    return focus / even if even else 1.0


def _time_to_exclude(tally: Tally, scenario: Scenario, spoiled_at: float | None) -> float | None:
    """From the first attempt that the fault spoils until the focus gets next to nothing.

    A policy that never excludes is counted as if it did at the end of the fault.
    """
    if not scenario.focus or not scenario.times_exclusion or spoiled_at is None:
        return None
    first = bisect_left(tally.focus_sends, spoiled_at)
    for moment in (spoiled_at, *tally.focus_sends[first:]):
        if moment >= scenario.fault_end:
            break
        # Just after the attempt: the window holds what came of it.
        if _share(tally, scenario, moment + 1e-9) <= EXCLUDED_SHARE:
            return moment - spoiled_at
    return scenario.fault_end - spoiled_at


def _time_to_recover(tally: Tally, scenario: Scenario) -> float | None:
    """From the end of the fault until the focus has (nearly) an even share again; at worst until the end."""
    if not scenario.focus:
        return None
    end = scenario.fault_end
    first = bisect_left(tally.focus_sends, end)
    for moment in (end, *tally.focus_sends[first:]):
        if moment + WINDOW_SECONDS > DURATION:
            break
        if _share(tally, scenario, moment) >= RECOVERED_SHARE:
            return moment - end
    return DURATION - end

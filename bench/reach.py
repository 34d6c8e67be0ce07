"""Every figure that performance is judged by, taken in one run, beside what it has to reach.

    python -m bench.reach [--seconds 3] [--rounds 5] [--requests 1000000] [--no-save]

Runs the other benches one after the other, everything on: peers, a thousand paced streams, start-up and
memory, decisions, the quality library, workers. Takes about twenty minutes and a machine with nothing else to
do. Prints a table and writes everything to bench/results/. Exit code 1 if a figure is missing or not reached.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from msgspec import Struct

from bench import footprint, load, machine, paced, process, proxies, quality_cost, subjects, workers
from bench.bench_routing_decision import plain_decisions
from bench.figures import Row, ratios, table, write_json

FLEETS = (8, 25, 100)
_WORKERS = (1, 2)
_MOST_STOLEN = 0.05
_TRIES = 4
"""Pairs of paced streams, per round, until there are enough in which the host left us our cores."""
_ADDED_US = {"nginx": 68.0, "vllm-router": 145.0, "sglang-router": 166.0, "envoy": 179.0}
"""What others added on the machine on which 180 µs were set as the bound, and 100 as the aim.

Microseconds are those of a machine: most of it is what it takes there to wake a process. So the bound is held
against what each of the others adds in the same run, too.
"""


Pair = tuple[paced.Paced, paced.Paced]


class Measured(Struct, frozen=True):
    """Everything that was taken.

    `paced` are pairs of going direct and through the gateway, also those that were taken again because the
    host took too much; `decisions_us` 95th percentiles by size of the fleet.
    """

    proxies: tuple[Row, ...]
    ratios: dict[str, dict[str, float]]
    paced: tuple[Pair, ...]
    footprint: footprint.Footprint
    decisions_us: dict[str, float]
    quality: quality_cost.QualityCost
    workers: tuple[workers.Row, ...]


class Goal(Struct, frozen=True):
    """One figure: what it has to reach and what it aims at, None where it was not to be had.

    `at_least`: more is better.
    """

    name: str
    value: float | None
    reach: float
    aim: float
    at_least: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether the figure is there and good enough."""
        if self.value is None:
            return False
        return self.value >= self.reach if self.at_least else self.value <= self.reach

    @property
    def distance(self) -> str:
        """How far it is from the aim: `aim met`, or the factor that is missing."""
        if self.value is None:
            return ""
        if self.value >= self.aim if self.at_least else self.value <= self.aim:
            return "aim met"
        if not self.value or not self.aim:
            return f"{self.value - self.aim:+.2f} to the aim"
        return f"{self.aim / self.value if self.at_least else self.value / self.aim:.2f}x to the aim"


class Report(Struct, frozen=True):
    """What a run leaves behind."""

    date: str
    commit: str
    machine: machine.Machine
    goals: tuple[Goal, ...]
    measured: Measured


def measure(folder: Path, *, seconds: float, rounds: int, requests: int) -> Measured:
    """Run everything.

    Raises:
        process.UnavailableError, process.NotReadyError, load.LoadError: a bench can't run here at all.
    """
    rows = proxies.run(folder, only=set(subjects.NAMES), seconds=seconds, rounds=rounds)
    print(table(rows), flush=True)
    with _on(process.LOAD_CORE):
        streams = _paced(folder, rounds)
    print(*streams, sep="\n", flush=True)
    grown = footprint.run(folder, requests=requests, backends=100)
    print(grown, flush=True)
    with _on(process.PROXY_CORE):
        decisions = {str(size): round(plain_decisions(size), 1) for size in FLEETS}
        quality = quality_cost.measure()
    print(decisions, quality, sep="\n", flush=True)
    scaling = workers.run(folder, _WORKERS, seconds=seconds, rounds=rounds)
    return Measured(rows, ratios(rows), streams, grown, decisions, quality, scaling)


def _paced(folder: Path, rounds: int) -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    while len(undisturbed(pairs)) < rounds and len(pairs) < _TRIES * rounds:
        found = paced.run(folder, streams=1000, per_second=20, tokens=100)
        pairs.append((found[paced.DIRECT], found["nexus"]))
    return tuple(pairs)


def undisturbed(pairs: Sequence[Pair]) -> list[Pair]:
    """Those during which the host gave hardly anything of this machine's time to others."""
    return [pair for pair in pairs if max(each.stolen for each in pair) <= _MOST_STOLEN]


def goals(found: Measured) -> tuple[Goal, ...]:
    """The figures beside what they have to reach."""

    def against(peer: str, figure: str) -> float | None:
        return found.ratios.get(peer, {}).get(figure)

    ours = next((row for row in found.proxies if row.name == "nexus"), None)
    added = None if ours is None or ours.added_us is None else ours.added_us.median
    memory, quality, decisions = found.footprint, found.quality, found.decisions_us
    loaded, again = memory.loaded_mb - memory.idle_mb, memory.grown_mb - memory.loaded_mb
    pairs = undisturbed(found.paced) or found.paced
    most = found.workers[-1]
    share = round(most.scaling / most.workers, 3)
    return (
        Goal("throughput per core ÷ vllm-router", against("vllm-router", "rps_per_core"), 1.0, 2.0, True),
        Goal("throughput per core ÷ Envoy", against("envoy", "rps_per_core"), 0.5, 1.0, True),
        Goal("throughput per core ÷ LiteLLM", against("litellm", "rps_per_core"), 50.0, 200.0, True),
        Goal("chunks/s ÷ vllm-router", against("vllm-router", "chunks"), 1.0, 1.5, True),
        Goal("added latency p50, one connection, µs", added, 180.0, 100.0),
        *(
            Goal(
                f"added latency p50, one connection, ÷ {peer}", against(peer, "added_us"), 180 / us, 100 / us
            )
            for peer, us in _ADDED_US.items()
        ),
        Goal(
            "1,000 paced streams: added TTFT p99, ms",
            round(median(through.ttft_p99_ms - direct.ttft_p99_ms for direct, through in pairs), 2),
            25.0,
            10.0,
        ),
        Goal("1,000 paced streams: broken ones", sum(through.broken for _, through in found.paced), 0.0, 0.0),
        *(
            Goal(f"decision over {size} backends, p95 µs", decisions[str(size)], reach, aim)
            for size, reach, aim in zip(FLEETS, (50.0, 100.0, 300.0), (15.0, 30.0, 100.0), strict=True)
        ),
        Goal("record_outcome, µs", quality.record_outcome_us, 2.0, 1.0),
        Goal("get_metrics, µs", quality.get_metrics_us, 1.0, 0.3),
        Goal("recompute_all of 100 agents, ms", quality.recompute_all_ms, 5.0, 1.0),
        Goal("memory idle, MB", memory.idle_mb, 80.0, 60.0),
        Goal("memory, 100 backends and load, MB more", round(loaded, 1), 20.0, 10.0),
        # No growth is asked for; within a megabyte it can't be told from the allocators' moods.
        Goal("memory, as many requests again, MB more", round(again, 1), 1.0, 0.0),
        Goal("start to first answer, 3 backends, s", median(memory.start_seconds), 1.0, 0.5),
        Goal(f"scaling of {most.workers} workers ÷ {most.workers}", share, 0.85, 1.0, True),
    )


def goals_table(found: Sequence[Goal]) -> str:
    """The goals as Markdown."""
    lines = ["| figure | reach | aim | measured | |", "|---|---:|---:|---:|---|"]
    for goal in found:
        sign = "≥" if goal.at_least else "≤"
        value = "-" if goal.value is None else f"{goal.value:,.2f}"
        word = "reached" if goal.is_reached else "**not reached**"
        note = f"{word}, {goal.distance}" if goal.distance else word
        lines.append(f"| {goal.name} | {sign} {goal.reach:,.2f} | {goal.aim:,.2f} | {value} | {note} |")
    return "\n".join(lines)


@contextmanager
def _on(core: int) -> Iterator[None]:
    """Keep this process, and those it starts, on one core for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, save; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.reach", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run of load")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each measurement")
    parser.add_argument("--requests", type=int, default=1_000_000, help="before each reading of the memory")
    parser.add_argument("--no-save", action="store_true", help="do not write to bench/results/")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
        try:
            found = measure(
                Path(folder), seconds=options.seconds, rounds=options.rounds, requests=options.requests
            )
        except (process.UnavailableError, process.NotReadyError, load.LoadError) as error:
            print(f"bench.reach: {error}", file=sys.stderr)
            return 1
    reached = goals(found)
    print(goals_table(reached))
    if not options.no_save:
        date, commit = datetime.now(UTC).strftime("%Y-%m-%d"), machine.git_short()
        report = Report(date, commit, machine.describe(), reached, found)
        path = proxies.RESULTS / f"{date}-{commit.rstrip('+')}-reach.json"
        write_json(path, report)
        print(f"\nwritten to bench/results/{path.name}")
    return 0 if all(goal.is_reached for goal in reached) else 1


if __name__ == "__main__":
    sys.exit(main())

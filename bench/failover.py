"""Failing backends on real sockets: what clients of Nexus, LiteLLM and vllm-router get to see.

    python -m bench.failover [--scenarios S1,S10] [--rate 10] [--seed 1] [--json PATH] [--markdown PATH]

Every gateway has a fleet of its own whose backends fail at the same moments, and clients of its own that ask
at the same moments; all run at once. Exit code 1 if Nexus has more failures than a peer in any scenario, or
one that could have been avoided where none should be.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from time import monotonic

import uvloop

from bench import machine, process
from bench.failover_backends import Backends
from bench.failover_client import Seen, ask, ask_all
from bench.failover_figures import Figures, complaints, figures, markdown
from bench.failover_scenarios import SCENARIOS, Scenario
from bench.failover_subjects import ANSWER_SECONDS, SUBJECTS, Subject
from bench.figures import write_json
from bench.process import LOAD_CORE, NotReadyError, UnavailableError

WARM_UP_REQUESTS = 20
_SETTLE_SECONDS = 0.5
_RESULTS = Path(__file__).resolve().parent / "results" / "failover.json"


def moments(scenario: Scenario, rate: float, seed: int) -> list[float]:
    """When requests arrive: a Poisson process."""
    rng = Random(f"{scenario.name}/{seed}")
    found = []
    moment = rng.expovariate(rate)
    while moment < scenario.seconds:
        found.append(moment)
        moment += rng.expovariate(rate)
    return found


async def drive(
    ports: Sequence[int], backends: Backends, scenario: Scenario, arrivals: Sequence[float]
) -> list[list[Seen]]:
    """Warm every gateway up, then run the scenario against all of them."""
    for _ in range(WARM_UP_REQUESTS):
        await asyncio.gather(*(ask(port, monotonic()) for port in ports))
    began = monotonic() + _SETTLE_SECONDS
    changing = asyncio.get_running_loop().create_task(_change(backends, scenario, began))
    seen = await asyncio.gather(*(ask_all(port, arrivals, began) for port in ports))
    await changing
    return list(seen)


async def _change(backends: Backends, scenario: Scenario, began: float) -> None:
    for change in sorted(scenario.changes, key=lambda each: each.at):
        await asyncio.sleep(max(0.0, began + change.at - monotonic()))
        backends.change(change)


def run(scenario: Scenario, folder: Path, *, rate: float, seed: int) -> tuple[dict[str, Figures], list[str]]:
    """One scenario: the figures of the gateways that run here, and why the others do not."""
    with Backends(len(SUBJECTS)) as backends, ThreadPoolExecutor(len(SUBJECTS)) as pool:
        started = [
            pool.submit(_start, subject, folder, fleet, scenario.name)
            for subject, fleet in zip(SUBJECTS, backends.fleets, strict=True)
        ]
        outcomes = [each.result() for each in started]
        running = {each.name: each for each in outcomes if isinstance(each, process.Running)}
        try:
            ports = [int(each.url.rpartition(":")[2]) for each in running.values()]
            seen = uvloop.run(drive(ports, backends, scenario, moments(scenario, rate, seed)))
        finally:
            for each in running.values():
                each.stop()
    found = {name: figures(each, scenario) for name, each in zip(running, seen, strict=True)}
    return found, [each for each in outcomes if isinstance(each, str)]


def _start(subject: Subject, folder: Path, fleet: Sequence[str], tag: str) -> process.Running | str:
    try:
        return subject.start(folder, fleet, tag)
    except (UnavailableError, NotReadyError) as error:
        return f"{subject.name}: {error}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, save, judge."""
    options = _arguments(argv)
    os.sched_setaffinity(0, {LOAD_CORE})
    results: dict[str, dict[str, Figures]] = {}
    missing: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="nexus-failover-") as folder:
        for name in options.scenarios:
            found, absent = run(SCENARIOS[name], Path(folder), rate=options.rate, seed=options.seed)
            results[name] = found
            missing.update(absent)
            print(markdown({name: found}), flush=True)
    for reason in sorted(missing):
        print(f"not measured: {reason}", file=sys.stderr)
    if options.markdown:
        options.markdown.write_text(markdown(results), encoding="utf-8")
    document = {
        "machine": machine.describe(),
        "seed": options.seed,
        "requests_per_second": options.rate,
        "answer_seconds": ANSWER_SECONDS,
        "scenarios": results,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.json, document)
    problems = complaints(results)
    for problem in problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-failover", description="Failing backends on real sockets."
    )
    parser.add_argument("--scenarios", type=_scenarios, default=list(SCENARIOS), help="such as S1,S10")
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second and gateway")
    parser.add_argument("--seed", type=int, default=1, help="decides when requests arrive")
    parser.add_argument("--json", type=Path, default=_RESULTS, help="write the figures there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    return parser.parse_args(argv)


def _scenarios(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; known: {', '.join(SCENARIOS)}")
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    sys.exit(main())

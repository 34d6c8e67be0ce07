"""What each feature costs a request: processor time with everything on, and without one thing at a time.

    python -m bench.feature_cost [--rounds 40] [--requests 500]

Real gateways between transports in memory (see `bench.hot_path`), sixteen requests at a time, receipts
written to disk by their thread. The gateways take turns within each round, and what counts is the median of
the differences within the rounds, so that a slow moment of the machine hits all of them. Each has a process
of its own: in one they would share a heap, and the place in the order decided more than the setting.
"""

import argparse
import asyncio
import gc
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import process_time
from typing import Self

import uvloop
from msgspec import Struct

from bench.hot_path import Bench

EVERYTHING = "everything on"
WITHOUT: Mapping[str, str] = {
    EVERYTHING: "",
    "prefix affinity": "[routing]\nprefix_affinity = false\n",
    "`expected_time`, beside `round_robin`": '[routing]\nstrategy = "round_robin"\n',
    "circuit breakers": "[breaker]\nenabled = false\n",
    "quality in routing": "[quality]\nenabled = false\n",
    "conversation signals": "[outcomes]\nimplicit_signals = false\n",
    "the ledger": '[ledger]\nurl = "none"\n',
    "outcomes, signals and the ledger": "[outcomes]\nenabled = false\n",
    "a rate limit (off by default)": "[rate_limit]\nenabled = true\nper_second = 1e6\nburst = 1000000\n",
}
"""Settings that leave one feature out, by its name; the last one adds it."""
_WARM_UP = 12_000


class Cost(Struct, frozen=True):
    """Processor time of a request in microseconds, and how much that is below everything on (-: above)."""

    name: str
    request_us: float
    saved_us: float


def measure(settings: Mapping[str, str], *, rounds: int, requests: int) -> list[Cost]:
    """One figure for each of the settings; the first are those that the others are compared with."""
    with ExitStack() as stack:
        gateways = {name: stack.enter_context(_Gateway(text, requests)) for name, text in settings.items()}
        times: dict[str, list[float]] = {name: [] for name in settings}
        for gateway in gateways.values():
            gateway.wait_until_warm()
        for _ in range(rounds):
            for name, gateway in gateways.items():
                times[name].append(gateway.round())
    whole = times[next(iter(settings))]
    return [
        Cost(
            name, round(median(found), 1), round(median(a - b for a, b in zip(whole, found, strict=True)), 1)
        )
        for name, found in times.items()
    ]


class _Gateway:
    """A process with one gateway that measures a round at a word."""

    def __init__(self, settings: str, requests: int) -> None:
        command = [
            sys.executable,
            "-m",
            "bench.feature_cost",
            "--requests",
            str(requests),
            "--gateway",
            settings,
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input is the end of its work

    def wait_until_warm(self) -> None:
        """Return when the next round will be like all that follow."""
        self._read()

    def round(self) -> float:
        """Processor time of a request in microseconds."""
        if self._process.stdin is not None:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise RuntimeError("a gateway ended before its work was done; what it wrote is above")
        return line


async def _serve(settings: str, requests: int) -> None:
    """Be such a process: a line for each line that is read, and one at first."""
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
        bench = Bench(Path(folder), settings)
        outcomes = bench.gateway.outcomes
        if outcomes is not None:
            outcomes.start()
        await bench.run(_WARM_UP)  # so many that calls are crowded out, as they are at full load
        gc.collect()
        gc.freeze()
        print("warm", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(await _one_round(bench, requests), flush=True)
        if outcomes is not None:
            await outcomes.stop()
        bench.log.close()


async def _one_round(bench: Bench, requests: int) -> float:
    before = process_time()
    await bench.run(requests)
    bench.gateway.request_log.flush()
    if bench.gateway.outcomes is not None:
        await bench.gateway.outcomes.flush()
    return (process_time() - before) / requests * 1e6


def table(costs: Sequence[Cost]) -> str:
    """The figures as Markdown."""
    lines = ["| left out | µs per request | saves µs |", "|---|---:|---:|"]
    for cost in costs:
        name, saved = (cost.name, f"{cost.saved_us:.1f}") if cost.name != EVERYTHING else ("nothing", "")
        lines.append(f"| {name} | {cost.request_us:.1f} | {saved} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench.feature_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=500, help="in a round")
    parser.add_argument("--gateway", metavar="SETTINGS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.gateway is not None:
        uvloop.run(_serve(options.gateway, options.requests))
    else:
        print(table(measure(WITHOUT, rounds=options.rounds, requests=options.requests)))


if __name__ == "__main__":
    main()

"""What each feature costs a request: processor time with everything on, and without one thing at a time.

    python -m bench.feature_cost [--rounds 40] [--requests 500]

Real gateways between transports in memory (see `bench.hot_path`), sixteen requests at a time, receipts
written to disk by their thread. The gateways take turns within each round, and what counts is the median of
the differences within the rounds, so that a slow moment of the machine hits all of them.
"""

import argparse
import gc
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import process_time

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


async def measure(folder: Path, settings: Mapping[str, str], *, rounds: int, requests: int) -> list[Cost]:
    """One figure for each of the settings; the first are those that the others are compared with."""
    benches = {}
    for number, (name, text) in enumerate(settings.items()):
        place = folder / str(number)
        place.mkdir()
        bench = benches[name] = Bench(place, text)
        if bench.gateway.outcomes is not None:
            bench.gateway.outcomes.start()
        await bench.run(_WARM_UP)  # so many that calls are crowded out, as they are at full load
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {name: [] for name in settings}
    for _ in range(rounds):
        for name, bench in benches.items():
            times[name].append(await _one_round(bench, requests))
    for bench in benches.values():
        if bench.gateway.outcomes is not None:
            await bench.gateway.outcomes.stop()
        bench.log.close()
    whole = times[next(iter(settings))]
    return [
        Cost(
            name, round(median(found), 1), round(median(a - b for a, b in zip(whole, found, strict=True)), 1)
        )
        for name, found in times.items()
    ]


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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
        found = uvloop.run(measure(Path(folder), WITHOUT, rounds=options.rounds, requests=options.requests))
    print(table(found))


if __name__ == "__main__":
    main()

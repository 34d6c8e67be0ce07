"""How far several workers go: requests per second, and processor time per request, by number of workers.

    python -m bench.workers [--workers 1,2] [--seconds 3] [--rounds 3] [--cores 0,1] [--json PATH]

Each number of workers gets as many of `--cores` (all but the load core by default); the mock model server and
wrk share the load core. Where that is too few cores, or the load core is the limit (`busy` well under 1), the
rate says nothing of scaling. The processor time per request does: with n workers and a core for each, n times
as many requests fit, less what telling each other costs. So n workers are compared with n gateways that know
nothing of each other (`apart`), on the same cores at the same load: processes that have to share a core slow
each other down, whatever they are. What a request costs there, as a share of what it costs the workers, times
n, is the column `scaling`.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from bench import load, machine, process, subjects
from bench.figures import write_json

CONNECTIONS = 64
_TICK = os.sysconf("SC_CLK_TCK")
_WARM_UP_SECONDS = 1.0


class Run(Struct, frozen=True):
    """One run: requests per second, microseconds of processor time per request, share of the cores used.

    `apart_us` is the processor time per request of as many gateways apart, in the same round.
    """

    per_second: float
    cpu_us: float
    busy: float
    apart_us: float


class Row(Struct, frozen=True):
    """One number of workers: medians, the scaling they come to, and all runs."""

    workers: int
    cores: tuple[int, ...]
    per_second: float
    cpu_us: float
    apart_us: float
    busy: float
    scaling: float
    runs: tuple[Run, ...]


class Report(Struct, frozen=True):
    """What a run leaves behind."""

    machine: machine.Machine
    commit: str
    rows: tuple[Row, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write the figures where that was asked for."""
    options = _options(arguments)
    counts = [int(each) for each in options.workers.split(",")]
    cores = [int(each) for each in options.cores.split(",")] if options.cores else _other_cores()
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as name:
        try:
            rows = run(Path(name), counts, cores, seconds=options.seconds, rounds=options.rounds)
        except (process.UnavailableError, process.NotReadyError, load.LoadError) as error:
            print(f"bench.workers: {error}", file=sys.stderr)
            return 1
    _print(rows)
    if options.json:
        report = Report(machine.describe(), machine.git_short(), rows)
        write_json(Path(options.json), report)
    return 0


def run(
    folder: Path, counts: Sequence[int], cores: list[int] | None = None, *, seconds: float, rounds: int
) -> tuple[Row, ...]:
    """Measure each number of workers, in turn; one row for each.

    Raises:
        process.UnavailableError, process.NotReadyError, load.LoadError: there is no figure.
    """
    cores = cores or _other_cores()
    runs: dict[int, list[Run]] = {count: [] for count in counts}
    load.write_scripts(folder)
    with ExitStack() as stack:
        mock = subjects.json_mock(folder)
        stack.callback(mock.stop)
        for _ in range(rounds):
            for count in counts:
                runs[count].append(_round(folder, mock.url, count, cores[:count], seconds))
    return _rows(runs, cores)


def _round(folder: Path, upstream: str, count: int, cores: list[int], seconds: float) -> Run:
    """This many workers, and right after them as many gateways apart."""
    found = _measure(folder, upstream, [count], cores, seconds)
    if count == 1:
        return found
    apart = _measure(folder, upstream, [1] * count, cores, seconds)
    return replace(found, apart_us=apart.cpu_us)


def _measure(folder: Path, upstream: str, gateways: list[int], cores: list[int], seconds: float) -> Run:
    """Gateways with so many workers each, side by side from their start to their end."""
    with ExitStack() as stack:
        running = []
        for number, workers in enumerate(gateways):
            tag, core = f"{len(gateways)}x{workers}-{number}", ",".join(map(str, cores))
            running.append(subjects.start_nexus(folder, upstream, tag, workers=workers, core=core))
            stack.callback(running[-1].stop)
        _load(folder, running, _WARM_UP_SECONDS)
        before = sum(tree_cpu_seconds(each.process.pid) for each in running)
        loads = _load(folder, running, seconds)
        used = sum(tree_cpu_seconds(each.process.pid) for each in running) - before
    cpu_us = used / sum(each.requests for each in loads) * 1e6
    longest = max(each.micros for each in loads) / 1e6
    return Run(sum(each.per_second for each in loads), cpu_us, used / longest / len(cores), cpu_us)


def _load(folder: Path, running: list[process.Running], seconds: float) -> list[load.Load]:
    """Drive all of them at once, with the same number of connections in all."""
    drive = partial(
        load.run, script=folder / "json.lua", connections=CONNECTIONS // len(running), seconds=seconds
    )
    with ThreadPoolExecutor(len(running)) as threads:
        return list(threads.map(drive, running))


def tree_cpu_seconds(pid: int) -> float:
    """Processor time of a process and all that it started, also in sessions of their own."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended since the folder was listed
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
    total, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        total += ticks.get(each, 0)
        waiting += children.get(each, [])
    return total / _TICK


def _rows(runs: dict[int, list[Run]], cores: list[int]) -> tuple[Row, ...]:
    # What ran in one round is compared: an hour in which the machine is slower hits all of it.
    return tuple(
        Row(
            count,
            tuple(cores[:count]),
            round(median(run.per_second for run in each), 1),
            round(median(run.cpu_us for run in each), 2),
            round(median(run.apart_us for run in each), 2),
            round(median(run.busy for run in each), 3),
            round(count * median(run.apart_us / run.cpu_us for run in each), 3),
            tuple(each),
        )
        for count, each in sorted(runs.items())
    )


def _print(rows: Sequence[Row]) -> None:
    print("workers  cores  requests/s  us/request  us apart   busy  scaling")
    for row in rows:
        print(
            f"{row.workers:>7} {len(row.cores):>6} {row.per_second:>11,.0f} {row.cpu_us:>11.1f} "
            f"{row.apart_us:>9.1f} {row.busy:>6.2f} {row.scaling:>8.2f}"
        )


def _other_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0) - {process.LOAD_CORE}) or [process.PROXY_CORE]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--workers", default="1,2", help="numbers of workers, with commas")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each number of workers, in turn")
    parser.add_argument("--cores", default="", help="cores of the gateway, with commas")
    parser.add_argument("--json", default="", help="where to write the figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

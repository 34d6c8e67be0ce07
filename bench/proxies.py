"""Nexus beside its peers: throughput, streaming and added latency, in one run on one machine.

    python -m bench.proxies [--seconds 3] [--rounds 3] [--only nexus,vllm-router] [--no-save]

The proxy under test has core 0 to itself; the mock model server and wrk share core 1. Subjects take turns
within each round, so that a noisy minute hits all of them. Prints a table with the ratios and writes the raw
figures with the machine's description to bench/results/.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench import load, machine, process, subjects
from bench.figures import Report, Row, figure, ratios, table, write_json

CONNECTIONS = 32
RESULTS = Path(__file__).resolve().parent / "results"
_WARM_UP_SECONDS = 1.0


class Phase:
    """The subjects in front of one mock, and every run they made. A subject that fails once is left out.

    Args:
        running: the subjects by name.
        least: seconds that each needs for a run.
        reasons: why some are not running; those that fail later are added.
    """

    def __init__(
        self, running: dict[str, process.Running], least: dict[str, float], reasons: dict[str, str]
    ) -> None:
        self.running = running
        self.reasons = reasons
        self._least = least
        self.runs: dict[tuple[str, int], list[load.Load]] = {}

    def measure(self, script: Path, *, connections: int, seconds: float) -> None:
        """One run of every subject, in turn."""
        for name, target in self.running.items():
            if name in self.reasons:
                continue
            length = max(seconds, self._least[name])
            try:
                done = load.run(target, script, connections=connections, seconds=length)
            except load.LoadError as error:
                self.reasons[name] = str(error)
                continue
            finally:
                target.wait_until_idle()
            self.runs.setdefault((name, connections), []).append(done)

    def forget(self) -> None:
        """Drop the runs so far: they were the warm-up."""
        self.runs.clear()

    def of(self, name: str, connections: int) -> list[load.Load]:
        """The runs of one subject; none if any of them failed."""
        return [] if name in self.reasons else self.runs.get((name, connections), [])


@contextmanager
def _phase(folder: Path, mock: process.Running, only: set[str]) -> Iterator[Phase]:
    """Every wanted subject in front of `mock`; those that cannot run leave their reason."""
    with ExitStack() as stack:
        stack.callback(mock.stop)
        running, least, reasons = {"direct": mock}, {"direct": 0.0}, dict[str, str]()
        for subject in subjects.PROXIES:
            if subject.name not in only:
                continue
            least[subject.name] = subject.least_seconds
            try:
                running[subject.name] = subject.start(folder, mock.url, mock.name)
                stack.callback(running[subject.name].stop)
            except (process.UnavailableError, process.NotReadyError) as error:
                reasons[subject.name] = str(error)
        yield Phase(running, least, reasons)


def run(folder: Path, *, only: set[str], seconds: float, rounds: int) -> tuple[Row, ...]:
    """Measure everything; one row for going direct and one for each wanted proxy.

    Raises:
        process.UnavailableError: there is no mock without nginx.
        process.NotReadyError: a mock did not start.
    """
    load.write_scripts(folder)
    plain, stream = folder / "json.lua", folder / "stream.lua"
    with _phase(folder, subjects.json_mock(folder), only) as answers:
        answers.measure(plain, connections=CONNECTIONS, seconds=_WARM_UP_SECONDS)
        answers.forget()
        for _ in range(rounds):
            answers.measure(plain, connections=CONNECTIONS, seconds=seconds)
            answers.measure(plain, connections=1, seconds=max(1.0, seconds / 2))
    with _phase(folder, subjects.stream_mock(folder), only) as streams:
        streams.measure(stream, connections=CONNECTIONS, seconds=_WARM_UP_SECONDS)
        streams.forget()
        for _ in range(rounds):
            streams.measure(stream, connections=CONNECTIONS, seconds=seconds)
    notes = {"direct": "the mock itself"} | {s.name: s.note for s in subjects.PROXIES if s.name in only}
    return tuple(_row(name, note, answers, streams) for name, note in notes.items())


def _row(name: str, note: str, answers: Phase, streams: Phase) -> Row:
    many, one, streamed = answers.of(name, CONNECTIONS), answers.of(name, 1), streams.of(name, CONNECTIONS)
    direct = answers.of("direct", 1)
    added = [mine.p50_us - bare.p50_us for mine, bare in zip(one, direct, strict=False)]
    proxied = name != "direct"
    return Row(
        name=name,
        note=note,
        rps=figure([run.per_second for run in many], 0),
        rps_per_core=figure([run.per_second / run.busy for run in many if run.busy] if proxied else [], 0),
        p50_ms=figure([run.p50_us / 1000 for run in many], 3),
        added_us=figure(added if proxied else [], 1),
        chunks=figure([_events(run) for run in streamed], 0),
        chunks_per_core=figure(
            [_events(run) / run.busy for run in streamed if run.busy] if proxied else [], 0
        ),
        busy=figure([run.busy for run in many] if proxied else [], 3),
        stream_busy=figure([run.busy for run in streamed] if proxied else [], 3),
        reason=_reason(name, answers, streams),
    )


def _reason(name: str, answers: Phase, streams: Phase) -> str:
    whole, streamed = answers.reasons.get(name, ""), streams.reasons.get(name, "")
    return whole if whole or not streamed else f"streaming: {streamed}"


def _events(run: load.Load) -> float:
    return run.per_second * subjects.EVENTS


def report(rows: tuple[Row, ...], settings: dict[str, int | float | str]) -> Report:
    """The rows with everything that is needed to judge them later."""
    return Report(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=machine.git_short(),
        machine=machine.describe(),
        settings=settings,
        rows=rows,
        ratios=ratios(rows),
    )


def save(made: Report, folder: Path) -> Path:
    """Write the report as JSON into `folder`, named by date and commit; the path."""
    path = folder / f"{made.date}-{made.commit.rstrip('+')}.json"
    write_json(path, made)
    return path


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.proxies", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each measurement (default: 3)")
    names = ",".join(subjects.NAMES)
    parser.add_argument("--only", type=subjects.named, default=names, help=f"some of {names}")
    parser.add_argument("--no-save", action="store_true", help="do not write to bench/results/")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, save; the exit code."""
    options = _arguments(argv)
    if shutil.which("taskset") is None or len(os.sched_getaffinity(0)) < 2:
        print("bench: needs Linux with two cores and `taskset`", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
        try:
            rows = run(Path(folder), only=options.only, seconds=options.seconds, rounds=options.rounds)
        except (process.UnavailableError, process.NotReadyError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    print(table(rows))
    settings: dict[str, int | float | str] = {
        "seconds": options.seconds,
        "rounds": options.rounds,
        "connections": CONNECTIONS,
        "events_per_stream": subjects.EVENTS,
        "proxy_core": process.PROXY_CORE,
        "load_core": process.LOAD_CORE,
    }
    if not options.no_save:
        print(f"\nwritten to bench/results/{save(report(rows, settings), RESULTS).name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

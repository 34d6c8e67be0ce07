"""How fast the gateway starts, and how much memory it takes and keeps.

    python -m bench.footprint [--requests 200000] [--backends 100] [--json PATH]

Start-up: from starting the program to its first answered request, with three backends. Memory: resident set
after start-up; then with many backends after so many requests, and after as many again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median

from msgspec import Struct

from bench import load, machine, process, subjects
from bench.figures import write_json

_BODY = b'{"model":"mock","messages":[{"role":"user","content":"Hello"}]}'
_POLL_SECONDS = 0.002
_START_SECONDS = 20.0
_READINGS = 5


class Footprint(Struct, frozen=True):
    """Start-up times in seconds, one per run; memory in MB, `grown_mb` after the second half of requests."""

    start_seconds: tuple[float, ...]
    idle_mb: float
    backends: int
    requests: int
    loaded_mb: float
    grown_mb: float


def config(port: int, upstream: str, backends: int) -> str:
    """A gateway with so many backends, all of them the same mock."""
    head = f'[server]\nport = {port}\n[discovery]\nenabled = false\n[logging]\nformat = "json"\n'
    each = '[[backends]]\nname = "mock-{0}"\nurl = "{1}"\ntype = "vllm"\nmodels = ["mock"]\n'
    return head + "".join(each.format(number, upstream) for number in range(backends))


def start(folder: Path, upstream: str, backends: int) -> tuple[process.Running, float]:
    """Start a gateway; the program and the seconds until it had answered a request."""
    port = process.free_port()
    path = folder / f"nexus-{port}.toml"
    path.write_text(config(port, upstream, backends))
    command = [sys.executable, "-m", "nexus.cli.main", "serve", "--config", str(path)]
    command += ["--data-dir", str(folder / f"data-{port}")]
    log = folder / f"nexus-{port}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    running = process.Running("nexus", f"http://127.0.0.1:{port}", child, log)
    while not _answered(running.url):
        if child.poll() is not None or time.monotonic() - began > _START_SECONDS:
            running.stop()
            raise process.NotReadyError(f"nexus did not start: {process.last_words(log)}")
        time.sleep(_POLL_SECONDS)
    return running, time.monotonic() - began


def _answered(url: str) -> bool:
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", _BODY, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _send(target: process.Running, script: Path, requests: int) -> float:
    """So many requests; the memory in MB after them.

    Tables that are rebuilt make it go up and down by some 0.4 MB, so it is the median of the last readings.
    """
    done, readings = 0, []
    while done < requests:
        done += load.run(target, script, connections=32, seconds=5).requests
        readings.append(process.memory_mb(target.process.pid, "VmRSS"))
    return round(median(readings[-_READINGS:]), 1)


def run(folder: Path, *, requests: int, backends: int, starts: int = 5) -> Footprint:
    """Measure everything."""
    load.write_scripts(folder)
    mock = subjects.json_mock(folder)
    try:
        times = []
        for _ in range(starts):
            gateway, seconds = start(folder, mock.url, 3)
            times.append(round(seconds, 3))
            idle = round(process.memory_mb(gateway.process.pid, "VmRSS"), 1)
            gateway.stop()
        gateway, _ = start(folder, mock.url, backends)
        try:
            loaded = _send(gateway, folder / "json.lua", requests)
            grown = _send(gateway, folder / "json.lua", requests)
        finally:
            gateway.stop()
    finally:
        mock.stop()
    return Footprint(tuple(times), idle, backends, requests, loaded, grown)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench.footprint", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=200_000, help="before each reading of the memory")
    parser.add_argument("--backends", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    os.sched_setaffinity(0, {process.PROXY_CORE, process.LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
        found = run(Path(folder), requests=options.requests, backends=options.backends)
    print(f"start to first answer, 3 backends: {median(found.start_seconds):.2f} s of {found.start_seconds}")
    print(f"memory: idle {found.idle_mb} MB")
    print(
        f"memory: {found.backends} backends, {found.requests} requests: {found.loaded_mb} MB, "
        f"after as many again: {found.grown_mb} MB"
    )
    if options.json:
        document = {"machine": machine.describe(), "footprint": found}
        write_json(options.json, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())

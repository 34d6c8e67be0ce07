"""What outcomes and the ledger cost a request: function calls, store I/O, and added latency.

    python -m bench.ledger_cost [--rounds 20] [--requests 100]

Function calls are counted on the path of a request, in one process and without sockets; they depend on the
code alone. Latencies are those of three real gateways in front of one upstream, asked in turns: with outcomes
and a ledger that gets every receipt within a second, with outcomes alone, and without either.
"""

import argparse
import http.client
import io
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from types import FrameType

import uvloop
from msgspec import Struct

from bench.hot_path import BODY, Bench, SteadyClock
from nexus.testing import FaultyBackend, GatewayProcess

SETTINGS = {
    "outcomes and ledger": "[outcomes]\npending_ttl_seconds = 0.2\n[ledger]\nflush_interval_seconds = 0.2\n",
    "outcomes, no ledger": '[outcomes]\npending_ttl_seconds = 0.2\n[ledger]\nurl = "none"\n',
    "neither": "[outcomes]\nenabled = false\n",
}
_STORE_MODULES = ("sqlite3", "_sqlite3")
_FILE_MODULES = ("posix", "nt", "io", "_io", "fcntl")
_FILE_CALLS = frozenset(
    {"open", "write", "writelines", "pwrite", "writev", "flush", "fsync", "fdatasync", "rename", "replace"}
    | {"unlink", "remove", "truncate", "ftruncate", "flock", "lockf"}
)


class PathCost(Struct, frozen=True):
    """What requests did: `calls` of functions per request, and the names of those that touch a store."""

    calls: float
    store_io: tuple[str, ...]


def store_call(function: object) -> str | None:
    """The name of a built-in function that reads or writes a file or a database; None for any other."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, io.BytesIO | io.StringIO):
        return None
    module = getattr(function, "__module__", None) or type(owner).__module__
    name = getattr(function, "__name__", "")
    is_store = module.partition(".")[0] in _STORE_MODULES
    if is_store or (module in _FILE_MODULES and name in _FILE_CALLS):
        return f"{module}.{name}"
    return None


async def path_cost(bench: Bench, requests: int = 200) -> PathCost:
    """Count what so many requests do in the thread of the event loop."""
    await bench.run(50)
    count = 0
    touched: set[str] = set()

    def noted(frame: FrameType, event: str, function: object) -> None:
        nonlocal count
        if event == "call":
            count += 1
            if f"{Path('nexus', 'ledger')}" in frame.f_code.co_filename:
                touched.add(f"nexus.ledger: {frame.f_code.co_qualname}")
        elif event == "c_call":
            count += 1
            name = store_call(function)
            if name is not None:
                touched.add(name)

    sys.setprofile(noted)
    try:
        await bench.run(requests)
    finally:
        sys.setprofile(None)
    return PathCost(count / requests, tuple(sorted(touched)))


def path_costs(folder: Path, settings: Mapping[str, str] = SETTINGS) -> dict[str, PathCost]:
    """The cost of a request's path with each of these settings; `folder` takes the gateways' data."""

    async def measured(name: str, toml: str) -> PathCost:
        own = folder / name.replace(" ", "-")
        own.mkdir()
        bench = Bench(own, toml, SteadyClock())
        try:
            return await path_cost(bench)
        finally:
            bench.log.close()

    return {name: uvloop.run(measured(name, toml)) for name, toml in settings.items()}


def latencies(rounds: int, requests: int) -> dict[str, list[float]]:
    """Median milliseconds of each round of requests, by setting; the settings take turns."""
    found: dict[str, list[float]] = {name: [] for name in SETTINGS}
    with ExitStack() as stack:
        upstream = stack.enter_context(FaultyBackend(models=("mock",)))
        backend = f'[[backends]]\nname = "mock"\nurl = "{upstream.url}"\n'
        clients = {}
        for name, toml in SETTINGS.items():
            gateway = stack.enter_context(GatewayProcess(toml + backend))
            gateway.wait_ready()
            client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
            stack.callback(client.close)
            clients[name] = client
            _round(client, requests)
        for _ in range(rounds):
            for name, client in clients.items():
                found[name].append(_round(client, requests))
    return found


def _round(client: http.client.HTTPConnection, requests: int) -> float:
    times = []
    for _ in range(requests):
        began = perf_counter()
        client.request("POST", "/v1/chat/completions", BODY, {"Content-Type": "application/json"})
        answer = client.getresponse()
        answer.read()
        times.append(perf_counter() - began)
        if answer.status != http.client.OK:
            raise RuntimeError(f"the gateway answered {answer.status}")
    return statistics.median(times) * 1000


def main(argv: Sequence[str] | None = None, show: Callable[[str], None] = print) -> None:
    """Count, measure and show."""
    parser = argparse.ArgumentParser(prog="ledger-cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="rounds of latencies per setting; 0: none")
    parser.add_argument("--requests", type=int, default=100, help="requests per round")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        for name, cost in path_costs(Path(folder)).items():
            touched = ", ".join(cost.store_io) or "none"
            show(f"{name:<22}{cost.calls:>8.1f} calls per request, store I/O: {touched}")
    if options.rounds < 1:
        return
    for name, medians in latencies(options.rounds, options.requests).items():
        spread = f"{min(medians):.3f} to {max(medians):.3f} by round"
        show(f"{name:<22}{statistics.median(medians):>8.3f} ms median latency, {spread}")


if __name__ == "__main__":
    main()

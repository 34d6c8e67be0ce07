"""Hours of bad days in some minutes: mixed traffic while backends fail in every way, and nothing may be lost.

    python -m bench.soak [--seconds 600] [--rate 100] [--seed 1] [--json PATH]

One backend is sound, one fails by chance in many ways, one crashes and comes back, one throttles. Every
request carries a number of its own, which sound answers repeat, so that a lost, doubled or mixed-up answer is
seen. At the end there must be no more descriptors than at the start, no pending attempts, a receipt for every
answer, and no more memory than chance explains. Exit code 1 if anything is wrong.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, mean
from time import monotonic

import msgspec
import uvloop
from msgspec import Struct

from bench import machine, process
from bench.figures import write_json
from bench.soak_client import Connection, Reply
from nexus.testing import (
    Answer,
    BrokenJson,
    Cut,
    EmptyChoices,
    ErrorBody,
    FaultyBackend,
    GatewayProcess,
    Page,
    Reset,
    Status,
    Where,
)
from nexus.testing.wire import Behaviour, ReceivedRequest, Step

CONNECTIONS = 32
STREAMED = 0.5
_SAMPLE_SECONDS = 2.0
_MEMORY = "RssAnon"  # pages of programs and libraries come and go with what is used
_WARM_UP_SHARE = 0.5
_CRASH_EVERY_SECONDS = 20.0
_DOWN_SECONDS = 5.0
_T_LIMIT = 2.5
_CONFIG = """
[discovery]
enabled = false
[logging]
format = "json"
[health_check]
interval_seconds = 2
[quality]
metrics_interval_seconds = 2
[timeouts]
first_token_seconds = 2
stream_idle_seconds = 2
[outcomes]
pending_ttl_seconds = 60
"""


class Echo(Struct, frozen=True):
    """A sound answer that repeats the last message."""

    def steps(self, request: ReceivedRequest) -> tuple[Step, ...]:
        """The answer."""
        return tuple(Answer(text=f"{marker(request)} is the number you gave", usage=True).steps(request))


class Unreliable:
    """Fails by chance, each time in another way; else a sound answer."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._rng = random.Random(seed)
        good = Echo()
        self._faults: tuple[Behaviour, ...] = (
            Status(500),
            Status(502, body=b""),
            Status(503, retry_after="1"),
            Status(429, retry_after="1"),
            Reset(Where.BEFORE_HEAD),
            Reset(Where.AFTER_HEAD, inner=good),
            Reset(Where.IN_BODY, events=2, inner=good),
            Cut(2, inner=good),
            Page(b"<html>down for maintenance</html>"),
            BrokenJson(),
            ErrorBody("out of memory"),
            EmptyChoices(),
        )

    def steps(self, request: ReceivedRequest) -> tuple[Step, ...]:
        """A fault or the answer."""
        failing = self._rng.random() < self._share
        behaviour = self._rng.choice(self._faults) if failing else Echo()
        return tuple(behaviour.steps(request))


def marker(request: ReceivedRequest) -> str:
    """The number that a request carries."""
    messages = request.json.get("messages") or [{}]
    return str(messages[-1].get("content", ""))


class Report(Struct, frozen=True):
    """What came of it. Memory in MB; the slope, in MB per hour, is that of the second half, with its t value.

    Every bounded collection has filled up in the first half.
    """

    seconds: float
    requests: int
    answered: int
    cut: int
    refused: dict[str, int]
    lost: int
    doubled: int
    mixed_up: int
    receipts_missing: int
    receipts_doubled: int
    memory_mb: float
    slope_mb_per_hour: float
    slope_t: float
    descriptors_before: int
    descriptors_after: int
    pending_after: int
    exit_code: int

    @property
    def problems(self) -> list[str]:
        """Everything that must not be; empty is good."""
        checks = {
            "requests without an answer": self.lost,
            "doubled answers": self.doubled,
            "answers to another request": self.mixed_up,
            "answers without a receipt": self.receipts_missing,
            "doubled receipts": self.receipts_doubled,
            "descriptors leaked": max(0, self.descriptors_after - self.descriptors_before),
            "attempts still pending": self.pending_after,
            "exit code": self.exit_code,
        }
        found = [f"{what}: {count}" for what, count in checks.items() if count]
        if self.slope_t > _T_LIMIT:
            found.append(f"memory grows by {self.slope_mb_per_hour:.1f} MB per hour (t = {self.slope_t:.1f})")
        return found


class Remains(Struct, frozen=True):
    """What was left of the gateway at the end; `descriptors` are the numbers before and after."""

    seconds: float
    memory_mb: float
    descriptors: tuple[int, int]
    pending: int
    exit_code: int


class Soak:
    """The traffic and what it met."""

    def __init__(self, gateway: GatewayProcess, seconds: float, rate: float, seed: int) -> None:
        self.gateway = gateway
        self.seconds = seconds
        self.rate = rate
        self.rng = random.Random(seed)
        self.sent = 0
        self.answered = self.cut = self.lost = self.doubled = self.mixed_up = 0
        self.refused: Counter[str] = Counter()
        self.trace_ids: list[str] = []
        self.memory: list[tuple[float, float]] = []
        self.end = 0.0

    async def run(self, crashing: FaultyBackend, others: tuple[FaultyBackend, ...]) -> None:
        """Send traffic until the time is up."""
        began = monotonic()
        self.end = began + self.seconds
        loop = asyncio.get_running_loop()
        side = [loop.create_task(self._crash(crashing)), loop.create_task(self._sample(began, others))]
        await asyncio.gather(*(self._client() for _ in range(CONNECTIONS)))
        await asyncio.gather(*side)

    async def _client(self) -> None:
        """One client: it asks, waits for the whole answer, thinks, and asks again."""
        pause = CONNECTIONS / self.rate
        connection = Connection(self.gateway.port)
        while monotonic() < self.end:
            await asyncio.sleep(self.rng.uniform(0, 2 * pause))
            self.sent += 1
            number = f"n{self.sent}x{self.rng.randrange(10**9)}"
            self._judge(number, await connection.ask(number, stream=self.rng.random() < STREAMED))
        self.doubled += connection.close()

    def _judge(self, number: str, reply: Reply) -> None:
        if reply.status == 0:
            self.lost += 1
            return
        if reply.trace_id and reply.attempts:
            self.trace_ids.append(reply.trace_id)
        if reply.status != 200:
            self.refused[f"{reply.status} {reply.code}"] += 1
        elif not reply.whole:
            self.cut += 1
        elif reply.text.count(number) == 1:
            self.answered += 1
        elif number in reply.text:
            self.doubled += 1
        else:
            self.mixed_up += 1

    async def _crash(self, backend: FaultyBackend) -> None:
        while monotonic() + _CRASH_EVERY_SECONDS < self.end:
            await asyncio.sleep(_CRASH_EVERY_SECONDS - _DOWN_SECONDS)
            await asyncio.to_thread(backend.stop)
            await asyncio.sleep(_DOWN_SECONDS)
            await asyncio.to_thread(backend.start)

    async def _sample(self, began: float, backends: tuple[FaultyBackend, ...]) -> None:
        while monotonic() < self.end:
            await asyncio.sleep(_SAMPLE_SECONDS)
            self.memory.append((monotonic() - began, process.memory_mb(self.gateway.pid, _MEMORY)))
            for backend in backends:
                backend.forget()


def descriptors(pid: int) -> int:
    """Open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def slope(samples: list[tuple[float, float]]) -> tuple[float, float]:
    """Least-squares slope per hour and its t value (slope over its standard error).

    Memory moves in steps, so one sample says little that the one before it has not said. The n samples count
    for n (1 - r) / (1 + r) independent ones, r being the correlation of neighbouring residuals (Santer and
    others, J. Geophys. Res. 105, 2000, 7337-7356).
    """
    if len(samples) < 4:
        return 0.0, 0.0
    times, values = [each[0] for each in samples], [each[1] for each in samples]
    line = linear_regression(times, values)
    residuals = [value - line.intercept - line.slope * time for time, value in samples]
    rest = sum(each**2 for each in residuals)
    alike = sum(one * other for one, other in pairwise(residuals)) / rest if rest else 0.0
    independent = len(samples) * (1 - alike) / (1 + alike)
    spread = sum((time - mean(times)) ** 2 for time in times)
    error = (rest / max(independent - 2, 1.0) / spread) ** 0.5
    return line.slope * 3600, line.slope / error if error else 0.0


def run(*, seconds: float, rate: float, seed: int, folder: Path) -> Report:
    """Set everything up, soak, and look at what is left."""
    sound, flaky = FaultyBackend(Echo()), FaultyBackend(Unreliable(0.1, seed))
    crashing, throttled = FaultyBackend(Echo()), FaultyBackend(Unreliable(0.0, seed))
    backends = {"sound": sound, "flaky": flaky, "crashing": crashing, "throttled": throttled}
    throttled.alternate(Echo(), Echo(), Echo(), Status(429, retry_after="1"))
    receipts = folder / "receipts.jsonl"
    with sound, flaky, crashing, throttled:
        toml = _CONFIG + f'[ledger]\nurl = "jsonl:///{receipts}"\n'
        for name, backend in backends.items():
            toml += f'[[backends]]\nname = "{name}"\nurl = "{backend.url}"\ntype = "generic"\n'
        gateway = GatewayProcess(toml)
        gateway.start()
        try:
            gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            before = descriptors(gateway.pid)
            soak = Soak(gateway, seconds, rate, seed)
            began = monotonic()
            uvloop.run(soak.run(crashing, (sound, flaky, crashing, throttled)))
            lasted = monotonic() - began
            stats = gateway.wait_for(lambda found: all(each["pending"] == 0 for each in found["backends"]))
            for backend in backends.values():
                backend.close_idle()
            pending = sum(each["pending"] for each in stats["backends"])
            memory = process.memory_mb(gateway.pid, _MEMORY)
            after = _settled_descriptors(gateway.pid, before)
            code = gateway.stop()
        finally:
            gateway.kill()
    return _report(
        soak, Remains(round(lasted, 1), round(memory, 1), (before, after), pending, code), receipts
    )


def _settled_descriptors(pid: int, wanted: int) -> int:
    """The descriptors once closed connections are gone, at most ten seconds later."""
    deadline = monotonic() + 10
    while (count := descriptors(pid)) > wanted and monotonic() < deadline:
        pass
    return count


def _report(soak: Soak, left: Remains, receipts: Path) -> Report:
    lines = receipts.read_bytes().splitlines() if receipts.exists() else []
    kept = Counter(msgspec.json.decode(line)["trace_id"] for line in lines)
    steady = [each for each in soak.memory if each[0] > soak.seconds * _WARM_UP_SHARE]
    per_hour, t_value = slope(steady)
    return Report(
        seconds=left.seconds,
        requests=soak.sent,
        answered=soak.answered,
        cut=soak.cut,
        refused=dict(soak.refused),
        lost=soak.lost,
        doubled=soak.doubled,
        mixed_up=soak.mixed_up,
        receipts_missing=sum(trace_id not in kept for trace_id in soak.trace_ids),
        receipts_doubled=sum(count > 1 for count in kept.values()),
        memory_mb=left.memory_mb,
        slope_mb_per_hour=round(per_hour, 2),
        slope_t=round(t_value, 2),
        descriptors_before=left.descriptors[0],
        descriptors_after=left.descriptors[1],
        pending_after=left.pending,
        exit_code=left.exit_code,
    )


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nexus-soak-") as folder:
        found = run(seconds=options.seconds, rate=options.rate, seed=options.seed, folder=Path(folder))
    for name, value in msgspec.structs.asdict(found).items():
        print(f"{name.replace('_', ' '):22} {value}")
    if options.json:
        document = {"machine": machine.describe(), "soak": found}
        write_json(options.json, document)
    for problem in found.problems:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    print("nothing lost, nothing doubled, nothing leaked" if not found.problems else "not clean")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())

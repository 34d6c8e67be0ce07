"""A thousand streams at the pace of a model: what Nexus adds to the time to first token, any byte lost.

    python -m bench.paced [--only nexus,vllm-router] [--rounds 1] [--streams 1000] [--per-second 20]
                          [--tokens 100] [--json PATH]

The same streams are asked for directly and through the gateway and its peers, one after the other in each
round; every stream's body is compared byte for byte with what the mock sends.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import monotonic
from typing import cast

import httptools
import uvloop
from msgspec import Struct

from bench import machine, process, subjects
from bench.figures import write_json
from bench.stream_mock import answer

_BODY = b'{"model":"mock","stream":true,"messages":[{"role":"user","content":"Count to a hundred."}]}'
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_ARRIVAL_SECONDS = 2.0
DIRECT = "direct"


class Paced(Struct, frozen=True):
    """What many streams met.

    Times in milliseconds. `busy` is the share of its core the target used, `stolen` the share of all cores
    that the machine's host gave to others.
    """

    streams: int
    whole: int
    broken: int
    ttft_p50_ms: float
    ttft_p99_ms: float
    busy: float
    stolen: float


class Outcome(Struct):
    """One stream: its time to first token in seconds, and whether its body was the expected one."""

    ttft: float = 0.0
    whole: bool = False


class Client(asyncio.Protocol):
    """Asks for one stream and compares it with what it must be."""

    def __init__(self, expected: bytes, outcome: Outcome, done: asyncio.Future[None]) -> None:
        self._expected = memoryview(expected)
        self._outcome = outcome
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = 0.0
        self._offset = 0
        self._same = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._sent_at = monotonic()
        cast("asyncio.Transport", transport).write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Compare some bytes."""
        if not self._offset:
            self._outcome.ttft = monotonic() - self._sent_at
        end = self._offset + len(data)
        self._same = self._same and self._expected[self._offset : end] == data
        self._offset = end

    def on_message_complete(self) -> None:
        """The stream is over."""
        self._outcome.whole = self._same and self._offset == len(self._expected)
        self._finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """It broke."""
        self._finish()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


class _Unframed:
    """Collects the body of the mock's answer."""

    def __init__(self) -> None:
        self.body = b""

    def on_body(self, data: bytes) -> None:
        """Some bytes."""
        self.body += data


def expected_body(tokens: int) -> bytes:
    """The body of one stream, without framing."""
    sink = _Unframed()
    httptools.HttpResponseParser(sink).feed_data(b"".join(answer(tokens)))
    return sink.body


async def measure(target: process.Running, *, streams: int, tokens: int) -> Paced:
    """Run all streams against `target`; they start evenly over two seconds."""
    loop = asyncio.get_running_loop()
    expected = expected_body(tokens)
    host, port = "127.0.0.1", int(target.url.rpartition(":")[2])

    async def one(number: int) -> Outcome:
        await asyncio.sleep(number / streams * _ARRIVAL_SECONDS)
        outcome, done = Outcome(), loop.create_future()
        transport, _ = await loop.create_connection(lambda: Client(expected, outcome, done), host, port)
        await done
        transport.abort()
        return outcome

    before, began, stolen = target.cpu_seconds(), monotonic(), machine.Stolen()
    outcomes = await asyncio.gather(*(one(number) for number in range(streams)))
    busy = (target.cpu_seconds() - before) / (monotonic() - began)
    times = sorted(outcome.ttft * 1000 for outcome in outcomes)
    whole = sum(outcome.whole for outcome in outcomes)
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return Paced(
        streams, whole, streams - whole, round(p50, 2), round(p99, 2), round(busy, 3), stolen.share()
    )


def run(
    folder: Path, *, streams: int, per_second: int, tokens: int, only: Collection[str] = ("nexus",)
) -> dict[str, Paced]:
    """Going direct, and through each of these proxies.

    Raises:
        process.UnavailableError: one of them is not installed.
        process.NotReadyError: one of them did not start.
    """
    port = process.free_port()
    command = [sys.executable, "-m", "bench.paced_mock", str(port), str(tokens), str(per_second)]
    mock = process.start(
        "paced-mock", command, port=port, core=process.LOAD_CORE, log=folder / "paced-mock.log"
    )

    def warmed(target: process.Running) -> Paced:
        uvloop.run(measure(target, streams=32, tokens=tokens))
        return uvloop.run(measure(target, streams=streams, tokens=tokens))

    found = {}
    try:
        found[DIRECT] = warmed(mock)
        for subject in subjects.PROXIES:
            if subject.name in only:
                running = subject.start(folder, mock.url, f"paced-{subject.name}")
                try:
                    found[subject.name] = warmed(running)
                finally:
                    running.stop()
    finally:
        mock.stop()
    return found


def table(rounds: Sequence[Mapping[str, Paced]]) -> str:
    """Medians over the rounds; what is added is the difference to going direct in the same round."""
    names = ("TTFT p50 ms", "p99 ms", "added", "from", "to", "core", "stolen", "broken")
    lines = [f"{'':14} " + " ".join(f"{name:>{max(len(name), 7)}}" for name in names)]
    for name in rounds[0]:
        rows = [found[name] for found in rounds]
        added = [found[name].ttft_p99_ms - found[DIRECT].ttft_p99_ms for found in rounds]
        lines.append(
            f"{name:14} {median(row.ttft_p50_ms for row in rows):11.2f} "
            f"{median(row.ttft_p99_ms for row in rows):7.2f} {median(added):7.2f} {min(added):7.2f} "
            f"{max(added):7.2f} {median(row.busy for row in rows):7.0%} "
            f"{median(row.stolen for row in rows):7.1%} {sum(row.broken for row in rows):7}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run and print; 1 if a stream was not relayed whole, 2 if a proxy can't be run."""
    parser = argparse.ArgumentParser(prog="bench.paced", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", type=subjects.named, default="nexus", help=f"some of {','.join(subjects.NAMES)}"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--per-second", type=int, default=20, help="tokens per second and stream")
    parser.add_argument("--tokens", type=int, default=100, help="tokens per stream")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    os.sched_setaffinity(0, {process.LOAD_CORE})
    rounds = []
    try:
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
                rounds.append(
                    run(
                        Path(folder),
                        streams=options.streams,
                        per_second=options.per_second,
                        tokens=options.tokens,
                        only=options.only,
                    )
                )
    except (process.UnavailableError, process.NotReadyError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rounds))
    if options.json:
        write_json(options.json, {"machine": machine.describe(), "rounds": rounds})
    return 1 if any(row.broken for found in rounds for row in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

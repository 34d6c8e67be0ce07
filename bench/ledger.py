"""What a receipt costs: offering it on the request path, and storing it from the writer's thread.

    python -m bench.ledger [--seconds 2] [--postgres URL]

`offer` is timed into a buffer that nobody empties until it is full, so that it includes what is dropped then.
A store is timed with batches of 1, 100 and 1,000 receipts, each append waiting until the disk has them.
Without --postgres a server is started from this machine's own programs, if it has them. The files and the
server's data are in the temporary directory.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nexus.core.clock import SystemClock
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.ledger.lines import encode
from nexus.ledger.open import open_ledger
from nexus.ledger.store import LedgerStore
from nexus.ledger.writer import LedgerWriter
from nexus.testing import MemoryLedger

BATCHES = (1, 100, 1000)
_OFFERS = 50_000


def receipt(number: int) -> LedgerEntry:
    """A receipt of the usual size, about 330 bytes as a line."""
    return LedgerEntry(
        trace_id=f"0192f0c4-7a1e-7c3b-9d52-{number:012d}",
        model_id="llama3.1:8b-instruct-q4_K_M",
        task=Task.GENERATE,
        routing_reason="smart: lowest latency",
        latency_ms=812.25,
        input_tokens=412,
        output_tokens=187,
        attempts=1,
        timestamp=1_767_225_600.0 + number / 100,
        backend_id="gpu-box-1",
        success=True,
        quality=0.9,
        ttft_ms=91.5,
        signal="follow_up",
    )


def offer_microseconds() -> tuple[float, float]:
    """The mean time of one `offer`: while there is room, and into a full buffer."""
    entry = receipt(0)
    found = []
    for count, capacity in ((_OFFERS, 10 * _OFFERS), (_OFFERS, 1)):
        writer = LedgerWriter(MemoryLedger, SystemClock(), capacity=capacity)
        writer.offer(entry)
        started = time.perf_counter()
        for _ in range(count):
            writer.offer(entry)
        found.append((time.perf_counter() - started) / count * 1e6)
    return found[0], found[1]


def appends_per_second(store: LedgerStore, batch: int, seconds: float, first: int) -> tuple[float, int]:
    """Receipts stored per second with batches of this size, and the number after the last one."""
    done = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        store.append([receipt(first + done + each) for each in range(batch)])
        done += batch
    return done / (time.perf_counter() - started), first + done


def read_seconds(store: LedgerStore) -> float:
    """The time to read the newest 1,000."""
    started = time.perf_counter()
    store.read(1000)
    return time.perf_counter() - started


@contextmanager
def postgres_url(given: str | None) -> Iterator[str | None]:
    """The URL given, or that of a server of our own; None where there is neither."""
    from tests.postgres_server import PostgresServer, find_postgres  # noqa: PLC0415 - needs the optional driver

    binaries = None if given else find_postgres()
    if binaries is None:
        yield given
        return
    with PostgresServer(binaries, durable=True) as server:
        yield server.fresh_url()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a receipt costs.")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each store and size of batch")
    parser.add_argument("--postgres", help="the URL of a database to write to")
    arguments = parser.parse_args()
    room, full = offer_microseconds()
    size = len(encode(receipt(0)).json)
    print(f"offer: {room:.2f} us, into a full buffer {full:.2f} us; a line has {size} bytes")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {kind: f"{kind}:///{folder}/ledger.{kind}" for kind in ("sqlite", "jsonl")}
        server = stack.enter_context(postgres_url(arguments.postgres))
        if server is not None:
            urls["postgresql"] = server
        print("receipts/s in batches of " + ", ".join(map(str, BATCHES)) + "; the newest 1,000 read in")
        for kind, url in urls.items():
            store = open_ledger(url)
            rates, first = [], 0
            for batch in BATCHES:
                rate, first = appends_per_second(store, batch, arguments.seconds, first)
                rates.append(f"{rate:>8,.0f}")
            print(f"{kind:<11}{' '.join(rates)}   {read_seconds(store) * 1e3:.1f} ms of {first:,}")
            store.close()


if __name__ == "__main__":
    main()

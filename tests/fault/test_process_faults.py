"""SIGTERM at every point, kill -9 while receipts are written: nothing is lost, and the store opens clean."""

import contextlib
import http.client
import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest
from msgspec import Struct

from nexus.ledger.open import open_ledger
from nexus.testing import (
    Answer,
    Behaviour,
    FaultyBackend,
    GatewayProcess,
    GatewayProcessError,
    Hang,
    ManualClock,
    ReceivedRequest,
    Status,
    Trickle,
    chat_body,
    parse_answers,
    request_bytes,
)
from nexus.testing.wire import Pause, Step
from tests.e2e.gateway_client import DONE, backend, chat, open_request, post
from tests.fault.process_watch import complaints

CONFIG = """
[health_check]
enabled = false
[logging]
format = "json"
[server]
shutdown_grace_seconds = 10
"""
CHECKED = '[logging]\nformat = "json"\n'
STREAMS = 50


def config(url: str, ledger: str = "none", more: str = "") -> str:
    return f'{CONFIG}{more}[ledger]\nurl = "{ledger}"\n' + backend("one", url, models=["m"])


def receipts(url: str) -> Counter[str]:
    """How many receipts the ledger has of each request; reading it proves that it opens clean."""
    store = open_ledger(url)
    try:
        return Counter(entry.trace_id for entry in store.read())
    finally:
        store.close()


@contextlib.contextmanager
def started(toml: str, **env: str) -> Iterator[GatewayProcess]:
    """A gateway that may end in any way inside the block; it has none of its own errors to tell of."""
    process = GatewayProcess(toml, env=env)
    try:
        process.start()
        yield process
    finally:
        process.kill()
        process.stop()
    assert complaints(process) == []


# --- SIGTERM


class HalfWay(Struct, frozen=True):
    """Answers half of it, waits for the clock, and answers the rest."""

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """Head, some pieces, a pause, the others."""
        steps = Answer(tokens=10).steps(request)
        middle = (len(steps) + 1) // 2
        return (*steps[:middle], Pause(1.0), *steps[middle:])


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_sigterm_during_fifty_streams_loses_no_stream_and_no_receipt(kind: str, tmp_path: Path):
    """All of them end with their last event, the exit code is 0, and the ledger has each of them once."""
    url = f"{kind}:///{tmp_path}/ledger"
    clock = ManualClock(auto=False)
    with FaultyBackend(HalfWay(), clock=clock) as one, started(config(one.url, url)) as process:
        with (
            ThreadPoolExecutor(STREAMS) as pool,
            socket.create_connection(("127.0.0.1", process.port)) as idle,
        ):
            streams = [pool.submit(post, process.port, chat(stream=True)) for _ in range(STREAMS)]
            process.wait_for(lambda _: clock.waiting == STREAMS)
            os.kill(process.pid, signal.SIGTERM)
            assert idle.recv(1) == b"", "an idle connection is closed as soon as the end begins"
            clock.advance(1.0)
            replies = [each.result() for each in streams]
        assert process.wait_ended() == 0
    assert all(each.whole and each.body.endswith(DONE) for each in replies)
    assert receipts(url) == Counter(each.headers["x-nexus-trace-id"] for each in replies)


def a_head(port: int) -> socket.socket:
    """A client in the middle of its request's head."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)
    peer.sendall(request_bytes(chat_body())[:30])
    return peer


def a_body(port: int) -> socket.socket:
    """A client in the middle of its request's body."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)
    peer.sendall(request_bytes(chat_body())[:-10])
    return peer


def a_whole(port: int) -> socket.socket:
    return open_request(port, chat())


def a_stream(port: int) -> socket.socket:
    return open_request(port, chat(stream=True))


SLOW = Answer(tokens=5, first_token_delay=0.5, token_delay=0.02)
# Point, client, backend: what the client is told at the end. None: the connection closes without a word.
POINTS: dict[str, tuple[Callable[[int], socket.socket], Behaviour, int | None]] = {
    "within-the-head": (a_head, SLOW, None),
    "within-the-body": (a_body, SLOW, None),
    "before-the-first-token": (a_stream, SLOW, 200),
    "before-a-whole-answer": (a_whole, SLOW, 200),
    "within-a-whole-answer": (a_whole, Trickle(0.02, size=40), 200),
    "within-a-stream": (a_stream, Answer(tokens=20, token_delay=0.05), 200),
    "within-a-failing-answer": (a_stream, Hang(inner=SLOW), 504),
    "while-paused-by-a-429": (a_whole, Status(429, retry_after=0.9), 429),
}


@pytest.mark.parametrize("point", POINTS)
def test_sigterm_at_any_point_ends_with_code_0_and_an_answer_to_everybody_who_asked(point: str):
    client, behaviour, status = POINTS[point]
    hurried = "[timeouts]\nfirst_token_seconds = 1\n"
    with FaultyBackend(behaviour) as one, started(config(one.url, more=hurried)) as process:
        with client(process.port) as peer:
            if status is not None:
                one.wait_until(lambda server: len(server.posts) > 0, timeout=20)
            os.kill(process.pid, signal.SIGTERM)
            seen = b""
            with contextlib.suppress(ConnectionResetError):
                while data := peer.recv(65536):
                    seen += data
        assert process.wait_ended() == 0
        one.wait_until(lambda server: server.open_connections == 0)
    answers = parse_answers(seen)
    assert [each.status for each in answers] == ([] if status is None else [status])
    assert all(each.whole for each in answers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_without_a_stack(number: signal.Signals):
    """The first health checks are still under way, and nobody listens yet."""
    with FaultyBackend() as one:
        one.probes = Hang()
        process = GatewayProcess(CHECKED + backend("one", one.url, models=["m"]))
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(process.start)
            one.wait_until(lambda server: len(server.requests) > 0, timeout=30)
            os.kill(process.pid, number)
            with contextlib.suppress(GatewayProcessError):
                starting.result()
        try:
            assert process.wait_ended() == 0
        finally:
            process.kill()
            process.stop()
        one.wait_until(lambda server: server.open_connections == 0)
    assert complaints(process) == []


# --- kill -9


class Load:
    """Clients that ask one request after the other until the gateway is gone; `served` are the trace ids."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]
        self.served: list[str] = []

    def wait_for(self, count: int) -> None:
        """Return once so many requests have been answered."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.served) >= count, 60)

    def _run(self, number: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                reply = post(self._port, chat(stream=number % 2 == 0))
                if reply.whole:
                    with self._changed:
                        self.served.append(reply.headers["x-nexus-trace-id"])
                        self._changed.notify_all()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_kill_9_while_receipts_are_written_leaves_a_clean_store_that_goes_on(kind: str, tmp_path: Path):
    """Nothing is there twice, nothing that was written goes, and the next start takes the store on."""
    url = f"{kind}:///{tmp_path}/ledger"
    rng = random.Random(9)
    hasty = "[outcomes]\npending_ttl_seconds = 0.01\n"
    before: Counter[str] = Counter()
    with FaultyBackend() as one:
        toml = config(one.url, url, hasty).replace("[ledger]", "[ledger]\nflush_interval_seconds = 0.01")
        for _ in range(2):
            with started(toml, NEXUS_DATA_DIR=str(tmp_path)) as process, Load(process.port) as load:
                load.wait_for(rng.randrange(50, 300))
                process.kill()
            after = receipts(url)
            assert set(after.values()) <= {1}, "a receipt was written twice"
            assert set(before) <= set(after), "a receipt that was there is gone"
            assert set(after) & set(load.served)
            before = after
        with started(toml, NEXUS_DATA_DIR=str(tmp_path)) as process:
            last = post(process.port, chat()).headers["x-nexus-trace-id"]
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait_ended() == 0
    assert receipts(url) == before + Counter([last])

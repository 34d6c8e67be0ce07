"""Ten thousand idle connections, slow ones and more requests than allowed do not slow a normal request."""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import NamedTuple

import pytest

from nexus.testing import (
    Answer,
    FaultyBackend,
    GatewayProcess,
    Hang,
    HostileClient,
    allow_open_files,
    chat_body,
    request_bytes,
)
from tests.e2e.gateway_client import attempts, backend, chat, open_request, post
from tests.fault.process_watch import complaints, descriptors, settle

IDLE = 10_000
SLOW = 20
SLACK_SECONDS = 0.05
CONFIG = """
[server]
header_timeout_seconds = 2
max_concurrent_requests = 50
[health_check]
enabled = false
[breaker]
enabled = false
[logging]
format = "json"
[ledger]
url = "none"
"""


class Setup(NamedTuple):
    gateway: GatewayProcess
    only: FaultyBackend
    at_first: int


@pytest.fixture
def setup() -> Iterator[Setup]:
    # The gateway inherits the limit of open files from this process.
    allow_open_files(2 * IDLE)
    with FaultyBackend() as only, GatewayProcess(CONFIG + backend("only", only.url, models=["m"])) as gateway:
        yield Setup(gateway, only, descriptors(gateway))
    assert complaints(gateway) == []


def seconds_of_one(gateway: GatewayProcess) -> float:
    """The time of a request with a connection of its own."""
    began = time.perf_counter()
    assert post(gateway.port, chat()).status == 200
    return time.perf_counter() - began


def test_ten_thousand_idle_connections_and_slow_heads_do_not_slow_a_request(setup: Setup):
    """It takes less than 50 ms more than before; the slow ones get 408, the idle ones stay."""
    gateway, only, at_first = setup
    client = HostileClient(gateway.url, timeout=30)
    before = median(seconds_of_one(gateway) for _ in range(100))
    with client.crowd(IDLE) as crowd, ThreadPoolExecutor(SLOW) as pool:
        if crowd.count < IDLE:
            pytest.skip(f"this system allows a process only {crowd.count} connections: ulimit -Hn")
        head = request_bytes(chat_body())
        slow = [pool.submit(client.send_slowly, head, pause=0.1) for _ in range(SLOW)]
        taken = []
        while not all(each.done() for each in slow):
            taken.append(seconds_of_one(gateway))
        during = median(taken)
        print(f"median of a request: {before * 1e3:.1f} ms, with the crowd {during * 1e3:.1f} ms")  # noqa: T201
        assert during < before + SLACK_SECONDS
        assert [each.result()[0].status for each in slow] == [408] * SLOW
        assert crowd.still_open() == IDLE
        assert descriptors(gateway) >= IDLE
    settle(gateway, only, at_most=at_first + 1)
    assert post(gateway.port, chat()).status == 200


def test_beyond_the_limit_requests_are_refused_at_once_and_the_others_are_served(setup: Setup):
    """503 with a Retry-After for the one too many; the fifty in flight get their answers."""
    gateway, only, at_first = setup
    only.always(Answer(first_token_delay=600))
    peers = [open_request(gateway.port, chat(stream=number % 2 == 0)) for number in range(50)]
    only.wait_until(lambda server: server.active_requests == 50, timeout=20)
    for stream in (False, True):
        reply = post(gateway.port, chat(stream=stream))
        assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
        assert int(reply.headers["retry-after"]) >= 1
    only.always(Hang())
    for peer in peers:
        peer.close()
    stats = settle(gateway, only, at_most=at_first)
    assert stats["requests"] == {"total": 52, "success": 0, "errors": 0, "cancelled": 50, "rejected": 2}
    assert attempts(gateway, "only") == {("cancelled", ""): 50}
    only.always(Answer())
    assert post(gateway.port, chat()).status == 200


def test_many_requests_sent_ahead_on_one_connection_are_bounded(setup: Setup):
    """Those that fit are answered in order; nobody can make the gateway hoard requests."""
    gateway, only, at_first = setup
    client = HostileClient(gateway.url)
    answers = client.pipeline(*[chat_body() for _ in range(40)])
    assert [answer.status for answer in answers] == [200] * 40
    # A thousand at once is an abuse: the connection is broken off, and what was answered is whole.
    only.forget()
    flood = client.exchange(request_bytes(chat_body()) * 1000, answers=1000)
    assert len(flood) < 1000
    assert len(only.posts) < 100
    settle(gateway, only, at_most=at_first + 1)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/health/live")
    assert connection.getresponse().status == 200
    connection.close()

"""Requests wait for a free place while every backend is at its limit, and leave the queue in good order."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Hang, Status
from tests.e2e.gateway_client import Reply, backend, backend_stats, chat, idle, open_request, post, samples

CONFIG = """
[health_check]
enabled = false
[queue]
max_size = 3
max_wait_seconds = 1.0
"""
SLOW = Answer(text="slow", first_token_delay=0.4)


class Setup(NamedTuple):
    gateway: GatewayProcess
    one: FaultyBackend
    pool: ThreadPoolExecutor

    def ask(self, number: int, **headers: str) -> Future[Reply]:
        """A request told apart by its number; returns once the gateway has it."""
        sent = {f"X-Nexus-{name}": value for name, value in headers.items()}
        return self.pool.submit(post, self.gateway.port, body(number), headers=sent)

    def wait_depth(self, depth: int) -> None:
        """Until so many wait."""
        self.gateway.wait_for(lambda _: samples(self.gateway, "nexus_queue_depth")[frozenset()] == depth)


def body(number: int) -> Mapping[str, Any]:
    return chat("m", user=str(number))


def order(backend_: FaultyBackend) -> list[str]:
    return [each.json["user"] for each in backend_.posts]


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[GatewayProcess, FaultyBackend]]:
    with FaultyBackend() as one:
        table = backend("one", one.url, models=["m"], max_concurrency=1)
        with GatewayProcess(CONFIG + table) as process:
            yield process, one


@pytest.fixture
def setup(gateway: tuple[GatewayProcess, FaultyBackend]) -> Iterator[Setup]:
    process, one = gateway
    one.forget()
    one.always(Answer())
    with ThreadPoolExecutor(8) as pool:
        yield Setup(process, one, pool)
    process.wait_for(idle)


def test_high_priority_goes_first_and_each_priority_keeps_its_order(setup):
    """The one place goes to whoever is first in line, at once: the backend never has two at a time."""
    setup.one.always(SLOW)
    replies = [setup.ask(0)]
    setup.gateway.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == 1)
    setup.one.always(Answer(first_token_delay=0.05))
    for number, priority in ((1, "normal"), (2, "high"), (3, "normal")):
        replies.append(setup.ask(number, Priority=priority))
        setup.wait_depth(number)
    assert [each.result().status for each in replies] == [200] * 4
    assert order(setup.one) == ["0", "2", "1", "3"]
    waited = setup.gateway.get("/v1/stats")["avg_queue_time_ms"]
    assert 50 < waited < 1000
    series = samples(setup.gateway, "nexus_agent_queue_time_seconds_count")
    assert series[frozenset({("agent_id", "one")})] >= 3
    assert float(replies[1].result().headers["x-nexus-overhead-ms"]) < 50, "waiting is no work of the gateway"


def test_a_full_queue_refuses_at_once_and_a_long_wait_ends(setup):
    """Both are 503 `overloaded` with a computed Retry-After."""
    setup.one.always(Answer(first_token_delay=1.6))
    replies = [setup.ask(0)]
    setup.gateway.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == 1)
    waiting = [setup.ask(number) for number in (1, 2, 3)]
    setup.wait_depth(3)
    refused = post(setup.gateway.port, body(4))
    assert (refused.status, refused.json["error"]["code"]) == (503, "overloaded")
    assert "3 requests wait already (queue.max_size)" in refused.json["error"]["message"]
    for each in waiting:
        reply = each.result()
        assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
        assert "no place was free within 1 s (queue.max_wait_seconds)" in reply.json["error"]["message"]
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.json["error"]["context"]["rejections"][0]["backend"] == "one"
    assert replies[0].result().status == 200
    assert order(setup.one) == ["0"]


def test_who_leaves_is_no_longer_in_line(setup):
    setup.one.always(SLOW)
    first = setup.ask(0)
    setup.gateway.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == 1)
    peer = open_request(setup.gateway.port, body(1))
    setup.wait_depth(1)
    peer.close()
    setup.wait_depth(0)
    assert first.result().status == 200
    setup.gateway.wait_for(idle)
    assert order(setup.one) == ["0"]


def test_a_failed_attempt_frees_its_place_too(setup):
    setup.one.script(Hang(), Status(500), then=Answer())
    peer = open_request(setup.gateway.port, body(0))
    setup.gateway.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == 1)
    waiting = [setup.ask(1)]
    setup.wait_depth(1)
    waiting.append(setup.ask(2))
    setup.wait_depth(2)
    peer.close()
    assert [each.result().status for each in waiting] == [502, 200]
    assert order(setup.one) == ["0", "1", "2"]


def test_a_retry_waits_where_the_only_other_backend_is_full():
    """The failed one is not asked again, and the client gets the answer of the one that was busy."""
    with FaultyBackend(Status(500)) as bad, FaultyBackend(SLOW) as good:
        tables = backend("bad", bad.url, models=["m", "bad"], priority=1)
        tables += backend("good", good.url, models=["m", "good"], priority=2, max_concurrency=1)
        config = '[routing]\nstrategy = "priority_only"\n[health_check]\nenabled = false\n'
        with GatewayProcess(config + tables) as process, ThreadPoolExecutor(1) as pool:
            busy = pool.submit(post, process.port, chat("good"))
            process.wait_for(lambda stats: backend_stats(stats, "good")["pending"] == 1)
            reply = post(process.port, chat("m"))
            assert busy.result().status == 200
            assert (reply.status, reply.headers["x-nexus-backend"]) == (200, "good")
            assert reply.headers["x-nexus-attempts"] == "2"
            assert len(bad.posts) == 1


def test_shutdown_turns_the_waiting_away_and_finishes_the_rest():
    """The queued get 503 at once, the one in flight gets its answer, and the exit code is 0."""
    with FaultyBackend(Answer(first_token_delay=0.6)) as one:
        table = backend("one", one.url, models=["m"], max_concurrency=1)
        process = GatewayProcess(CONFIG + table)
        process.start()
        with ThreadPoolExecutor(2) as pool:
            served = pool.submit(post, process.port, body(0))
            process.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == 1)
            queued = pool.submit(post, process.port, body(1))
            process.wait_for(lambda _: samples(process, "nexus_queue_depth")[frozenset()] == 1)
            ended = threading.Thread(target=process.stop)
            ended.start()
            reply = queued.result()
            assert not served.done()
            assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
            assert "shutting down" in reply.json["error"]["message"]
            assert served.result().status == 200
            ended.join()
        assert process.returncode == 0

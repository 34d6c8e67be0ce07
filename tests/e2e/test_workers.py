"""Two workers on one port: each of them shows, judges and counts what both of them do."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Hang, Status
from tests.e2e.gateway_client import backend, backend_stats, chat, open_request, post
from tests.e2e.worker_desks import SECONDS, Desk, Desks, kill_oldest_worker, log_of, worker_pids

CONFIG = """
[server]
workers = 2
[health_check]
interval_seconds = 0.5
failure_threshold = 1
recovery_threshold = 1
[quality]
metrics_interval_seconds = 1
[breaker]
first_timeout_seconds = 60
timeout_seconds = 60
[logging]
format = "json"
"""


class Setup(NamedTuple):
    gateway: GatewayProcess
    one: FaultyBackend
    two: FaultyBackend


@pytest.fixture
def setup() -> Iterator[Setup]:
    with FaultyBackend() as one, FaultyBackend() as two:
        config = CONFIG + backend("one", one.url, models=["m"]) + backend("two", two.url, models=["m"])
        with GatewayProcess(config) as gateway:
            yield Setup(gateway, one, two)


def counted(desk: Desk) -> tuple[int, int, int]:
    """What a worker shows: client requests, attempts, and outcomes in the windows of the last hour."""
    stats = desk.stats()
    backends = stats["backends"]
    windows = sum(each["quality"]["request_count_1h"] if each["quality"] else 0 for each in backends)
    return stats["requests"]["success"], sum(each["requests"] for each in backends), windows


def until(desk: Desk, expected: tuple[int, int, int]) -> None:
    deadline = time.monotonic() + SECONDS
    while (shown := counted(desk)) != expected:
        assert time.monotonic() < deadline, f"worker {desk.worker} shows {shown}, not {expected}"
        time.sleep(0.05)


def test_both_workers_count_every_attempt_once_and_see_all_that_is_under_way(setup):
    """Requests on many connections: counters, attempts, windows and pending counts agree in both workers."""
    with Desks(setup.gateway) as desks:
        for _ in range(10):
            assert desks[0].chat(chat()).status == 200
            assert desks[1].chat(chat(stream=True)).status == 200
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: post(setup.gateway.port, chat()), range(40)))
        assert {each.status for each in replies} == {200}
        for desk in desks:
            until(desk, (60, 60, 60))
        metrics = [desk.get("/metrics").body.decode() for desk in desks]
        line = 'nexus_requests_total{result="success",status="200",surface="chat"} 60.0'
        assert all(line in text for text in metrics), metrics
        assert len(setup.one.posts) + len(setup.two.posts) == 60
        setup.one.always(Hang())
        setup.two.always(Hang())
        peers = [open_request(setup.gateway.port, chat()) for _ in range(6)]
        for desk in desks:
            desk.wait_for(lambda stats: sum(each["pending"] for each in stats["backends"]) == 6)
        for peer in peers:
            peer.close()
        for desk in desks:
            desk.wait_for(lambda stats: not any(each["pending"] for each in stats["backends"]))


def test_a_backend_that_one_worker_finds_dead_is_out_for_both(setup):
    """Failures at one worker open the breaker at the other, which never met them."""
    setup.one.always(Status(500))
    with Desks(setup.gateway) as desks:
        while backend_stats(desks[0].stats(), "one")["breaker"] == "closed":
            assert desks[0].chat(chat()).status == 200
        desks[1].wait_for(lambda stats: backend_stats(stats, "one")["breaker"] == "open")
        met = len(setup.one.posts)
        for _ in range(10):
            assert desks[1].chat(chat()).headers["x-nexus-backend"] == "two"
        assert len(setup.one.posts) == met


def test_checks_by_one_worker_are_news_to_the_other_and_a_reload_reaches_both(setup):
    """A backend stops and comes back; one goes, another comes; a mistake in the file costs nobody."""
    with Desks(setup.gateway) as desks:
        setup.two.stop()
        for desk in desks:
            desk.wait_for(lambda stats: backend_stats(stats, "two")["status"] == "unhealthy")
        setup.two.start()
        for desk in desks:
            desk.wait_for(lambda stats: backend_stats(stats, "two")["status"] == "healthy")
        config = CONFIG.replace("[quality]", "[quality]\nerror_rate_threshold = 0.2")
        config += backend("one", setup.one.url, models=["m"])
        setup.gateway.configure(config, hang_up=True)
        for desk in desks:
            stats = desk.wait_for(lambda stats: len(stats["backends"]) == 1)
            assert stats["config"]["quality"]["error_rate_threshold"] == 0.2
        setup.gateway.configure(config + backend("new", setup.two.url))
        for desk in desks:
            desk.wait_for(lambda stats: stats["backends"][-1]["id"] == "new")
            desk.wait_for(lambda stats: backend_stats(stats, "new")["status"] == "healthy")
            desk.wait_for(lambda stats: backend_stats(stats, "new")["models"] == ["m"])
        setup.gateway.configure("wrong" + config)
        kill_oldest_worker(setup.gateway)
        desks[1].wait_for(lambda _: "can't start" in log_of(setup.gateway))
        assert desks[1].chat(chat()).status == 200
        setup.gateway.configure(config)
        with Desks(setup.gateway) as anew:
            assert min(desk.worker for desk in anew) == 2


def test_a_killed_worker_is_replaced_and_what_it_had_under_way_is_forgotten(setup):
    """The other one serves meanwhile and takes over the checks; the new one knows all that was counted."""
    gateway = setup.gateway
    with Desks(gateway) as desks:
        for desk in desks:
            for _ in range(5):
                assert desk.chat(chat()).status == 200
        for desk in desks:
            until(desk, (10, 10, 10))
        setup.one.always(Hang())
        setup.two.always(Hang())
        peers = [open_request(gateway.port, chat()) for _ in range(12)]
        for desk in desks:
            desk.wait_for(lambda stats: sum(each["pending"] for each in stats["backends"]) == 12)
        survivor = worker_pids(gateway)[1]
        kill_oldest_worker(gateway)
        setup.one.always(Answer())
        setup.two.always(Answer())
        lasting = next(desk for desk in desks if _answers(desk))
        lasting.wait_for(lambda stats: sum(each["pending"] for each in stats["backends"]) < 12)
        assert lasting.chat(chat()).status == 200
        for peer in peers:
            peer.close()
        with Desks(gateway) as anew:
            assert max(desk.worker for desk in anew) == 3
            for desk in anew:
                stats = desk.wait_for(lambda stats: not any(each["pending"] for each in stats["backends"]))
                assert stats["requests"]["success"] == 11
            setup.two.stop()
            for desk in anew:
                desk.wait_for(lambda stats: backend_stats(stats, "two")["status"] == "unhealthy")
        assert survivor in worker_pids(gateway)
    os.kill(gateway.pid, signal.SIGINT)
    assert gateway.wait_ended() == 0
    gateway.stop()
    assert "another one takes its place" in gateway.stdout


def _answers(desk: Desk) -> bool:
    try:
        desk.stats()
    except (OSError, ValueError):
        return False
    return True


def test_both_workers_finish_what_they_have_begun():
    """Streams at both workers end with their last event, new connections are refused, exit code 0."""
    with FaultyBackend(Answer(tokens=10, token_delay=0.08)) as one:
        gateway = GatewayProcess(CONFIG + backend("one", one.url, models=["m"]))
        gateway.start()
        with Desks(gateway), ThreadPoolExecutor(20) as pool:
            streams = [pool.submit(post, gateway.port, chat(stream=True)) for _ in range(20)]
            gateway.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == 20)
            os.kill(gateway.pid, signal.SIGTERM)
            replies = [each.result() for each in streams]
        assert all(each.whole and each.body.endswith(b"data: [DONE]\n\n") for each in replies)
        assert gateway.wait_ended() == 0
        gateway.stop()
        lines = [line for line in gateway.stdout.splitlines() if '"message":"request"' in line]
        assert len(lines) == 20, "the logs were written to their ends"

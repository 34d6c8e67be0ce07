"""What a client sees of two workers: one limit, one memory of requests, one set of metrics."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from nexus.testing import FaultyBackend, GatewayProcess, GatewayProcessError
from tests.e2e.gateway_client import backend, chat
from tests.e2e.worker_desks import Desks, ended, kill_oldest_worker, worker_pids

CONFIG = """
[server]
workers = 2
[logging]
format = "json"
"""
LIMIT = """
[quality]
error_rate_threshold = 0.7
[rate_limit]
enabled = true
per_second = 0.01
burst = 20
max_wait_seconds = 0
scope = "global"
"""


@pytest.fixture(scope="module")
def one() -> Iterator[FaultyBackend]:
    with FaultyBackend() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def workers(one: FaultyBackend) -> Iterator[GatewayProcess]:
    with GatewayProcess(CONFIG + backend("one", one.url, models=["m"])) as process:
        yield process


@pytest.fixture
def gateway(workers: GatewayProcess) -> Iterator[GatewayProcess]:
    """The workers, with the configuration of before put back in the end, also where a test failed."""
    before = workers.toml
    yield workers
    if workers.toml != before:
        workers.configure(before, hang_up=True)
        with Desks(workers) as desks:
            for desk in desks:
                desk.wait_for(lambda stats: not is_limited(stats))


def is_limited(stats: Any) -> bool:
    """Whether this worker has taken `LIMIT` in; of its settings `/v1/stats` shows this one."""
    return bool(stats["config"]["quality"]["error_rate_threshold"] == 0.7)


def say(text: str) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": text}])


def test_any_worker_knows_a_request_and_takes_what_became_of_it(gateway):
    """The other worker shows a request, resolves its call, and says so when it is asked again."""
    with Desks(gateway) as desks:
        traces = [desks[0].chat(say(f"Question {at}")).headers["x-nexus-trace-id"] for at in range(2)]
        shown = desks[1].get(f"/v1/requests/{traces[0]}")
        assert shown.status == 200
        assert shown.json["attempts"][0]["backend"] == "one"
        assert shown.json["receipt"] is None
        accepted = {"trace_id": traces[0], "outcome": "accepted"}
        taken = desks[1].post("/v1/outcomes", accepted)
        assert taken.json["results"] == [{"trace_id": traces[0], "applied": True}]
        assert desks[1].get(f"/v1/requests/{traces[0]}").json["receipt"]["signal"] == "explicit"
        own = desks[1].chat(say("Another question")).headers["x-nexus-trace-id"]
        several = [{"trace_id": each, "outcome": "rejected"} for each in (traces[1], "nobody's", own)]
        results = desks[1].post("/v1/outcomes", {"outcomes": several}).json["results"]
        assert [each["applied"] for each in results] == [True, False, True]
        assert results[1]["reason"] == "unknown trace"
        assert desks[0].post("/v1/outcomes", {"trace_id": "nobody's", "outcome": "accepted"}).status == 404
        assert desks[0].get("/v1/requests/nobody").status == 404


def test_a_second_try_at_another_worker_is_a_signal_for_the_first_answer(gateway):
    """The same messages again, at the other worker: the first answer was not good enough."""
    with Desks(gateway) as desks:
        for at in range(100):
            first = desks[0].chat(say(f"Write poem {at} about gateways")).headers["x-nexus-trace-id"]
            for _ in range(at):
                desks[
                    0
                ].stats()  # nothing shows when the other has heard of the answer: a longer wait each time
            desks[1].chat(say(f"Write poem {at} about gateways"))
            for _ in range(100):
                receipt = desks[1].get(f"/v1/requests/{first}").json["receipt"]
                if receipt is not None:
                    break
            if receipt is not None:
                break
        assert (receipt["signal"], receipt["success"]) == ("regenerated", False)
        assert desks[0].get(f"/v1/requests/{first}").json["receipt"] == receipt


def test_a_gateway_that_can_not_start_says_why(one):
    """The port is taken: one line, and exit code 1."""
    config = CONFIG + backend("one", one.url, models=["m"])
    wrong = GatewayProcess(config)
    wrong.port = one.port
    with pytest.raises(GatewayProcessError, match=f"can't listen on 127.0.0.1:{one.port}"):
        wrong.start()
    wrong.stop()
    assert wrong.returncode == 1


def test_a_rate_limit_holds_over_both_workers(gateway, one):
    """What one worker has granted the other, once told, no longer grants: together they keep to the burst."""
    unlimited = gateway.toml
    gateway.configure(LIMIT + unlimited, hang_up=True)
    with Desks(gateway) as desks:
        for desk in desks:
            desk.wait_for(is_limited)
        replies = []
        for at in range(24):
            for desk in desks:
                desk.wait_for(lambda _, at=desk: _reading(at, "nexus_attempts_total") == len(one.posts))
            replies.append(desks[at % 2].chat(chat()))
        assert [reply.status for reply in replies] == [200] * 20 + [429] * 4
        assert all(reply.headers["x-ratelimit-limit-requests"] == "20" for reply in replies)
        gateway.configure(unlimited, hang_up=True)
        for desk in desks:
            desk.wait_for(lambda _, at=desk: at.chat(chat()).status == 200)


def test_metrics_are_those_of_all_workers_and_never_fall(gateway):
    """They add up, also over a worker that was killed; and no worker outlives its supervisor."""
    outcomes, seconds = (
        'nexus_outcomes_total{result="success",signal="explicit"}',
        "process_cpu_seconds_total",
    )
    with Desks(gateway) as desks:
        known = _reading(desks[0], outcomes)
        desks[1].wait_for(lambda _: _reading(desks[1], outcomes) == known)
        for desk in desks:
            for at in range(2):
                trace_id = desk.chat(say(f"Metric {at} of {desk.worker}")).headers["x-nexus-trace-id"]
                desk.post("/v1/outcomes", {"trace_id": trace_id, "outcome": "accepted"})
        for desk in desks:
            desk.wait_for(lambda _, at=desk: _reading(at, outcomes) == known + 4)
        before = _reading(desks[0], seconds)
        assert before > 0.5, "two workers have started"
    kill_oldest_worker(gateway)
    with Desks(gateway) as desks:
        assert [desk.worker for desk in desks] == [2, 3]
        for desk in desks:
            desk.wait_for(lambda _, at=desk: _reading(at, outcomes) == known + 4)
            desk.wait_for(lambda _, at=desk: _reading(at, seconds) >= before)
    with ended(worker_pids(gateway)):
        gateway.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gateway.port))


def _reading(desk, name: str) -> float:
    lines = desk.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))

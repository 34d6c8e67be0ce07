"""Outcomes through a real gateway: what is tracked, what feedback does, what survives, what stays out."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus.outcomes import LedgerEntry, open_ledger
from nexus.testing import Answer, Cut, Delay, FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import backend, backend_stats, chat, idle, open_request, post, samples

OUTCOMES = "/v1/outcomes"
QUIET = "[health_check]\ninterval_seconds = 600\n[ledger]\nflush_interval_seconds = 0.05\n"
NO_RETRY = "[retry]\nmax_retries = 0\n[breaker]\nenabled = false\n[quality]\nenabled = false\n"


@pytest.fixture
def upstream() -> Iterator[FaultyBackend]:
    with FaultyBackend() as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def gateway(upstream: FaultyBackend, data: Path, more: str = "") -> GatewayProcess:
    return GatewayProcess(more + QUIET + backend("one", upstream.url), env={"NEXUS_DATA_DIR": str(data)})


def receipts(data: Path) -> list[LedgerEntry]:
    store = open_ledger(f"sqlite:///{data}/nexus.db")
    try:
        return store.read()
    finally:
        store.close()


def metric(running: GatewayProcess, name: str, **labels: str) -> float:
    return samples(running, name).get(frozenset(labels.items()), 0.0)


def profile(running: GatewayProcess, model: str = "m") -> Any:
    found = running.get("/v1/profiles")["profiles"]
    return next(each for each in found if each["model_id"] == model)


def test_feedback_resolves_a_call_once_and_the_receipt_is_shown(upstream, data):
    with gateway(upstream, data) as running:
        running.wait_ready()
        trace_id = post(running.port, chat(), headers={"X-Nexus-Project": "p"}).headers["x-nexus-trace-id"]
        assert running.get(f"/v1/requests/{trace_id}")["receipt"] is None
        feedback = {"trace_id": trace_id, "outcome": "accepted", "confidence": 0.9}
        first, second = (post(running.port, feedback, path=OUTCOMES) for _ in range(2))
        assert (first.status, first.json) == (
            200,
            {"results": [{"trace_id": trace_id, "applied": True}]},
        )
        assert second.json["results"] == [
            {"trace_id": trace_id, "applied": False, "reason": "already resolved"}
        ]
        receipt = running.get(f"/v1/requests/{trace_id}")["receipt"]
        assert receipt["model_id"] == "m"
        assert receipt["backend_id"] == "one"
        assert receipt["project_id"] == "p"
        assert (receipt["success"], receipt["quality"], receipt["signal"]) == (True, 0.9, "explicit")
        assert "error" not in receipt
        seen = profile(running)
        assert (seen["total_calls"], seen["success_count"]) == (1, 1)
        assert seen["ema_quality"] == pytest.approx(0.58)
        assert metric(running, "nexus_outcomes_total", signal="explicit", result="success") == 1
    assert [entry.trace_id for entry in receipts(data)] == [trace_id]


def test_code_outcomes_and_several_outcomes_at_once(upstream, data):
    with gateway(upstream, data) as running:
        running.wait_ready()
        one, two = (post(running.port, chat()).headers["x-nexus-trace-id"] for _ in range(2))
        answer = post(
            running.port,
            {
                "outcomes": [
                    {"trace_id": one, "code_outcome": "ignored"},
                    {"trace_id": two, "outcome": "inconclusive"},
                    {"trace_id": "nobody", "outcome": "rejected"},
                ]
            },
            path=OUTCOMES,
        )
        assert answer.status == 200
        assert [result["applied"] for result in answer.json["results"]] == [True, True, False]
        assert answer.json["results"][2]["reason"] == "unknown trace"
        assert profile(running)["fail_count"] == 1


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"trace_id": "nobody", "outcome": "accepted"}, 404, None),
        ({"outcome": "accepted"}, 400, "trace_id"),
        ({"trace_id": "", "outcome": "accepted"}, 400, "trace_id"),
        ({"trace_id": "t"}, 400, "outcome"),
        ({"trace_id": "t", "outcome": "accepted", "code_outcome": "applied"}, 400, "outcome"),
        ({"trace_id": "t", "outcome": "great"}, 400, "outcome"),
        ({"trace_id": "t", "outcome": "accepted", "confidence": 1.5}, 400, "confidence"),
        ({"trace_id": "t", "outcome": "accepted", "confidence": "high"}, 400, "confidence"),
        ({"trace_id": "t", "verdict": "accepted"}, 400, None),
        ({"outcomes": {}}, 400, "outcomes"),
        ({"outcomes": [{"trace_id": "t", "outcome": "accepted"}] * 1001}, 400, "outcomes"),
        ({"outcomes": [{"trace_id": "t", "outcome": "accepted"}, 7]}, 400, "outcomes[1]"),
        ({"outcomes": [{"trace_id": "t", "code_outcome": "eaten"}]}, 400, "outcomes[0].code_outcome"),
    ],
)
def test_wrong_feedback_is_refused_with_its_place(running_idle, body, status, param):
    answer = post(running_idle.port, body, path=OUTCOMES)
    assert answer.status == status
    assert answer.json["error"]["param"] == param
    assert answer.json["error"]["code"] == ("not_found" if status == 404 else "invalid_request_error")


@pytest.fixture(scope="module")
def running_idle() -> Iterator[GatewayProcess]:
    with FaultyBackend() as server, GatewayProcess(QUIET + backend("one", server.url)) as running:
        yield running


def test_nothing_of_a_list_is_applied_where_one_entry_is_wrong(upstream, data):
    with gateway(upstream, data) as running:
        running.wait_ready()
        trace_id = post(running.port, chat()).headers["x-nexus-trace-id"]
        bad = {"outcomes": [{"trace_id": trace_id, "outcome": "rejected"}, {"trace_id": trace_id}]}
        assert post(running.port, bad, path=OUTCOMES).status == 400
        assert profile(running)["fail_count"] == 0


def test_failures_rate_limits_and_refusals_are_told_apart(upstream, data):
    with gateway(upstream, data, NO_RETRY) as running:
        running.wait_ready()
        upstream.script(Status(500), Status(400), Status(429, retry_after=0), then=Answer())
        failed, refused, limited = (post(running.port, chat()) for _ in range(3))
        assert (failed.status, refused.status, limited.status) == (502, 400, 429)
        assert profile(running)["excluded"] is False
        assert post(running.port, chat("unknown")).status == 404
        seen = profile(running)
        assert (seen["total_calls"], seen["success_count"], seen["fail_count"]) == (3, 0, 2)
    by_trace = {entry.trace_id: entry for entry in receipts(data)}
    assert len(by_trace) == 3
    first = by_trace[failed.headers["x-nexus-trace-id"]]
    assert (first.success, first.signal, first.error) == (False, "failure", "server_error (HTTP 500)")
    assert by_trace[limited.headers["x-nexus-trace-id"]].signal == "rate_limit"
    passed_on = by_trace[refused.headers["x-nexus-trace-id"]]
    assert (passed_on.success, passed_on.signal) == (None, "expired")


def test_a_cut_stream_is_a_failure_and_a_client_that_left_is_neither(upstream, data):
    with gateway(upstream, data, NO_RETRY) as running:
        running.wait_ready()
        upstream.script(Cut(), then=Answer())
        post(running.port, chat(stream=True))
        upstream.always(Delay(30.0))
        leaver = open_request(running.port, chat(stream=True))
        upstream.wait_until(lambda server: server.active_requests == 1)
        leaver.close()
        running.wait_for(lambda stats: idle(stats) and stats["requests"]["cancelled"] == 1)
        seen = profile(running)
        assert (seen["total_calls"], seen["success_count"], seen["fail_count"]) == (2, 0, 1)


def test_a_failover_is_one_call_with_its_attempts(data):
    with FaultyBackend() as bad, FaultyBackend() as good:
        bad.always(Status(500))
        toml = backend("bad", bad.url, priority=1) + backend("good", good.url, priority=99)
        toml = '[routing]\nstrategy = "priority_only"\n' + QUIET + toml
        with GatewayProcess(toml, env={"NEXUS_DATA_DIR": str(data)}) as running:
            running.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            assert post(running.port, chat()).headers["x-nexus-backend"] == "good"
            assert profile(running)["total_calls"] == 1
    [receipt] = receipts(data)
    assert (receipt.attempts, receipt.backend_id, receipt.routing_reason) == (2, "good", "failover")


def test_embeddings_and_tasks_have_figures_of_their_own(upstream, data):
    with gateway(upstream, data) as running:
        running.wait_ready()
        assert post(running.port, {"model": "m", "input": "x"}, path="/v1/embeddings").status == 200
        post(running.port, chat(), headers={"X-Nexus-Task": "code"})
        stats = profile(running)["task_stats"]
        assert {task: each["successes"] for task, each in stats.items()} == {"code": 1, "embed": 1}


def test_feedback_on_a_stream_that_still_runs_waits_for_its_end(upstream, data):
    with gateway(upstream, data) as running:
        running.wait_ready()
        upstream.always(Answer(tokens=3, token_delay=0.5))
        with open_request(running.port, chat(stream=True)) as client:
            head = client.recv(4096).decode("latin-1").lower()
            trace_id = head.partition("x-nexus-trace-id: ")[2].partition("\r\n")[0]
            answer = post(running.port, {"trace_id": trace_id, "outcome": "rejected"}, path=OUTCOMES)
            [result] = answer.json["results"]
            assert result["applied"]
            assert "waits" in result["reason"]
            running.wait_for(lambda stats: idle(stats) and stats["requests"]["success"] == 1)
        seen = profile(running)
        assert (seen["total_calls"], seen["success_count"], seen["fail_count"]) == (1, 0, 1)
        assert running.get(f"/v1/requests/{trace_id}")["receipt"]["signal"] == "explicit"


def test_profiles_and_receipts_survive_a_restart_and_add_up(upstream, data):
    for number in (1, 2):
        with gateway(upstream, data) as running:
            running.wait_ready()
            for _ in range(3):
                post(running.port, chat())
            assert profile(running)["total_calls"] == 3 * number
    assert len(receipts(data)) == 6


def test_calls_without_feedback_become_receipts_when_their_time_is_over(upstream, data):
    with gateway(upstream, data, "[outcomes]\npending_ttl_seconds = 0.1\n") as running:
        running.wait_ready()
        trace_id = post(running.port, chat()).headers["x-nexus-trace-id"]
        running.wait_for(lambda _: running.get(f"/v1/requests/{trace_id}")["receipt"] is not None)
        running.wait_for(lambda _: metric(running, "nexus_receipts_total", result="written") == 1)
        assert post(running.port, {"trace_id": trace_id, "outcome": "rejected"}, path=OUTCOMES).json[
            "results"
        ] == [{"trace_id": trace_id, "applied": False, "reason": "already resolved"}]
    [receipt] = receipts(data)
    assert (receipt.signal, receipt.success, receipt.quality) == ("expired", True, None)


def test_outcomes_can_be_switched_off(upstream, data):
    with gateway(upstream, data, "[outcomes]\nenabled = false\n") as running:
        running.wait_ready()
        trace_id = post(running.port, chat()).headers["x-nexus-trace-id"]
        answer = post(running.port, {"trace_id": trace_id, "outcome": "accepted"}, path=OUTCOMES)
        assert answer.status == 404
        assert "outcomes.enabled" in answer.json["error"]["message"]
        assert running.get("/v1/profiles")["error"]["code"] == "not_found"
        assert running.get(f"/v1/requests/{trace_id}")["receipt"] is None
        assert "nexus_outcomes" not in running.text("/metrics")
    assert not (data / "profiles.json").exists()
    assert not (data / "nexus.db").exists()


def test_the_ledger_can_be_switched_off(upstream, data):
    off = '[health_check]\ninterval_seconds = 600\n[ledger]\nurl = "none"\n' + backend("one", upstream.url)
    with GatewayProcess(off, env={"NEXUS_DATA_DIR": str(data)}) as running:
        running.wait_ready()
        post(running.port, chat())
    assert (data / "profiles.json").exists()
    assert not (data / "nexus.db").exists()


def test_a_damaged_store_does_not_stop_the_start(upstream, data):
    data.mkdir()
    (data / "profiles.json").write_bytes(b"{")
    with gateway(upstream, data) as running:
        running.wait_ready()
        post(running.port, chat())
        assert profile(running)["total_calls"] == 1
    assert "is damaged" in running.stdout + running.stderr


def test_the_profiles_verb_reads_the_store_and_the_running_gateway(upstream, data):
    def ask(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nexus.cli.main", "profiles", *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=data.parent)

    assert "No profiles yet" in ask("--data-dir", str(data)).stdout
    with gateway(upstream, data) as running:
        running.wait_ready()
        post(running.port, chat(), headers={"X-Nexus-Task": "code"})
        post(running.port, chat())
        live = json.loads(ask("--url", running.url, "--json").stdout)["profiles"][0]
        assert live["excluded"] is False
    stored = ask("--data-dir", str(data), "--json")
    assert json.loads(stored.stdout)["profiles"][0] == {
        name: value for name, value in live.items() if name != "excluded"
    }
    table = ask("--data-dir", str(data)).stdout.split()
    assert {"m", "code", "generate", "100.0%", "0.500"} <= set(table)
    (data / "profiles.json").write_bytes(b"{")
    damaged = ask("--data-dir", str(data))
    assert (damaged.returncode, damaged.stdout) == (1, "")
    assert "is damaged" in damaged.stderr
    assert len(damaged.stderr.splitlines()) == 1
    assert (data / "profiles.json").read_bytes() == b"{"


def test_a_backend_that_was_bad_before_a_restart_is_still_bad_after_it(data):
    """Half of the requests fail; the second process has seen none of them itself."""
    with FaultyBackend() as bad, FaultyBackend() as good:
        toml = QUIET + "[quality]\nmetrics_interval_seconds = 1\n[breaker]\nenabled = false\n"
        toml += '[routing]\nstrategy = "round_robin"\n' + backend("bad", bad.url) + backend("good", good.url)
        bad.always(Status(500))
        with GatewayProcess(toml, env={"NEXUS_DATA_DIR": str(data)}) as running:
            running.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            for _ in range(12):
                assert post(running.port, chat()).status == 200
            running.wait_for(lambda stats: backend_stats(stats, "bad").get("error_rate_1h") == 1.0)
        bad.always(Answer())
        with GatewayProcess(toml, env={"NEXUS_DATA_DIR": str(data)}) as again:
            found = backend_stats(again.get("/v1/stats"), "bad")
            assert found["error_rate_1h"] == 1.0
            assert found["quality"]["request_count_1h"] >= 5
            assert found["quality"]["state"] in {"excluded", "probing"}

"""`auto` through a real gateway: it learns from feedback, keeps conversations, fails over, and recalls."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus.outcomes import LedgerEntry, open_ledger
from nexus.testing import FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import Reply, backend, chat, post

QUIET = "[health_check]\ninterval_seconds = 600\n[ledger]\nflush_interval_seconds = 0.05\n"
QUALITY = {"wise": ("accepted", 0.9), "noisy": ("rejected", 0.9)}


@pytest.fixture
def wise() -> Iterator[FaultyBackend]:
    with FaultyBackend(models=("wise",)) as server:
        yield server


@pytest.fixture
def noisy() -> Iterator[FaultyBackend]:
    with FaultyBackend(models=("noisy",)) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def gateway(wise: FaultyBackend, noisy: FaultyBackend, data: Path, more: str = "") -> GatewayProcess:
    toml = more + QUIET + backend("one", wise.url) + backend("two", noisy.url)
    return GatewayProcess(toml, env={"NEXUS_DATA_DIR": str(data)})


def ask(running: GatewayProcess, model: str = "auto", **headers: str) -> Reply:
    reply = post(running.port, chat(model), headers={f"X-Nexus-{k}": v for k, v in headers.items()})
    assert reply.status == 200, reply.body
    return reply


def ask_and_judge(running: GatewayProcess, count: int) -> list[str]:
    """Ask, say what became of the answer, and give the models that served."""
    served = []
    for _ in range(count):
        reply = ask(running)
        served.append(reply.headers["x-nexus-model"])
        outcome, confidence = QUALITY[served[-1]]
        told = {
            "trace_id": reply.headers["x-nexus-trace-id"],
            "outcome": outcome,
            "confidence": confidence,
        }
        assert post(running.port, told, path="/v1/outcomes").json["results"][0]["applied"]
    return served


def explained(running: GatewayProcess, model: str = "auto") -> Any:
    return post(running.port, chat(model), path="/v1/routing/explain").json


def receipts(data: Path) -> list[LedgerEntry]:
    store = open_ledger(f"sqlite:///{data}/nexus.db")
    try:
        return store.read()
    finally:
        store.close()


def test_feedback_leads_auto_to_the_better_model_within_fifty_requests(wise, noisy, data):
    with gateway(wise, noisy, data) as running:
        running.wait_ready()
        ask_and_judge(running, 50)
        later = Counter(ask(running).headers["x-nexus-model"] for _ in range(20))
        assert later["wise"] >= 15
        told = explained(running)
        first, second = told["models"]
        assert (first["model"], second["model"]) == ("wise", "noisy")
        assert first["utility"] > second["utility"]
        assert first["terms"]["quality"] > second["terms"]["quality"] + 0.02
        assert first["terms"]["samples"] > second["terms"]["samples"]
        assert first["terms"]["best"] > second["terms"]["best"]
        assert told["propensity"] == pytest.approx(0.975)
        assert told["route_reason"] == "adaptive:exploit"
    chosen = [entry for entry in receipts(data) if entry.signal == "explicit"]
    assert len(chosen) == 50
    for entry in chosen:
        assert entry.candidates is not None
        assert set(entry.candidates) == {"wise", "noisy"}
        assert entry.candidates[0] == entry.model_id
        assert entry.propensity is not None
        assert 0.0 < entry.propensity <= 1.0
        assert entry.routing_reason in {"adaptive:exploit", "adaptive:explore"}


def test_the_backend_gets_the_chosen_models_name_and_the_rest_of_the_body_as_sent(wise, noisy, data):
    with gateway(wise, noisy, data) as running:
        running.wait_ready()
        served = ask(running, "auto:code").headers["x-nexus-model"]
        upstream = wise if served == "wise" else noisy
        body = json.loads(upstream.posts[-1].body)
        assert body == {**chat("auto:code"), "model": served}


def test_auto_is_listed_and_has_an_entry_of_its_own(wise, noisy, data):
    with gateway(wise, noisy, data) as running:
        running.wait_ready()
        assert [entry["id"] for entry in running.get("/v1/models")["data"]] == ["auto", "noisy", "wise"]
        entry = running.get("/v1/models/auto")
        assert set(entry["nexus"]["backends"]) == {"one", "two"}


def test_without_outcomes_auto_is_an_unknown_model(wise, noisy, data):
    with gateway(wise, noisy, data, "[outcomes]\nenabled = false\n") as running:
        running.wait_ready()
        assert post(running.port, chat("auto")).status == 404
        assert "auto" not in [entry["id"] for entry in running.get("/v1/models")["data"]]


def test_a_conversation_keeps_its_model(wise, noisy, data):
    with gateway(wise, noisy, data, "[outcomes]\nexploration = 1.0\n") as running:
        running.wait_ready()
        replies = [ask(running, Session="talk") for _ in range(8)]
        assert len({reply.headers["x-nexus-model"] for reply in replies}) == 1
        reasons = [reply.headers["x-nexus-route-reason"] for reply in replies]
        assert reasons == ["adaptive:explore"] + ["adaptive:sticky"] * 7
        others = {ask(running, Session=f"talk {n}").headers["x-nexus-model"] for n in range(20)}
        assert others == {"wise", "noisy"}


def test_a_failing_model_is_followed_by_another_before_the_first_byte(wise, noisy, data):
    noisy.always(Status(500))
    with gateway(wise, noisy, data, "[outcomes]\nexploration = 1.0\n") as running:
        running.wait_ready()
        replies = [ask(running) for _ in range(12)]
        assert {reply.headers["x-nexus-model"] for reply in replies} == {"wise"}
        assert "2" in {reply.headers["x-nexus-attempts"] for reply in replies}


def test_what_was_learned_survives_a_restart(wise, noisy, data):
    with gateway(wise, noisy, data) as running:
        running.wait_ready()
        ask_and_judge(running, 30)
        before = explained(running)["models"]
    with gateway(wise, noisy, data) as running:
        running.wait_ready()
        running.wait_for(lambda _: explained(running)["models"][0]["terms"]["prior_share"] < 1.0)
        after = explained(running)["models"]
    assert [each["model"] for each in after] == [each["model"] for each in before] == ["wise", "noisy"]
    for old, new in zip(before, after, strict=True):
        assert new["terms"]["quality"] == pytest.approx(old["terms"]["quality"])

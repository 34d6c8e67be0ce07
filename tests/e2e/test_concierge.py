"""The example service, with the real model behind a real gateway, while its parts fail and come back."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus.testing import GatewayProcess, LlamaServer
from nexus.testing.gateway_process import free_port

pytestmark = pytest.mark.real_model

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CHAT = "/api/v1/concierge/chat"
Reply = tuple[int, dict[str, Any], dict[str, str]]


class Service:
    """The concierge in a process of its own."""

    def __init__(self, gateway_url: str, index: Path, burst: int = 1000) -> None:
        self.index = index
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        env = os.environ | {
            "PYTHONPATH": str(EXAMPLES),
            "PORT": str(port),
            "NEXUS_URL": gateway_url,
            "CONCIERGE_INDEX": str(index),
            "RAG_CB_FAILURE_THRESHOLD": "2",
            "RAG_CB_TIMEOUT_SECONDS": "5",
            "LLM_CB_FAILURE_THRESHOLD": "2",
            "LLM_CB_TIMEOUT_SECONDS": "60",
            "RATE_LIMIT_PER_SECOND": "0.1",
            "RATE_LIMIT_BURST": str(burst),
        }
        command = [sys.executable, "-m", "nexus.testing.tethered", "concierge.__main__"]
        self.child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.until(lambda: self.ask("/health")[0] == 200)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error), dict(error.headers)
        except urllib.error.URLError:
            return 0, {}, {}

    def chat(self, message: str, **fields: Any) -> Reply:
        return self.ask(CHAT, {"message": message, **fields})

    def breaker(self, name: str) -> str:
        return str(self.ask("/health")[1]["circuit_breakers"][name])

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it took too long"
            time.sleep(0.05)

    def stop(self) -> str:
        self.child.terminate()
        out, _ = self.child.communicate(timeout=20)
        return out.decode()


@pytest.fixture(scope="module")
def gateway(llama_servers: tuple[LlamaServer, LlamaServer]) -> Iterator[GatewayProcess]:
    toml = f'[[backends]]\nname = "one"\nurl = "{llama_servers[0].url}"\ntype = "llamacpp"\n'
    with GatewayProcess(toml) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def service(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(gateway.url, tmp_path_factory.mktemp("concierge") / "index.db")
    yield running
    running.stop()


def test_a_guest_is_answered_by_the_model_from_a_document(service: Service):
    status, reply, headers = service.chat("When is breakfast served?", session_id="s-1")
    assert status == 200
    assert reply["reply"]
    assert (reply["session_id"], reply["degraded"], reply["sources"][0]) == ("s-1", False, "breakfast")
    assert headers["x-trace-id"]
    status, told, _ = service.ask("/api/v1/concierge/session/s-1")
    assert status == 200
    assert [turn["question"] for turn in told["turns"]] == ["When is breakfast served?"]
    status, health, _ = service.ask("/health")
    assert (status, health["status"], health["tools_count"]) == (200, "healthy", 3)
    assert health["circuit_breakers"] == {"retrieval": "closed", "llm": "closed"}
    assert service.ask("/")[1]["name"] == "concierge"


def test_a_tool_adds_a_fact(service: Service):
    _, reply, _ = service.chat("Please split a bill of 90 between 4 people.")
    assert reply["tools"] == ["split_bill"]


def test_chat_goes_on_without_retrieval_and_health_shows_the_breaker(service: Service):
    """Retrieval is killed: degraded answers, an open breaker; restored, the breaker closes."""
    away = service.index.with_suffix(".away")
    service.index.rename(away)
    for _ in range(2):
        status, reply, _ = service.chat("When is breakfast?")
        assert (status, reply["degraded"], reply["sources"]) == (200, True, [])
        assert reply["reply"]
    _, health, _ = service.ask("/health")
    assert (health["status"], health["circuit_breakers"]["retrieval"]) == ("degraded", "open")
    away.rename(service.index)
    service.until(lambda: service.chat("When is breakfast?")[1]["degraded"] is False)
    service.chat("When is breakfast?")
    assert service.breaker("retrieval") == "closed"


def test_without_the_model_the_best_document_answers_and_else_there_is_a_503(tmp_path: Path):
    """The gateway is not there at all."""
    service = Service("http://127.0.0.1:9", tmp_path / "index.db")
    try:
        status, reply, _ = service.chat("When is the pool open?")
        assert (status, reply["degraded"]) == (200, True)
        assert "from 7:00 to 21:00" in reply["reply"]
        status, reply, headers = service.chat("Xyzzy?")
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert "Traceback" not in json.dumps(reply)
        assert service.breaker("llm") == "open"
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": "   "}, "message"),
        ({"message": "x" * 1001}, "message"),
        ({"message": "hello", "session_id": "../x"}, "session_id"),
        ({"message": "x" * 20_000}, "body"),
    ],
)
def test_bad_input_is_a_400_that_names_the_field(service: Service, body: dict[str, Any], field: str):
    status, reply, _ = service.ask(CHAT, body)
    assert (status, reply["error"]["field"]) == (400, field)


def test_too_many_requests_are_a_429_and_every_request_is_logged(gateway: GatewayProcess, tmp_path: Path):
    service = Service(gateway.url, tmp_path / "index.db", burst=5)
    answers = [service.ask(CHAT, {"message": ""}) for _ in range(8)]
    log = service.stop()
    assert [status for status, _, _ in answers] == [400] * 5 + [429] * 3
    assert answers[-1][1]["error"]["message"] == "Rate limit exceeded"
    assert 1 <= int(answers[-1][2]["retry-after"]) <= 10
    lines = [json.loads(line) for line in log.splitlines()]
    calls = [line for line in lines if line["message"] == "api_call" and line["path"] == CHAT]
    assert [line["status"] for line in calls] == [400] * 5 + [429] * 3
    assert all(line["trace_id"] for line in calls)

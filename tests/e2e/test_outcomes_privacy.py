"""No word of a conversation is kept: not in files, tables, log lines or metrics, and by no crash either."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import Reply, backend, post, samples

MARKER = "Xyzzy7Quux-marker"
MARKS = (MARKER, MARKER.replace("-", "_"))
ECHO = json.dumps({"error": {"message": f"can't parse {MARKER}", "input": MARKER}}).encode()
CODE = f"def {MARKS[1]}(values):\n    return sorted(values, key={MARKS[1]}.get, reverse=True)\n"
TEXT = f"{MARKER} says\n```python\n{CODE}```"
TOML = """
[health_check]
interval_seconds = 600
[retry]
max_retries = 0
[breaker]
enabled = false
[quality]
enabled = false
[logging]
level = "debug"
[ledger]
flush_interval_seconds = 0.05
"""
SHOWN = ("/metrics", "/v1/profiles", "/v1/stats", "/v1/models", "/health")
LEAST_RECEIPTS = 8


@pytest.fixture
def upstream() -> Iterator[FaultyBackend]:
    with FaultyBackend() as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def gateway(upstream: FaultyBackend, data: Path) -> GatewayProcess:
    return GatewayProcess(TOML + backend("one", upstream.url), env={"NEXUS_DATA_DIR": str(data)})


def written(running: GatewayProcess) -> float:
    return samples(running, "nexus_receipts_total").get(frozenset({("result", "written")}), 0.0)


def say(running: GatewayProcess, messages: list[dict[str, Any]], **more: Any) -> Reply:
    return post(running.port, {"model": "auto", "messages": messages, **more})


def judge(running: GatewayProcess, reply: Reply) -> None:
    feedback = {"trace_id": reply.headers["x-nexus-trace-id"], "outcome": "rejected"}
    assert post(running.port, feedback, path="/v1/outcomes").json["results"][0]["applied"]


def talk(running: GatewayProcess, upstream: FaultyBackend) -> str:
    """The marker in prompts, answers, tools and errors that quote the prompt; gives what can be looked at."""
    tool = {"type": "function", "function": {"name": "look", "description": MARKER, "parameters": {}}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": MARKER},
        {"role": "user", "content": TEXT},
    ]
    upstream.always(Answer(text=TEXT))
    traces = []
    for turn in range(6):
        answer = say(running, messages, stream=turn % 2 == 1, tools=[tool])
        assert answer.status == 200
        traces.append(answer.headers["x-nexus-trace-id"])
        if turn < 4:
            judge(running, answer)
        messages += [{"role": "assistant", "content": TEXT}, {"role": "user", "content": f"no, {TEXT}"}]
    say(running, messages[:-2])  # regenerated
    assert post(running.port, {"model": "m", "prompt": TEXT}, path="/v1/completions").status == 200
    assert post(running.port, {"model": "m", "input": MARKER}, path="/v1/embeddings").status == 200
    for status in (500, 400, 401, 500, 500, 500):
        upstream.always(Status(status, body=ECHO))
        say(running, messages)
    post(running.port, {"model": "m", "messages": MARKER})
    paths = (*SHOWN, *(f"/v1/requests/{trace}" for trace in traces))
    return "".join(running.text(path) for path in paths)


def rows(database: Path) -> str:
    """All tables of a database, as text."""
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump())


def assert_kept_nowhere(data: Path, said: str) -> None:
    files = [path for path in data.rglob("*") if path.is_file()]
    # What is searched is what was written: other words of the same calls are found in it.
    assert any(b"explicit" in path.read_bytes() for path in files)
    assert '"message":"request"' in said
    for path in files:
        content = path.read_bytes()
        assert not any(mark.encode() in content for mark in MARKS), path
    tables = rows(data / "nexus.db")
    assert tables.count("INSERT INTO") >= LEAST_RECEIPTS
    for text in (tables, said):
        found = [line for line in text.splitlines() if any(mark in line for mark in MARKS)]
        assert not found, found[:3]


def logged(running: GatewayProcess) -> bool:
    """Whether lines of requests are in the log, which is written a moment after the answers."""
    running.read_output()
    return '"message":"request"' in running.stdout + running.stderr


def test_no_word_of_a_conversation_is_kept_anywhere_even_after_a_kill(upstream, data):
    """`kill -9` in the middle of it, then a second run that ends in order, on the same data."""
    with gateway(upstream, data) as running:
        running.wait_ready()
        shown = talk(running, upstream)
        running.wait_for(lambda _: written(running) >= LEAST_RECEIPTS, timeout=60)
        running.wait_for(lambda _: logged(running), timeout=60)
        upstream.always(Answer(text=TEXT))
        say(running, [{"role": "user", "content": TEXT}])
        running.kill()
        assert running.returncode == -signal.SIGKILL
    assert_kept_nowhere(data, shown + running.stdout + running.stderr)
    upstream.always(Answer(text=TEXT))
    with gateway(upstream, data) as again:
        again.wait_ready()
        shown = talk(again, upstream)
    assert_kept_nowhere(data, shown + again.stdout + again.stderr)

"""Code that a real gateway's answers suggested, found in a real repository: by command and by hook."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess
from tests.e2e.gateway_client import backend, chat, post
from tests.git_folder import GitFolder, new_repository

QUIET = "[health_check]\ninterval_seconds = 600\n[ledger]\nflush_interval_seconds = 0.05\n"
TOTAL = """def total(items, rate):
    result = 0
    for item in items:
        result += item.price * item.count
    return result * (1 + rate)
"""
STACK = """class Stack:
    def __init__(self):
        self.entries = []

    def push(self, entry):
        self.entries.append(entry)
        return len(self.entries)
"""
MARKER = "xyzzyplughmarker"


@pytest.fixture
def upstream() -> Iterator[FaultyBackend]:
    with FaultyBackend(models=("m", "other")) as server:
        yield server


@pytest.fixture
def repo(tmp_path: Path) -> GitFolder:
    return new_repository(tmp_path / "repo")


@pytest.fixture
def running(upstream: FaultyBackend, tmp_path: Path) -> Iterator[GatewayProcess]:
    env = {"NEXUS_DATA_DIR": str(tmp_path / "data")}
    with GatewayProcess(QUIET + backend("one", upstream.url), env=env) as process:
        process.wait_ready()
        yield process


def ask(running: GatewayProcess, upstream: FaultyBackend, answer: str, **more: Any) -> str:
    upstream.script(Answer(text=answer))
    # A question of its own each time: the same again would speak against the answer before.
    question = {"role": "user", "content": f"Question {len(upstream.requests)}"}
    reply = post(running.port, {**chat(**more), "messages": [question]})
    assert reply.status == 200
    return reply.headers["x-nexus-trace-id"]


def look(running: GatewayProcess, repo: GitFolder, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nexus.cli.main", "outcomes", "git", "--repo", str(repo.root)]
    return subprocess.run(
        [*command, "--url", f"http://127.0.0.1:{running.port}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_answers_are_followed_into_the_repository(running, upstream, repo, tmp_path):
    """Streamed and whole answers of two models; each is judged once, and the receipts say by what."""
    used = ask(running, upstream, f"Here:\n```python\n{TOTAL}```\nDone.")
    edited = ask(running, upstream, f"```python\n# {MARKER}\n{STACK}```", model="other", stream=True)
    unused = ask(running, upstream, "```python\nfor line in open(path):\n    print(line.strip(), 1)\n```")
    text_only = ask(running, upstream, "Use a list.")
    repo.write("one.py", TOTAL)
    repo.write("two.txt", STACK.replace("push", "add"))

    first = look(running, repo, "--json")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    found = {each["trace_id"]: each for each in report["verdicts"]}
    fates = {trace: (each["model_id"], each["code_outcome"], each["path"]) for trace, each in found.items()}
    assert fates == {
        used: ("m", "applied", "one.py"),
        edited: ("other", "modified", "two.txt"),
    }
    assert all(each["applied"] for each in found.values())
    assert report["waiting"] == 1
    for _ in range(4):
        again = look(running, repo)
        assert again.stdout.splitlines()[-1] == "0 found, 1 not found yet."
    receipts = {trace: running.get(f"/v1/requests/{trace}")["receipt"] for trace in (used, edited, unused)}
    assert (receipts[used]["quality"], receipts[used]["signal"]) == (1.0, "git")
    assert (receipts[edited]["quality"], receipts[edited]["success"]) == (0.6, True)
    assert receipts[unused] is None
    assert text_only not in found
    profiles = {each["model_id"]: each for each in running.get("/v1/profiles")["profiles"]}
    assert profiles["other"]["ema_quality"] == pytest.approx(0.52)
    assert MARKER not in running.text("/v1/suggestions")
    kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert kept
    assert not any(MARKER.encode() in path.read_bytes() for path in kept)


def test_a_commit_reports_by_itself_once_the_hook_is_there(running, upstream, repo, monkeypatch):
    """The hook runs beside the commit, and does not change how it ends."""
    trace_id = ask(running, upstream, f"```python\n{TOTAL}```")
    installed = look(running, repo, "--install-hook")
    assert installed.returncode == 0, installed.stderr
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    repo.commit(one_py=TOTAL)
    deadline = time.monotonic() + 30
    while (receipt := running.get(f"/v1/requests/{trace_id}")["receipt"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (receipt["quality"], receipt["signal"], receipt["success"]) == (1.0, "git", True)
    removed = look(running, repo, "--remove-hook")
    assert removed.returncode == 0, removed.stderr
    assert not (repo.root / ".git/hooks/post-commit").exists()


def test_what_nobody_uses_is_ignored_at_the_deadline(upstream, tmp_path):
    """Once a repository was looked at; what nobody looked for is no evidence."""
    settings = "[outcomes]\ngit_deadline_seconds = 5\npending_ttl_seconds = 1\n"
    env = {"NEXUS_DATA_DIR": str(tmp_path / "data")}
    with GatewayProcess(settings + QUIET + backend("one", upstream.url), env=env) as running:
        running.wait_ready()
        trace_id = ask(running, upstream, f"```python\n{TOTAL}```")
        unseen = ask(running, upstream, f"```python\n{STACK}```")
        [waiting, _] = running.get("/v1/suggestions")["suggestions"]
        assert waiting["trace_id"] == trace_id
        checked = {"checked": [{"trace_id": trace_id}]}
        assert post(running.port, checked, path="/v1/suggestions").json == {"results": []}
        deadline = time.monotonic() + 30
        while running.get("/v1/suggestions")["suggestions"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ignored, expired = (running.get(f"/v1/requests/{each}")["receipt"] for each in (trace_id, unseen))
    assert (ignored["signal"], ignored["quality"], ignored["success"]) == ("git", 0.1, False)
    assert (expired["signal"], expired["success"]) == ("expired", True)


def test_wrong_verdicts_are_refused_and_change_nothing(running, upstream):
    """A body that is no list of verdicts, hashes that are none; unknown calls are said to be unknown."""
    path = "/v1/suggestions"
    trace_id = ask(running, upstream, f"```python\n{TOTAL}```")
    verdict = {"trace_id": trace_id, "code_outcome": "applied"}
    for body in (
        {"verdicts": [verdict, {"trace_id": trace_id, "code_outcome": "eaten"}]},
        {"verdicts": [verdict], "unknown": 1},
        {"verdicts": [verdict], "checked": [{"trace_id": trace_id, "elsewhere": ["AAAA"]}]},
        {"verdicts": [verdict], "checked": [{"trace_id": trace_id, "elsewhere": ["", ""]}]},
        {"verdicts": [verdict] * 10_001},
        {"verdicts": 3},
    ):
        reply = post(running.port, body, path=path)
        assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_request_error")
    [before] = running.get(path)["suggestions"]
    own = base64.b64encode(base64.b64decode(before["fingerprints"][0]["hashes"])[:8]).decode()
    checked = {"trace_id": trace_id, "elsewhere": [base64.b64encode(b"stranger").decode()]}
    assert post(running.port, {"checked": [checked]}, path=path).status == 200
    assert running.get(path)["suggestions"][0]["fingerprints"][0]["elsewhere"] == ""
    assert post(running.port, {"checked": [{**checked, "elsewhere": [own]}]}, path=path).status == 200
    [after] = running.get(path)["suggestions"]
    assert after["fingerprints"][0] == {**before["fingerprints"][0], "elsewhere": own}
    both = {"verdicts": [verdict, {**verdict, "trace_id": "nobody"}]}
    assert post(running.port, both, path=path).json["results"] == [
        {"trace_id": trace_id, "applied": True},
        {"trace_id": "nobody", "applied": False, "reason": "unknown trace"},
    ]
    assert running.get(path)["suggestions"] == []


def test_suggestions_need_no_signals_but_outcomes(upstream, tmp_path):
    """Follow-ups may be left unread; where outcomes are off there is nothing to show."""
    env = {"NEXUS_DATA_DIR": str(tmp_path / "data")}
    for setting, count in (("implicit_signals = false", 1), ("enabled = false", None)):
        with GatewayProcess(
            f"[outcomes]\n{setting}\n" + QUIET + backend("one", upstream.url), env=env
        ) as running:
            running.wait_ready()
            ask(running, upstream, f"```python\n{TOTAL}```")
            if count is None:
                empty = post(running.port, {}, path="/v1/suggestions")
                assert (empty.status, empty.json["error"]["code"]) == (404, "not_found")
            else:
                assert len(running.get("/v1/suggestions")["suggestions"]) == count


def test_all_workers_are_asked(upstream, repo, tmp_path):
    """Whichever worker gave an answer, any of them shows it and takes the verdict."""
    env = {"NEXUS_DATA_DIR": str(tmp_path / "data")}
    with GatewayProcess("[server]\nworkers = 2\n" + QUIET + backend("one", upstream.url), env=env) as running:
        running.wait_ready()
        codes = [TOTAL.replace("item", f"item{number}") for number in range(8)]
        traces = [ask(running, upstream, f"```python\n{code}```") for code in codes]
        for number, code in enumerate(codes):
            repo.write(f"code{number}.py", code)
        deadline = time.monotonic() + 30
        while len(running.get("/v1/suggestions")["suggestions"]) < len(codes):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        report = json.loads(look(running, repo, "--json").stdout)
        assert {each["trace_id"]: (each["path"], each["applied"]) for each in report["verdicts"]} == {
            trace: (f"code{number}.py", True) for number, trace in enumerate(traces)
        }
        assert running.get("/v1/suggestions")["suggestions"] == []

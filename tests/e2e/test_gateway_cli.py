"""The command line as a user runs it: a process of its own, against a file and against a running gateway."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import backend, backend_stats, chat, post

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}


def nexus(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `nexus` and return how it ended and what it wrote."""
    return subprocess.run(
        [sys.executable, "-m", "nexus.cli.main", *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, "HOME": str(cwd), "COLUMNS": "240", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


MISTAKES = """\
[server]
port = 99999

[quality]
eror_rate_threshold = 0.5

[routing]
aliases = { "fast" = "quick", "quick" = "fast" }

[[backends]]
name = "GPU"
url = "http://127.0.0.1:8000"
api_key_env = "GPU_KEY_THAT_IS_NOT_SET"

[[backends]]
name = "gpu"
url = "http://127.0.0.1:8001"
type = "olama"
"""
# Every mistake by its place and the words that name it.
FINDINGS = (
    (2, ("server.port", "99999")),
    (5, ("eror_rate_threshold", "did you mean error_rate_threshold?")),
    (8, ("alias cycle", "fast -> quick -> fast")),
    (13, ("GPU_KEY_THAT_IS_NOT_SET", "not set")),
    (16, ("duplicate backend id", "'gpu'")),
    (18, ("olama", "ollama")),
)


def test_config_check_names_every_mistake_of_a_file_with_its_place(tmp_path):
    """Six mistakes of six kinds, six lines, each with file, line and what to do; exit 2."""
    (tmp_path / "nexus.toml").write_text(MISTAKES)
    ran = nexus("config", "check", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    lines = ran.stderr.splitlines()
    assert len(lines) == len(FINDINGS), ran.stderr
    for line, (number, words) in zip(sorted(lines, key=_line_number), FINDINGS, strict=True):
        assert _line_number(line) == number, ran.stderr
        assert line.startswith("nexus.toml:")
        assert all(word in line for word in words), line
    assert "Traceback" not in ran.stderr


def _line_number(line: str) -> int:
    place = re.match(r"nexus\.toml:(\d+): ", line)
    assert place is not None, line
    return int(place.group(1))


def test_serve_with_the_same_file_starts_nothing_and_says_the_same(tmp_path):
    """The gateway refuses to start for the reasons that the check names."""
    (tmp_path / "nexus.toml").write_text(MISTAKES)
    checked = nexus("config", "check", cwd=tmp_path)
    served = nexus("serve", cwd=tmp_path)
    assert (served.returncode, served.stdout, served.stderr) == (2, "", checked.stderr)


def test_mistakes_of_file_environment_and_flags_come_together(tmp_path):
    """A broken flag does not hide a broken variable, nor that a broken file; each is named by its place."""
    (tmp_path / "nexus.toml").write_text("[retry]\nmax_retrys = 1\n")
    ran = nexus(
        "config", "check", "--quality-min-samples", "some", cwd=tmp_path, NEXUS_BREAKER__ENABELD="true"
    )
    assert ran.returncode == 2
    text = ran.stderr
    assert len(text.splitlines()) == 3, text
    assert "nexus.toml:2: " in text
    assert "did you mean max_retries?" in text
    assert "NEXUS_BREAKER__ENABELD" in text
    assert "did you mean NEXUS_BREAKER__ENABLED?" in text
    assert "--quality-min-samples" in text


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayProcess]:
    """A fleet in which each stage has something to say about `private-m`, which is also called `secret`."""
    names = ("best", "spare", "cloud", "small", "failing", "down", "elsewhere")
    servers = {name: FaultyBackend(models=("private-m",)) for name in names}
    servers["elsewhere"].models = ("other",)
    for server in servers.values():
        server.start()
    servers["down"].probes = Status(500)
    tables: dict[str, dict[str, object]] = {
        "best": {"priority": 1, "tier": 2},
        "spare": {"priority": 90, "tier": 2},
        "cloud": {"zone": "open", "tier": 2},
        "small": {"tier": 1},
        "failing": {"tier": 2, "models": ["private-m"], "priority": 0},
        "down": {"tier": 2, "models": ["private-m"]},
        "elsewhere": {"tier": 2},
    }
    toml = (
        '[routing]\nstrategy = "smart"\naliases = { "secret" = "private-m" }\n'
        'policies = [{ model_pattern = "private-*", privacy = "restricted", min_tier = 2 }]\n'
        "[health_check]\ninterval_seconds = 600\n"
        "[quality]\nmetrics_interval_seconds = 1\n"
        "[breaker]\nenabled = false\nfirst_timeout_seconds = 60\n"
        + "".join(backend(name, servers[name].url, **settings) for name, settings in tables.items())
    )
    servers["failing"].script(*[Status(500)] * 5, then=Answer())
    with GatewayProcess(toml) as process:
        process.wait_for(
            lambda stats: (
                [each["status"] for each in stats["backends"]].count("healthy") == len(names) - 1
                and backend_stats(stats, "down")["status"] == "unhealthy"
            )
        )
        while len(servers["failing"].posts) < 5:
            assert post(process.port, chat("secret")).status == 200
        process.wait_for(
            lambda stats: (backend_stats(stats, "failing")["quality"] or {}).get("state") == "excluded"
        )
        yield process
    for server in servers.values():
        server.stop()


EXCLUSIONS = {
    "cloud": ("PrivacyReconciler", "open"),
    "small": ("TierReconciler", "tier"),
    "failing": ("QualityReconciler", "Error rate 100.0% exceeds threshold 50.0%"),
    "down": ("SchedulerReconciler", "Health checks fail"),
    "elsewhere": ("RequestAnalyzer", "Does not serve"),
}


def test_explain_shows_every_backend_each_stages_word_and_the_ranking(gateway, tmp_path):
    """A person reads who would serve, in what order and why, and what keeps everybody else out."""
    ran = nexus("explain", "--model", "secret", "--url", gateway.url, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    text = "\n".join(lines)
    assert "model secret (alias of private-m)" in lines
    assert "outcome route" in lines
    assert "chosen best" in lines
    assert "reason smart" in lines
    assert any(line.startswith("constraints restricted=yes, required_tier=2") for line in lines)
    ranked = [line for line in lines if re.match(r"\d+ \S+ private-m (chosen|ranked) ", line)]
    assert [line.split()[:4] for line in ranked] == [
        ["1", "best", "private-m", "chosen"],
        ["2", "spare", "private-m", "ranked"],
    ]
    for line in ranked:
        assert re.search(r"priority=\d+.*load=\d+.*latency=\d+", line), line
    for name, (reconciler, reason) in EXCLUSIONS.items():
        (line,) = [line for line in lines if line.startswith(f"{name} private-m ")]
        assert reconciler in line
        assert reason.lower() in line.lower()
    assert "Left out" in text
    assert lines.index("Ranking") < lines.index("Left out")


def test_explain_as_json_is_the_endpoints_answer(gateway, tmp_path):
    """The machine's form has every backend once, with rank and terms or with stage, reason and way out."""
    ran = nexus("explain", "--model", "secret", "--url", gateway.url, "--json", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    decision = json.loads(ran.stdout)
    endpoint = post(gateway.port, chat("secret"), path="/v1/routing/explain").json
    assert decision.keys() == endpoint.keys()
    assert (decision["outcome"], decision["chosen"]) == ("route", "best")
    assert decision["request"]["resolved_model"] == "private-m"
    candidates = {each["backend"]: each for each in decision["candidates"]}
    assert len(decision["candidates"]) == len(candidates) == 7
    for name, rank in (("best", 1), ("spare", 2)):
        assert candidates[name]["rank"] == rank
        assert candidates[name]["score"] > 0
        assert {"priority", "load", "latency"} <= candidates[name]["terms"].keys()
    assert candidates["best"]["score"] > candidates["spare"]["score"]
    for name, (reconciler, reason) in EXCLUSIONS.items():
        assert candidates[name]["status"] == "excluded"
        assert candidates[name]["excluded_by"] == reconciler
        assert reason.lower() in candidates[name]["reason"].lower()
        assert candidates[name]["suggested_action"]
    assert decision["propensity"] == 1.0


def test_explain_sends_nothing_and_a_real_request_goes_where_it_says(gateway, tmp_path):
    """The preview leaves no trace in the counts, and the request that follows bears it out."""
    before = gateway.get("/v1/stats")["requests"]
    assert nexus("explain", "--model", "secret", "--url", gateway.url, cwd=tmp_path).returncode == 0
    assert gateway.get("/v1/stats")["requests"] == before
    reply = post(gateway.port, chat("secret"))
    assert (reply.headers["x-nexus-backend"], reply.headers["x-nexus-route-reason"]) == ("best", "smart")
    assert reply.headers["x-nexus-model"] == "private-m"


def test_the_tables_of_a_running_gateway_say_what_its_documents_say(gateway, tmp_path):
    """`backends`, `models`, `health` and `stats` work against a real gateway, as tables and as JSON."""
    shown = nexus("backends", "--url", gateway.url, cwd=tmp_path)
    assert shown.returncode == 0
    assert "failing is excluded: Error rate 100.0% exceeds threshold 50.0%" in shown.stdout
    for verb in ("backends", "models", "stats"):
        ran = nexus(verb, "--url", gateway.url, "--json", cwd=tmp_path)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert isinstance(json.loads(ran.stdout), dict)
    health = nexus("health", "--url", gateway.url, "--json", cwd=tmp_path)
    assert json.loads(health.stdout)["backends"] == {"total": 7, "healthy": 6, "unhealthy": 1}

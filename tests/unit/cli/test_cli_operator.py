"""The verbs that ask a running gateway, against a server on a real socket."""

import io
import json
import socket
import threading

import pytest

from nexus.cli.tables import cell, duration

STATS = {
    "version": "1.2.3",
    "uptime_seconds": 3909.5,
    "total_requests": 40,
    "requests": {"total": 40, "success": 38, "errors": 1, "cancelled": 1, "rejected": 0},
    "config": {},
    "backends": [
        {
            "id": "gpu",
            "name": "GPU",
            "type": "vllm",
            "zone": "restricted",
            "tier": 2,
            "priority": 50,
            "status": "healthy",
            "breaker": "closed",
            "requests": 20,
            "average_latency_ms": 45.4,
            "pending": 3,
            "models": ["m", "n"],
            "quality": {
                "error_rate_1h": 0.75,
                "avg_ttft_ms": 251,
                "success_rate_24h": 0.981,
                "ttft_p50_ms": 210.2,
                "ttft_p95_ms": 480,
                "state": "excluded",
                "excluded_reason": "Error rate 75.0% exceeds threshold 50.0%",
            },
        },
        {"id": "new", "type": "ollama", "status": "unknown", "models": [], "quality": None},
    ],
    "models": [{"id": "m", "requests": 40, "backends": ["gpu"]}],
}
MODELS = {
    "object": "list",
    "data": [
        {
            "id": "m",
            "nexus": {
                "backends": ["gpu", "new"],
                "aliases": ["fast"],
                "context_length": 8192,
                "capabilities": {"vision": False, "tools": True, "json_mode": None},
            },
        },
        {"id": "auto"},
    ],
}
HEALTH = {
    "status": "degraded",
    "version": "1.2.3",
    "uptime_seconds": 61,
    "services": {"ledger": "ok"},
    "circuit_breakers": {"gpu": "half_open"},
    "backends": {"total": 2, "healthy": 1, "unhealthy": 1},
    "models": 4,
}
DECISION = {
    "request": {
        "model": "fast",
        "resolved_model": "m",
        "task": "generate",
        "needs": {"vision": False, "tools": True, "input_tokens": 12, "max_output_tokens": None},
        "constraints": {"restricted": True, "flexible": None},
    },
    "outcome": "route",
    "chosen": "gpu",
    "route_reason": "smart",
    "candidates": [
        {
            "backend": "b2",
            "model": "m",
            "status": "ranked",
            "rank": 2,
            "score": 512.25,
            "terms": {"load": 0.5},
        },
        {
            "backend": "gpu",
            "model": "m",
            "status": "chosen",
            "rank": 1,
            "score": 900.0,
            "terms": {"priority": 500.0, "load": 400.0},
        },
        {
            "backend": "cloud",
            "model": "m",
            "status": "excluded",
            "rank": None,
            "score": None,
            "terms": {},
            "excluded_by": "PrivacyReconciler",
            "reason": "Zone open is not allowed",
            "suggested_action": "Relax the policy",
        },
    ],
    "propensity": 0.95,
}


@pytest.mark.parametrize(
    ("verb", "path", "data"),
    [
        (["backends"], "/v1/stats", STATS),
        (["stats"], "/v1/stats", STATS),
        (["models"], "/v1/models", MODELS),
        (["health"], "/health", HEALTH),
        (["explain", "--model", "m"], "/v1/routing/explain", DECISION),
    ],
)
def test_json_is_what_the_gateway_said_and_nothing_else(run, stand_in, verb, path, data):
    stand_in.answer(path, data)
    ran = run(*verb, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == data


def lines_of(ran) -> dict[str, str]:
    """The lines of a table by their first word."""
    return {line.split()[0]: " ".join(line.split()) for line in ran.out.splitlines() if line.strip()}


def test_backends_shows_each_backend_and_why_one_is_left_out(run, stand_in):
    stand_in.answer("/v1/stats", STATS)
    ran = run("backends")
    lines = ran.out.splitlines()
    shown = {
        line.split()[0]: " ".join(line.split()) for line in lines if line.startswith((" gpu", " new", "gpu"))
    }
    assert "gpu vllm restricted 2 50 healthy closed excluded 75.0% 251 ms 45 ms 20 3 m, n" in " ".join(
        ran.out.split()
    )
    assert shown["new"] == "new ollama - - - unknown - - - - - - - -"
    assert lines[-1] == "gpu is excluded: Error rate 75.0% exceeds threshold 50.0%"


def test_stats_shows_counts_and_latencies(run, stand_in):
    stand_in.answer("/v1/stats", STATS)
    words = " ".join(run("stats").out.split())
    assert "uptime 1h 05m 09s" in words
    assert "requests 40 total, 38 success, 1 errors, 1 cancelled, 0 rejected" in words
    assert "gpu 20 3 45 ms 210 ms 480 ms 75.0% 98.1%" in words
    assert words.endswith("m 40 gpu")


def test_models_shows_who_serves_a_model_and_what_it_can_do(run, stand_in):
    stand_in.answer("/v1/models", MODELS)
    shown = lines_of(run("models"))
    assert shown["m"] == "m gpu, new 8192 tools fast"
    assert shown["auto"] == "auto - - - -"


def test_health_shows_the_state_of_every_part(run, stand_in):
    stand_in.answer("/health", HEALTH)
    ran = run("health")
    shown = lines_of(ran)
    assert ran.code == 0
    assert shown["status"] == "status degraded"
    assert shown["uptime"] == "uptime 1m 01s"
    assert shown["backends"] == "backends 2 total, 1 healthy, 1 unhealthy"
    assert shown["ledger"] == "ledger ok"
    assert shown["gpu"] == "gpu half_open"


def test_health_of_a_gateway_that_can_not_serve_is_shown_and_fails(run, stand_in):
    text = stand_in.answer("/health", {"status": "unhealthy"}, status=503)
    ran = run("health", "--json")
    assert (ran.code, ran.out, ran.err) == (1, text + "\n", "")
    assert "unhealthy" in run("health").out


@pytest.mark.parametrize(
    ("verb", "path", "said"),
    [
        ("backends", "/v1/stats", "The gateway has no backends."),
        ("models", "/v1/models", "The gateway knows no models."),
    ],
)
def test_an_empty_gateway_says_so(run, stand_in, verb, path, said):
    stand_in.answer(path, {})
    assert run(verb).out == said + "\n"


def test_stats_of_an_empty_gateway_are_a_few_lines(run, stand_in):
    stand_in.answer("/v1/stats", {"version": "1"})
    assert lines_of(run("stats")) == {"version": "version 1", "uptime": "uptime -", "requests": "requests -"}


def test_explain_asks_with_a_short_message_and_shows_the_whole_decision(run, stand_in):
    stand_in.answer("/v1/routing/explain", DECISION)
    ran = run("explain", "--model", "fast")
    assert json.loads(stand_in.seen[0].body) == {
        "model": "fast",
        "messages": [{"role": "user", "content": "hello"}],
    }
    assert (stand_in.seen[0].method, stand_in.seen[0].headers["Content-Type"]) == ("POST", "application/json")
    text = [" ".join(line.split()) for line in ran.out.splitlines()]
    for line in (
        "model fast (alias of m)",
        "task generate",
        "needs tools=yes, input_tokens=12",
        "constraints restricted=yes",
        "outcome route",
        "chosen gpu",
        "reason smart",
        "propensity 0.95",
        "1 gpu m chosen 900 priority=500, load=400",
        "2 b2 m ranked 512.2 load=0.5",
        "cloud m PrivacyReconciler Zone open is not allowed Relax the policy",
    ):
        assert line in text
    assert text.index("1 gpu m chosen 900 priority=500, load=400") < text.index(
        "2 b2 m ranked 512.2 load=0.5"
    )


def test_explain_without_any_candidate_says_so(run, stand_in):
    stand_in.answer("/v1/routing/explain", {"request": {"model": "m"}, "outcome": "reject", "chosen": None})
    ran = run("explain", "--model", "m")
    assert lines_of(ran)["outcome"] == "outcome reject"
    assert ran.out.endswith("No backend was considered.\n")


def test_explain_takes_a_body_from_a_file_and_the_model_from_its_option(run, stand_in, tmp_path):
    stand_in.answer("/v1/routing/explain", DECISION)
    (tmp_path / "body.json").write_text('{"model": "old", "stream": true}')
    assert run("explain", "--model", "m", "--file", "body.json").code == 0
    assert json.loads(stand_in.seen[0].body) == {"model": "m", "stream": True}


def test_explain_takes_a_body_from_standard_input(run, stand_in, monkeypatch):
    stand_in.answer("/v1/routing/explain", DECISION)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"n": 1}'))
    assert run("explain", "--model", "m", "--file", "-").code == 0
    assert json.loads(stand_in.seen[0].body) == {"model": "m", "n": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read body.json: No such file or directory"),
        ("{", "body.json is not JSON"),
        ("[]", "no JSON object"),
    ],
)
def test_a_body_that_can_not_be_used_is_wrong_usage(run, tmp_path, content, message):
    if content is not None:
        (tmp_path / "body.json").write_text(content)
    ran = run("explain", "--model", "m", "--file", "body.json")
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_the_key_is_sent_as_a_bearer_token(run, stand_in, monkeypatch):
    stand_in.answer("/v1/models", MODELS)
    run("models")
    monkeypatch.setenv("NEXUS_API_KEY", "from-env")
    run("models")
    run("models", "--api-key", "given", "--url", stand_in.url + "/v1/")
    assert [seen.headers.get("Authorization") for seen in stand_in.seen] == [
        None,
        "Bearer from-env",
        "Bearer given",
    ]
    assert {seen.path for seen in stand_in.seen} == {"/v1/models"}


def test_an_error_of_the_gateway_is_one_line_with_its_message(run, stand_in):
    stand_in.answer("/v1/models", {"error": {"message": "Invalid\nAPI key", "code": "invalid_api_key"}}, 401)
    ran = run("models", "--json")
    assert ran == (1, "", "nexus: Invalid API key (HTTP 401)\n")


@pytest.mark.parametrize("body", ["<html>", '{"error": "x"}', "[]"])
def test_an_error_without_a_message_names_the_status(run, stand_in, body):
    stand_in.answer("/v1/stats", body, 500)
    assert run("stats") == (1, "", f"nexus: {stand_in.url} answered with HTTP status 500\n")


@pytest.mark.parametrize("body", ["<html>", "[]"])
def test_what_is_no_gateway_is_told_apart(run, stand_in, body):
    stand_in.answer("/v1/stats", body)
    ran = run("stats", "--json")
    assert (ran.code, ran.out) == (1, "")
    assert "is no Nexus gateway" in ran.err


def test_a_redirect_is_not_followed_so_that_the_key_stays_here(run, stand_in):
    stand_in.answer("/v1/stats", stand_in.url + "/v1/models", 302)
    stand_in.answer("/v1/models", MODELS)
    ran = run("stats", "--api-key", "k")
    assert (ran.code, len(stand_in.seen)) == (1, 1)
    assert "HTTP status 302" in ran.err


@pytest.mark.parametrize(
    "verb", [["backends"], ["models"], ["health"], ["stats"], ["explain", "--model", "m"]]
)
def test_a_gateway_that_is_not_there_is_one_line_and_exit_code_1(run, verb):
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ran = run(*verb, "--url", url)
    assert ran == (1, "", f"nexus: no gateway answers at {url}: connection refused\n")


def test_a_server_that_closes_without_an_answer_is_one_line_too(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def close_the_first() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)

        closer = threading.Thread(target=close_the_first)
        closer.start()
        ran = run("stats", "--url", url)
        closer.join()
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"nexus: no gateway answers at {url}: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("url", ["localhost:8080", "file:///etc/passwd", "http://"])
def test_an_address_that_is_none_is_wrong_usage(run, url):
    ran = run("stats", "--url", url)
    assert ran.code == 2
    assert "is no http:// or https:// address" in ran.err


def test_a_proxy_of_the_environment_does_not_stand_between(run, stand_in, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stand_in.answer("/v1/models", MODELS)
    assert run("models").code == 0


def test_a_foreign_text_can_not_control_the_terminal():
    assert cell("a\x1b[31mb\n") == "a?[31mb?"
    assert cell([]) == "-"
    assert cell(True) == "yes"


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5s"), (65.9, "1m 05s"), (7322, "2h 02m 02s"), (None, None)]
)
def test_a_duration_reads_in_its_largest_unit(seconds, said):
    assert duration(seconds) == said

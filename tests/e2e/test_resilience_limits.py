"""Keys and rate limits of a running gateway, and what its refusals say and log."""

import http.client
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from nexus.testing import FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import backend, chat, post

CONFIG = """
[server]
api_keys_env = "NEXUS_API_KEYS"
[health_check]
enabled = false
[logging]
format = "json"
[rate_limit]
enabled = true
per_second = 1
burst = 2
max_wait_seconds = 1
"""
ONE, TWO = {"Authorization": "Bearer key-one"}, {"Authorization": "Bearer key-two"}


@pytest.fixture
def guarded() -> Iterator[tuple[GatewayProcess, FaultyBackend]]:
    with FaultyBackend() as one:
        env = {"NEXUS_API_KEYS": "key-one, key-two"}
        with GatewayProcess(CONFIG + backend("one", one.url, models=["m"]), env=env) as gateway:
            yield gateway, one


def status_of(port: int, path: str, headers: Mapping[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=dict(headers or {}))
    status = connection.getresponse().status
    connection.close()
    return status


def test_only_the_health_paths_are_open(guarded):
    gateway, one = guarded
    for path in ("/metrics", "/v1/stats", "/v1/models", "/"):
        assert status_of(gateway.port, path) == 401
        assert status_of(gateway.port, path, {"Authorization": "Bearer nonsense"}) == 401
        assert status_of(gateway.port, path, TWO) == 200
        assert status_of(gateway.port, path, {"X-Api-Key": "key-one"}) == 200
    for path in ("/health", "/health/live"):
        assert status_of(gateway.port, path) == 200
    refused = post(gateway.port, chat())
    assert (refused.status, refused.json["error"]["code"]) == (401, "invalid_api_key")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert one.posts == []


def test_a_gateway_key_never_reaches_a_backend(guarded):
    gateway, one = guarded
    assert post(gateway.port, chat(), headers=ONE).status == 200
    assert post(gateway.port, chat(), headers={"X-Api-Key": "key-two"}).status == 200
    for request in one.posts:
        assert "key-" not in str(request.headers)


def test_a_refusal_is_logged_with_its_id_and_client():
    with FaultyBackend() as one:
        process = GatewayProcess(
            CONFIG + backend("one", one.url, models=["m"]), env={"NEXUS_API_KEYS": "key-one"}
        )
        with process:
            refused = post(process.port, chat())
        lines = [json.loads(line) for line in process.stdout.splitlines()]
    (line,) = [each for each in lines if each["message"] == "request"]
    assert (line["status"], line["client"]) == (401, "127.0.0.1")
    assert line["trace_id"] == refused.headers["x-nexus-trace-id"]
    assert "key-one" not in process.stdout + process.stderr


def test_each_key_has_its_own_rate(guarded):
    """The burst at once, one that waits, then 429; the other key is not concerned."""
    gateway, one = guarded
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: post(gateway.port, chat(), headers=ONE), range(4)))
    statuses = sorted(each.status for each in replies)
    assert statuses == [200, 200, 200, 429]
    (refused,) = [each for each in replies if each.status == 429]
    assert refused.json["error"]["message"].startswith("Rate limit exceeded")
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) in {1, 2}
    for each in replies:
        assert each.headers["x-ratelimit-limit-requests"] == "2"
        assert 0 <= int(each.headers["x-ratelimit-remaining-requests"]) < 2
        assert float(each.headers["x-ratelimit-reset-requests"]) > 0
    assert post(gateway.port, chat(), headers=TWO).status == 200
    assert len(one.posts) == 4


def test_where_only_time_heals_the_client_still_learns_when_to_ask_again():
    """No probes and nobody else: the figures change at the next recompute at the earliest."""
    config = """
[health_check]
enabled = false
[breaker]
enabled = false
[quality]
recovery = "window"
on_all_degraded = "reject"
min_samples = 1
metrics_interval_seconds = 1
"""
    with (
        FaultyBackend(Status(500)) as one,
        GatewayProcess(config + backend("one", one.url, models=["m"])) as gateway,
    ):
        post(gateway.port, chat())
        gateway.wait_for(lambda stats: stats["backends"][0].get("error_rate_1h") == 1.0)
        reply = post(gateway.port, chat())
    assert (reply.status, reply.json["error"]["code"]) == (503, "no_backend_available")
    assert reply.headers["retry-after"] == "1"

"""`/metrics` after some traffic: accepted by Prometheus's own tool, and equal to `/v1/stats`."""

import http.client
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Hang, Reset, Status, Where
from tests.e2e.gateway_client import backend, backend_stats, chat, idle, open_request, post, samples

CONFIG = """
[routing]
strategy = "round_robin"
[health_check]
interval_seconds = 600
[quality]
metrics_interval_seconds = 1
[breaker]
enabled = false
"""
ODD_MODEL = 'a "model"\\with {odd} name'


class Setup(NamedTuple):
    gateway: GatewayProcess
    requests: int


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    """A gateway with every way to end a request behind it, and one backend that nobody asked."""
    with (
        FaultyBackend() as one,
        FaultyBackend(models=("m", ODD_MODEL)) as two,
        FaultyBackend(models=("other",)) as unused,
    ):
        toml = CONFIG + backend("one", one.url) + backend("two", two.url) + backend("unused", unused.url)
        with GatewayProcess(toml) as gateway:
            gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            one.script(
                Status(500),
                Status(500),
                Status(429, retry_after=0),
                Reset(Where.AFTER_HEAD),
                then=Answer(tokens=3),
            )
            statuses = [post(gateway.port, chat(stream=number % 3 == 0)).status for number in range(17)]
            assert set(statuses) == {200}
            assert post(gateway.port, chat(ODD_MODEL)).status == 200
            assert post(gateway.port, chat("unknown")).status == 404
            assert post(gateway.port, {"model": "m"}).status == 400
            two.always(Hang())
            leaver = open_request(gateway.port, chat(ODD_MODEL))
            two.wait_until(lambda server: server.active_requests == 1)
            leaver.close()
            gateway.wait_for(lambda stats: stats["requests"]["cancelled"] == 1 and idle(stats))
            yield Setup(gateway, len(statuses) + 4)


def test_promtool_accepts_the_metrics(setup):
    """Names, types, help texts and label values are as Prometheus wants them, without a single remark."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(
            "promtool is not installed here (it comes with Prometheus): /metrics was not checked by it"
        )
    text = setup.gateway.text("/metrics")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stderr, checked.stdout) == (0, "", "")


def test_openmetrics_is_served_on_request(setup):
    """The same figures in the other format, which ends with its own mark, and parses."""
    connection = http.client.HTTPConnection("127.0.0.1", setup.gateway.port, timeout=5)
    connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.getheader("content-type", "").startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    parsed: Iterable[Metric] = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    families = {family.name for family in parsed}
    assert {"nexus_agent_error_rate", "nexus_requests", "nexus_agent_ttft_seconds"} <= families


def test_the_gauges_of_a_backend_equal_the_stats(setup):
    """Error rate, success rate and count are the published ones, also to the last digit."""
    gateway = setup.gateway

    def evidence(name: str) -> float:
        ended = samples(gateway, "nexus_attempts_total")
        return sum(
            value
            for labels, value in ended.items()
            if ("agent_id", name) in labels and dict(labels)["outcome"] in {"success", "failure"}
        )

    expected = {name: evidence(name) for name in ("one", "two")}
    stats = gateway.wait_for(
        lambda stats: all(
            (backend_stats(stats, name)["quality"] or {}).get("request_count_1h") == count
            for name, count in expected.items()
        )
    )
    gauges = {
        "error_rate_1h": samples(gateway, "nexus_agent_error_rate"),
        "success_rate_24h": samples(gateway, "nexus_agent_success_rate_24h"),
        "request_count_1h": samples(gateway, "nexus_agent_request_count_1h"),
    }
    for name in expected:
        quality = backend_stats(stats, name)["quality"]
        shown = {figure: gauge[frozenset({("agent_id", name)})] for figure, gauge in gauges.items()}
        assert shown == {figure: quality[figure] for figure in gauges}
        assert quality["error_rate_1h"] == backend_stats(stats, name)["error_rate_1h"]
    assert 0 < backend_stats(stats, "one")["error_rate_1h"] < 1
    # Without history there is nothing to publish, in either place.
    assert backend_stats(stats, "unused")["quality"] is None
    assert "error_rate_1h" not in backend_stats(stats, "unused")
    assert all(frozenset({("agent_id", "unused")}) not in gauge for gauge in gauges.values())


def test_the_counts_of_requests_equal_the_stats(setup):
    """Every request is in one series, and the times to the first token are those of the streams."""
    gateway = setup.gateway
    requests = gateway.get("/v1/stats")["requests"]
    by_result: dict[str, float] = {}
    for labels, value in samples(gateway, "nexus_requests_total").items():
        result = dict(labels)["result"]
        by_result[result] = by_result.get(result, 0) + value
    words = {"success": "success", "error": "errors", "cancelled": "cancelled", "rejected": "rejected"}
    assert {words[result]: count for result, count in by_result.items()} == {
        word: requests[word] for word in words.values() if requests[word]
    }
    assert requests["total"] == setup.requests
    streamed = samples(gateway, "nexus_agent_ttft_seconds_count")
    assert 0 < sum(streamed.values()) <= 6
    stages = samples(gateway, "nexus_reconciler_duration_seconds_count")
    assert {dict(labels)["reconciler"] for labels in stages} == {
        "analyzer", "privacy", "budget", "tier", "quality", "scheduler",
    }  # fmt: skip

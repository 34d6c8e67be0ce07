"""`/v1/stats` has the documented shape and the same figures as the gauges."""

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nexus.config.model import QualitySettings
from nexus.core.backend import BackendType, Zone
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.core.outcome import AttemptResult, RequestResult
from nexus.core.quality import AgentQualityMetrics, QualityView
from nexus.telemetry.counters import TrafficCounters
from nexus.telemetry.histogram import StageTimes
from nexus.telemetry.prometheus import Metrics
from nexus.telemetry.stats import build_stats
from tests.unit.routing.fleets import NOW, FixedGate, figures, fleet, serve
from tests.unit.telemetry.records import attempt, ended

MEASURED = {
    "id": "a",
    "name": "A",
    "type": "vllm",
    "zone": "restricted",
    "tier": 1,
    "priority": 50,
    "status": "healthy",
    "breaker": "closed",
    "requests": 3,
    "average_latency_ms": 45.0,
    "pending": 2,
    "models": ["m", "n"],
    "error_rate_1h": 0.05,
    "avg_ttft_ms": 250,
    "success_rate_24h": 0.98,
    "quality": {
        "error_rate_1h": 0.05,
        "avg_ttft_ms": 250,
        "success_rate_24h": 0.98,
        "request_count_1h": 20,
        "last_failure_seconds_ago": 31.0,
        "ttft_p50_ms": 210,
        "ttft_p95_ms": 480,
        "state": "ok",
        "excluded_reason": None,
        "models": {
            "m": {
                "error_rate_1h": 0.05,
                "avg_ttft_ms": 240,
                "success_rate_24h": 0.95,
                "request_count_1h": 100,
                "last_failure_seconds_ago": None,
                "state": "ok",
                "excluded_reason": None,
            }
        },
    },
}
"""What `measured()` looks like in `test_the_whole_document`."""


class Quantiles:
    """Quantiles of backend `a` only."""

    def ttft_quantile(self, agent_id: str, q: float) -> float | None:
        return {0.5: 210.4, 0.95: 479.6}[q] if agent_id == "a" else None


def document(
    snapshot: FleetSnapshot,
    counters: TrafficCounters | None = None,
    settings: QualitySettings | None = None,
) -> Any:
    """The document as a client reads it."""
    stats = build_stats(
        snapshot=snapshot,
        counters=counters or TrafficCounters(),
        quantiles=Quantiles(),
        settings=settings or QualitySettings(),
        version="1.2.3",
        uptime_seconds=12.3456,
        now=NOW,
    )
    return msgspec.json.decode(msgspec.json.encode(stats))


def measured(backend_id: str = "a", rate: float = 0.05) -> BackendView:
    view = serve(backend_id, "m n", pending=2, pairs={"m": figures(rate, ttft_ms=240)})
    published = QualityView(AgentQualityMetrics(rate, 250, 0.98, NOW - 31.0, 20), rate, 20)
    return msgspec.structs.replace(view, quality=published)


def test_the_whole_document():
    """Key by key."""
    counters = TrafficCounters()
    counters.record_attempts([attempt(latency_ms=40.0)])
    counters.record_attempts([attempt(latency_ms=50.0)])
    counters.record_attempts([attempt(result=AttemptResult.FAILURE, latency_ms=1.0)])
    counters.record_requests([(ended(served=attempt()), None)])
    counters.record_requests([(ended(RequestResult.CANCELLED, status=499), None)])
    counters.record_requests([(ended(RequestResult.ERROR, status=502), None)])
    counters.count_unrouted(400, "invalid_request_error")
    counters.record_wait(0.4, "a")
    counters.record_wait(0.1, None)
    settings = QualitySettings(error_rate_threshold=0.4)
    found = document(fleet(measured()), counters, settings)
    assert found == {
        "version": "1.2.3",
        "uptime_seconds": 12.346,
        "total_requests": 4,
        "requests": {"total": 4, "success": 1, "errors": 1, "cancelled": 1, "rejected": 1},
        "avg_queue_time_ms": 250.0,
        "config": {"quality": settings.model_dump()},
        "backends": [MEASURED],
        "models": [
            {"id": "m", "requests": 1, "backends": ["a"]},
            {"id": "n", "requests": 0, "backends": ["a"]},
        ],
    }
    assert found["config"]["quality"]["error_rate_threshold"] == 0.4
    assert found["config"]["quality"]["ttft_penalty_threshold_ms"] == 3000


def test_a_backend_without_history_has_null_and_no_flat_figures():
    """So nobody takes a missing figure for a good one."""
    (backend,) = document(fleet(serve("new")))["backends"]
    assert backend["quality"] is None
    assert backend["requests"] == 0
    assert not backend.keys() & {"error_rate_1h", "avg_ttft_ms", "success_rate_24h"}


def test_quantiles_that_nobody_measured_are_null():
    """The keys are there all the same."""
    (backend,) = document(fleet(measured("other")))["backends"]
    assert backend["quality"]["ttft_p50_ms"] is None
    assert backend["quality"]["ttft_p95_ms"] is None


def test_an_excluded_backend_says_why():
    """In the words of the rejection a client would get."""
    backends = document(fleet(measured("a", rate=0.75), measured("b", rate=0.0)))["backends"]
    assert [each["quality"]["state"] for each in backends] == ["excluded", "ok"]
    assert backends[0]["quality"]["excluded_reason"] == "Error rate 75.0% exceeds threshold 50.0%"
    assert backends[0]["quality"]["models"]["m"]["state"] == "excluded"


@pytest.mark.parametrize(
    ("breaker", "word"),
    [(None, "closed"), (FixedGate(permits=True), "half_open"), (FixedGate(wait=3.0), "open")],
)
def test_the_breaker_in_words(breaker, word):
    """A backend without one counts as closed."""
    (backend,) = document(fleet(serve("a", breaker=breaker)))["backends"]
    assert backend["breaker"] == word


@pytest.mark.parametrize("status", list(BackendStatus))
def test_the_status_in_words(status):
    """As the health checks have it; type and zone too."""
    view = serve("a", status=status, kind=BackendType.OPENAI, zone=Zone.OPEN)
    (backend,) = document(fleet(view))["backends"]
    assert (backend["status"], backend["type"], backend["zone"]) == (status.value, "openai", "open")


def test_models_of_a_pair_that_the_backend_no_longer_serves_are_left_out():
    """Their windows outlive them by a day."""
    view = msgspec.structs.replace(measured(), model_quality={"gone": figures(0.5)})
    (backend,) = document(fleet(view))["backends"]
    assert backend["quality"]["models"] == {}


def test_an_empty_fleet():
    """Nothing configured yet."""
    found = document(fleet())
    assert (found["backends"], found["models"], found["total_requests"]) == ([], [], 0)


def test_the_gauges_are_equal():
    """Both are read from the same snapshot and counters."""
    counters = TrafficCounters()
    for _ in range(3):
        counters.record_attempts([attempt()])
        counters.record_requests([(ended(served=attempt()), None)])
    snapshot = fleet(measured("a", 0.25), measured("b", 0.5), serve("new"))

    class Source:
        pass

    source = Source()
    source.snapshot = snapshot  # type: ignore[attr-defined]
    metrics = Metrics(
        fleet=source,  # type: ignore[arg-type]
        counters=counters,
        stages=StageTimes(),
        losses=(),
        version="1",
        rolled_up=lambda: False,
    )
    body, _ = metrics.render()
    gauges = {
        (sample.name, sample.labels.get("agent_id", "")): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name in {"nexus_agent_error_rate", "nexus_agent_success_rate_24h", "nexus_pending_requests"}
        or sample.name == "nexus_agent_request_count_1h"
    }
    found = document(snapshot, counters)
    for backend in found["backends"]:
        agent, quality = backend["id"], backend["quality"]
        assert gauges["nexus_pending_requests", agent] == backend["pending"]
        assert gauges.get(("nexus_agent_error_rate", agent)) == backend.get("error_rate_1h")
        assert gauges.get(("nexus_agent_success_rate_24h", agent)) == backend.get("success_rate_24h")
        if quality is not None:
            assert gauges["nexus_agent_request_count_1h", agent] == quality["request_count_1h"]
    assert found["requests"]["success"] == 3

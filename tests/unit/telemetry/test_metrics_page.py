"""`/metrics` says what happened, in a form that Prometheus takes without complaint."""

import math
import shutil
import subprocess

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from nexus.core.fleet import BackendStatus, FleetSnapshot
from nexus.core.outcome import AttemptResult, FailureKind, RequestResult
from nexus.telemetry.counters import TrafficCounters
from nexus.telemetry.histogram import STAGES, StageTimes
from nexus.telemetry.metric_table import METRICS, OWN_METRICS
from nexus.telemetry.outcomes import OutcomeCounts
from nexus.telemetry.prometheus import Metrics
from tests.unit.routing.fleets import FixedGate, figures, fleet, serve
from tests.unit.telemetry.records import attempt, ended

HOSTILE = 'm"} 1\nnexus_fake{x="\\'


class Source:
    """Holds a snapshot."""

    def __init__(self, snapshot: FleetSnapshot) -> None:
        self.snapshot = snapshot


class Losses:
    overflowed = 3
    unwritten = 4


class Flow:
    depth = 2
    retries = 5
    refused = 6


class Outcomes:
    def counts(self) -> OutcomeCounts:
        return OutcomeCounts({("explicit", "success"): 4}, 5, 6, 7, 8, 9, 10)


def page(
    snapshot: FleetSnapshot,
    counters: TrafficCounters | None = None,
    stages: StageTimes | None = None,
    *,
    rolled_up: bool = False,
) -> Metrics:
    return Metrics(
        fleet=Source(snapshot),
        counters=counters or TrafficCounters(),
        stages=stages or StageTimes(),
        losses=[Losses(), Losses()],
        version="1.2.3",
        rolled_up=lambda: rolled_up,
        queue=Flow(),
        retries=Flow(),
        outcomes=Outcomes(),
    )


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample: name and label values → value."""
    body, _ = metrics.render()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def openmetrics(body: bytes) -> list[Metric]:
    return list(parse_openmetrics(body.decode()))  # type: ignore[no-untyped-call]


def busy() -> Metrics:
    """A page on which every metric has a sample."""
    counters = TrafficCounters()
    served = attempt(stream=True, ttft_ms=300.0, input_tokens=7, output_tokens=9, cost_usd=0.5)
    counters.record_attempts([served])
    counters.record_wait(0.5, "a")
    counters.record_attempts([attempt(result=AttemptResult.FAILURE, kind=FailureKind.RESET)])
    counters.record_attempts([attempt(result=AttemptResult.RATE_LIMITED)])
    counters.record_requests([(ended(attempts=(served,), served=served), None)])
    counters.record_requests([(ended(RequestResult.ERROR, status=502, code="upstream_error"), None)])
    counters.count_unrouted(401, "invalid_api_key", "/v1/completions")
    counters.record_transition("a", "closed", "open")
    counters.recompute.observe(0.0007)
    stages = StageTimes()
    for stage in range(len(STAGES)):
        stages.observe(stage, 4e-6)
    one = serve("a", rate=0.25, count=20, pairs={"m": figures(0.3)}, breaker=FixedGate(wait=1.0), pending=2)
    two = serve("b", status=BackendStatus.UNKNOWN, breaker=FixedGate(permits=True))
    return page(fleet(one, two), counters, stages)


def test_every_number_is_where_it_belongs():
    """One sample of each kind."""
    found = samples(busy())
    expected = {
        ("nexus_agent_error_rate", "a"): 0.25,
        ("nexus_agent_success_rate_24h", "a"): 0.75,
        ("nexus_agent_request_count_1h", "a"): 20,
        ("nexus_agent_model_error_rate", "a", "m"): 0.3,
        ("nexus_agent_ttft_seconds_bucket", "a", "0.25"): 0,
        ("nexus_agent_ttft_seconds_bucket", "a", "0.5"): 1,
        ("nexus_agent_ttft_seconds_bucket", "a", "+Inf"): 1,
        ("nexus_agent_ttft_seconds_count", "a"): 1,
        ("nexus_agent_ttft_seconds_sum", "a"): 0.3,
        ("nexus_backend_up", "a"): 1,
        ("nexus_backend_up", "b"): 0,
        ("nexus_breaker_state", "a"): 2,
        ("nexus_breaker_state", "b"): 1,
        ("nexus_breaker_transitions_total", "a", "open"): 1,
        ("nexus_breaker_transitions_total", "a", "closed"): 0,
        ("nexus_breaker_transitions_total", "b", "half_open"): 0,
        ("nexus_pending_requests", "a"): 2,
        ("nexus_requests_total", "success", "200", "chat"): 1,
        ("nexus_requests_total", "error", "502", "chat"): 1,
        ("nexus_requests_total", "rejected", "401", "completion"): 1,
        ("nexus_request_errors_total", "upstream_error"): 1,
        ("nexus_model_requests_total", "m"): 1,
        ("nexus_attempts_total", "a", "", "success"): 1,
        ("nexus_attempts_total", "a", "reset", "failure"): 1,
        ("nexus_attempts_total", "a", "", "rate_limited"): 1,
        ("nexus_attempts_total", "b", "", "success"): 0,
        ("nexus_tokens_total", "a", "input"): 7,
        ("nexus_tokens_total", "a", "output"): 9,
        ("nexus_cost_usd_total", "a"): 0.5,
        ("nexus_request_duration_seconds_count",): 2,
        ("nexus_gateway_overhead_seconds_count",): 2,
        ("nexus_quality_recompute_duration_seconds_count",): 1,
        ("nexus_reconciler_duration_seconds_count", "quality"): 1,
        ("nexus_outcomes_total", "success", "explicit"): 4,
        ("nexus_outcomes_pending",): 5,
        ("nexus_outcomes_abandoned_total",): 6,
        ("nexus_conversations_unread_total",): 10,
        ("nexus_receipts_total", "written"): 7,
        ("nexus_receipts_total", "dropped"): 9,
        ("nexus_receipts_waiting",): 8,
        ("nexus_log_lines_lost_total", "overflow"): 6,
        ("nexus_log_lines_lost_total", "write_error"): 8,
        ("nexus_build_info", "1.2.3"): 1,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_a_backend_without_history_has_no_quality_series():
    """Absent is not zero."""
    found = samples(busy())
    assert ("nexus_agent_error_rate", "b") not in found
    assert ("nexus_agent_request_count_1h", "b") not in found


def test_the_buckets_of_the_first_token_are_the_documented_ones():
    """Dashboards are built on them."""
    found = samples(busy())
    bounds = [key[2] for key in found if key[:2] == ("nexus_agent_ttft_seconds_bucket", "a")]
    assert bounds == ["0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0", "+Inf"]


def test_with_rollup_one_series_per_backend_stands_in_for_those_by_model():
    """And the other way round."""
    snapshot = fleet(serve("a", rate=0.25, pairs={"m": figures(0.3)}), serve("new"))
    rolled = samples(page(snapshot, rolled_up=True))
    assert rolled["nexus_backend_error_rate", "a"] == 0.25
    assert ("nexus_backend_error_rate", "new") not in rolled
    assert not any(key[0] == "nexus_agent_model_error_rate" for key in rolled)
    by_model = samples(page(snapshot))
    assert by_model["nexus_agent_model_error_rate", "a", "m"] == 0.3
    assert not any(key[0] == "nexus_backend_error_rate" for key in by_model)


def test_what_is_gone_is_no_longer_shown():
    """Backends vanish with their counts; requests for old models count as other."""
    counters = TrafficCounters()
    counters.record_attempts([attempt("gone")])
    counters.record_requests([(ended(served=attempt("gone", model="old")), None)])
    view = serve("a", rate=0.1, pairs={"old": figures(0.5)})
    found = samples(page(fleet(view), counters))
    assert not any("gone" in key for key in found)
    assert not any("old" in key for key in found)
    assert found["nexus_model_requests_total", "other"] == 1
    assert "gone" not in counters.backends


def test_hostile_names_stay_inside_their_quotes():
    """A model name can't add a series or break the page."""
    counters = TrafficCounters()
    counters.record_requests([(ended(served=attempt(model=HOSTILE)), None)])
    view = serve(HOSTILE, {HOSTILE: serve("x").models["m"]}, rate=0.5, pairs={HOSTILE: figures(0.5)})
    metrics = page(fleet(view), counters)
    found = samples(metrics)
    assert found["nexus_model_requests_total", HOSTILE] == 1
    assert found["nexus_agent_model_error_rate", HOSTILE, HOSTILE] == 0.5
    assert not any(key[0] == "nexus_fake" for key in found)
    body, _ = metrics.render("application/openmetrics-text")
    names = {family.name for family in openmetrics(body)}
    assert "nexus_fake" not in names


@pytest.mark.parametrize("metrics", [busy(), page(fleet())], ids=["busy", "empty"])
@pytest.mark.parametrize("rolled_up", [True, False])
def test_promtool_accepts_the_page(metrics, rolled_up):
    """Without a word: no syntax error, no lint."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    metrics._rolled_up = lambda: rolled_up
    body, _ = metrics.render()
    done = subprocess.run(
        [promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_openmetrics_is_complete_and_ends_properly():
    """The strict parser of the client library takes it."""
    body, content_type = busy().render("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in openmetrics(body)}
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"# EOF\n")
    assert families["nexus_requests"].type == "counter"
    assert families["nexus_build"].type == "info"
    assert families["nexus_agent_ttft_seconds"].type == "histogram"


PROMETHEUS_2_50 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        (PROMETHEUS_2_50, True),
        ("application/openmetrics-text;q=0.1, text/plain", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=much", False),
        ("application/openmetrics-text;version=9\r\nX: y", True),
    ],
)
def test_the_accept_header_chooses_the_format(accept, openmetrics):
    """Plain text 0.0.4 unless OpenMetrics is asked for; nothing of the header comes back."""
    _, content_type = page(fleet()).render(accept)
    assert content_type == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
        if openmetrics
        else "text/plain; version=0.0.4; charset=utf-8"
    )


def test_the_table_and_the_page_agree():
    """Every metric of the table is on the page with its type and help, and nothing else is."""
    helps: dict[str, str] = {}
    types: dict[str, str] = {}
    for metrics in (busy(), page(fleet(), rolled_up=True)):
        body, _ = metrics.render()
        for line in body.decode().splitlines():
            if line.startswith("# HELP "):
                _, _, name, text = line.split(" ", 3)
                helps[name] = text
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ", 3)
                types[name] = kind
    kinds = {"info": "gauge"}
    assert helps == {spec.name: spec.help for spec in METRICS}
    assert types == {spec.name: kinds.get(spec.type, spec.type) for spec in METRICS}


def test_the_labels_of_the_table_are_those_of_the_page():
    """For every metric of our own."""
    body, _ = busy().render()
    rolled, _ = page(fleet(serve("a", rate=0.1)), rolled_up=True).render()
    labels: dict[str, set[str]] = {}
    for text in (body, rolled):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                name = family.name + ("_total" if family.type == "counter" else "")
                labels.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    assert {spec.name: set(spec.labels) for spec in OWN_METRICS} == {
        spec.name: labels[spec.name] for spec in OWN_METRICS
    }


def test_no_value_is_anything_but_a_number():
    """Neither NaN nor a negative count."""
    assert all(math.isfinite(value) and value >= 0 for value in samples(busy()).values())

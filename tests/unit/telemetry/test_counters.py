"""Traffic is counted once, where it belongs, and forgotten with its backend."""

from collections.abc import Callable

import pytest

from nexus.core.outcome import AttemptResult, FailureKind, RequestResult
from nexus.core.request import Surface
from nexus.telemetry.counters import MAX_CODES, MAX_MODELS, TTFT_BOUNDS, TrafficCounters
from nexus.telemetry.histogram import STAGES, Histogram, StageTimes
from tests.unit.telemetry.records import ask, attempt, ended


def totals(counters: TrafficCounters) -> tuple[int, int, int, int, int]:
    return counters.total, counters.success, counters.errors, counters.cancelled, counters.rejected


def test_attempts_are_counted_by_how_they_ended():
    """Each of the four ends has its own number, and failures are counted by kind."""
    counters = TrafficCounters()
    counters.record_attempts([attempt()])
    counters.record_attempts([attempt(result=AttemptResult.FAILURE, kind=FailureKind.RESET)])
    counters.record_attempts([attempt(result=AttemptResult.FAILURE, kind=FailureKind.RESET)])
    counters.record_attempts([attempt(result=AttemptResult.FAILURE)])
    counters.record_attempts([attempt(result=AttemptResult.RATE_LIMITED)])
    counters.record_attempts([attempt(result=AttemptResult.CANCELLED)])
    backend = counters.backends["a"]
    assert (backend.success, backend.failure, backend.rate_limited, backend.cancelled) == (1, 3, 1, 1)
    assert backend.requests == 6
    assert backend.failures == {"reset": 2, "unknown": 1}


def test_the_mean_latency_is_that_of_successes():
    """A backend that fails at once does not look fast."""
    counters = TrafficCounters()
    counters.record_attempts([attempt(result=AttemptResult.FAILURE, latency_ms=1.0)])
    assert counters.backends["a"].mean_latency_ms == 0.0
    counters.record_attempts([attempt(latency_ms=40.0)])
    counters.record_attempts([attempt(latency_ms=50.0)])
    assert counters.backends["a"].mean_latency_ms == 45.0


def test_tokens_and_cost_add_up_and_an_unknown_price_adds_nothing():
    """Whatever was used is counted, however the attempt ended."""
    counters = TrafficCounters()
    counters.record_attempts([attempt(input_tokens=10, output_tokens=5, cost_usd=0.25)])
    counters.record_attempts([attempt(result=AttemptResult.CANCELLED, input_tokens=1, output_tokens=2)])
    backend = counters.backends["a"]
    assert (backend.input_tokens, backend.output_tokens, backend.cost_usd) == (11, 7, 0.25)


@pytest.mark.parametrize(
    ("result", "stream", "ttft_ms", "observed"),
    [
        (AttemptResult.SUCCESS, True, 120.0, 1),
        (AttemptResult.CANCELLED, True, 120.0, 1),
        (AttemptResult.FAILURE, True, 120.0, 0),
        (AttemptResult.SUCCESS, False, 120.0, 0),
        (AttemptResult.SUCCESS, True, None, 0),
    ],
)
def test_the_first_token_counts_once_per_streamed_attempt_that_did_not_fail(
    result, stream, ttft_ms, observed
):
    """A failure's time is nobody's time to first token, and neither is that of a whole answer."""
    counters = TrafficCounters()
    counters.record_attempts([attempt(result=result, stream=stream, ttft_ms=ttft_ms)])
    assert counters.backends["a"].ttft.count == observed


def test_a_time_to_first_token_on_a_bound_is_under_it():
    """Bounds are inclusive, as `le` says."""
    counters = TrafficCounters()
    for bound in TTFT_BOUNDS:
        counters.record_attempts([attempt(stream=True, ttft_ms=bound * 1000.0)])
    counters.record_attempts([attempt(stream=True, ttft_ms=30_000.1)])
    ttft = counters.backends["a"].ttft
    assert ttft.counts == [1] * (len(TTFT_BOUNDS) + 1)
    assert ttft.cumulative() == list(range(1, len(TTFT_BOUNDS) + 2))
    assert ttft.total == pytest.approx(sum(TTFT_BOUNDS) + 30.0001)


def test_requests_are_counted_by_end_status_and_surface():
    """The totals are sums over one table, so they cannot disagree with it."""
    counters = TrafficCounters()
    counters.record_requests([(ended(), None)])
    counters.record_requests([(ended(request=ask(surface=Surface.EMBEDDING)), None)])
    counters.record_requests([(ended(RequestResult.ERROR, status=502, code="upstream_error"), None)])
    counters.record_requests(
        [(ended(RequestResult.CANCELLED, status=499, request=ask(surface=Surface.COMPLETION)), None)]
    )
    counters.record_requests([(ended(RequestResult.REJECTED, status=503, code="no_backend_available"), None)])
    assert totals(counters) == (5, 2, 1, 1, 1)
    chat, completion, embedding, none = (slice(at, at + 4) for at in (0, 4, 8, 12))
    assert counters.statuses[200][chat] == [1, 0, 0, 0]
    assert counters.statuses[200][embedding] == [1, 0, 0, 0]
    assert counters.statuses[502][chat] == [0, 1, 0, 0]
    assert counters.statuses[499][completion] == [0, 0, 1, 0]
    assert counters.statuses[503][chat] == [0, 0, 0, 1]
    assert not any(sum(cells[none]) for cells in counters.statuses.values())
    assert counters.codes == {"upstream_error": 1, "no_backend_available": 1}


def test_durations_and_overheads_are_observed():
    """In seconds, once per request."""
    counters = TrafficCounters()
    counters.record_requests([(ended(latency_ms=50.0, overhead_ms=0.2), None)])
    assert (counters.duration.count, counters.duration.total) == (1, 0.05)
    assert (counters.overhead.count, counters.overhead.total) == (1, 0.0002)


def test_what_was_refused_at_the_edge_counts_as_rejected():
    """Every POST to an inference path is in the total."""
    counters = TrafficCounters()
    counters.count_unrouted(400, "invalid_request_error", "/v1/embeddings")
    counters.count_unrouted(401, "invalid_api_key")
    counters.count_unrouted(413, "")
    assert totals(counters) == (3, 0, 0, 0, 3)
    assert counters.statuses[400][11] == 1
    assert counters.statuses[401][15] == 1
    assert counters.codes == {"invalid_request_error": 1, "invalid_api_key": 1}


def test_models_are_counted_by_who_answered():
    """The name a client asked for is never a key: clients invent names."""
    counters = TrafficCounters()
    counters.record_requests([(ended(request=ask("alias"), served=attempt(model="m")), None)])
    counters.record_requests([(ended(request=ask("alias"), served=attempt(model="m")), None)])
    counters.record_requests([(ended(RequestResult.ERROR, status=502, request=ask("made up")), None)])
    assert counters.models == {"m": 2}


def test_the_tables_of_names_have_an_end():
    """What does not fit is counted together."""
    counters = TrafficCounters()
    for number in range(MAX_MODELS + 3):
        counters.record_requests([(ended(served=attempt(model=f"m{number}")), None)])
    assert len(counters.models) == MAX_MODELS + 1
    assert counters.models["other"] == 3
    for number in range(MAX_CODES + 2):
        counters.count_unrouted(400, f"code{number}")
    assert len(counters.codes) == MAX_CODES + 1
    assert counters.codes["other"] == 2


def test_a_removed_backend_starts_at_zero_when_it_is_added_again():
    """Its counts go with it; removing an unknown one changes nothing."""
    counters = TrafficCounters()
    counters.record_attempts([attempt("a")])
    counters.remove_backend("a")
    counters.remove_backend("never seen")
    counters.record_attempts([attempt("a")])
    assert counters.backends["a"].requests == 1


def test_pruning_forgets_what_is_gone_and_keeps_the_sum_of_requests():
    """Backends vanish, models become `other`, nothing is counted twice."""
    counters = TrafficCounters()
    for backend_id in ("a", "late"):
        counters.record_attempts([attempt(backend_id)])
    for model in ("m", "old", "old", "older"):
        counters.record_requests([(ended(served=attempt(model=model)), None)])
    counters.prune({"a"}, {"m"})
    assert list(counters.backends) == ["a"]
    assert counters.models == {"m": 1, "other": 3}
    counters.prune({"a"}, {"m"})
    assert counters.models == {"m": 1, "other": 3}


def test_breaker_changes_are_counted_by_where_they_led():
    """Also for a backend that has not answered yet."""
    counters = TrafficCounters()
    counters.record_transition("a", "closed", "open")
    counters.record_transition("a", "open", "half_open")
    counters.record_transition("a", "half_open", "open")
    assert counters.backends["a"].transitions == {"open": 2, "half_open": 1}
    assert counters.backends["a"].requests == 0


def test_a_histogram_counts_and_sums():
    """Values land in the first bucket whose bound is not under them."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1]
    assert histogram.cumulative() == [2, 3, 4]
    assert (histogram.count, histogram.total) == (4, 12.0)


def test_stage_times_go_to_their_stage():
    """The order is that of the pipeline."""
    times = StageTimes()
    times.observe(0, 1e-6)
    times.observe(4, 2e-2)
    assert [each.count for each in times.histograms] == [1, 0, 0, 0, 1, 0]
    assert [each.total for each in times.histograms] == [1e-6, 0.0, 0.0, 0.0, 2e-2, 0.0]
    assert times.histograms[4].counts[-1] == 1
    assert times.names == STAGES


@pytest.mark.parametrize(
    "record",
    [
        lambda counters: counters.record_attempts([attempt(stream=True, ttft_ms=100.0)]),
        lambda counters: counters.record_requests([(ended(served=attempt()), None)]),
    ],
)
def test_memory_does_not_grow_with_traffic(record: Callable[[TrafficCounters], None]):
    """After the first of its kind, a record adds to numbers only."""
    counters = TrafficCounters()
    record(counters)
    shape = (len(counters.backends), len(counters.models), len(counters.statuses), len(counters.codes))
    for _ in range(100):
        record(counters)
    assert shape == (
        len(counters.backends),
        len(counters.models),
        len(counters.statuses),
        len(counters.codes),
    )

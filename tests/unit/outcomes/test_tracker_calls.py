"""Calls: how completions, failures and rate limits are counted."""

import itertools
from typing import Any

import pytest

from nexus.outcomes import Call, InferenceTask, InferredOutcome, OutcomeTracker
from nexus.testing import ManualClock

CODE, GENERATE, EMBED = InferenceTask.CODE, InferenceTask.GENERATE, InferenceTask.EMBED


@pytest.fixture
def clock():
    return ManualClock(start=1000.0)


@pytest.fixture
def tracker(clock):
    return OutcomeTracker(clock=clock)


def ended_call(trace_id: str, model: str) -> Call:
    """A call that is told once it is over."""
    return Call(
        trace_id, model, CODE, "r", 0.0, latency_ms=5.0, input_tokens=1, output_tokens=2, has_output=True
    )


def completed(
    tracker: OutcomeTracker,
    model: str = "m",
    task: InferenceTask = GENERATE,
    *,
    latency: float = 100.0,
    tokens: tuple[int, int] = (10, 20),
    **more: Any,
) -> str:
    trace_id = tracker.record_start(model, task, "only-candidate")
    assert tracker.record_complete(trace_id, latency, *tokens, **more)
    return trace_id


def failed(tracker: OutcomeTracker, model: str = "m", task: InferenceTask = GENERATE, **more: Any) -> str:
    trace_id = tracker.record_start(model, task, "only-candidate")
    assert tracker.record_failure(trace_id, "boom", **more)
    return trace_id


def counts(tracker: OutcomeTracker, model: str = "m") -> tuple[int, int, int]:
    profile = tracker.profile(model)
    assert profile is not None
    return profile.total_calls, profile.success_count, profile.fail_count


def task_counts(tracker: OutcomeTracker, task: InferenceTask, model: str = "m") -> tuple[int, int, int]:
    profile = tracker.profile(model)
    assert profile is not None
    stats = profile.task_stats[task]
    return stats.calls, stats.successes, stats.failures


def test_tasks_are_the_five():
    assert {task.value for task in InferenceTask} == {"generate", "embed", "classify", "code", "reasoning"}


def test_trace_ids_are_unique_across_trackers(clock):
    trackers = [OutcomeTracker(clock=clock) for _ in range(3)]
    ids = [each.record_start("m", GENERATE, "r") for each in trackers for _ in range(100)]
    assert len(set(ids)) == 300


def test_a_start_alone_counts_nothing(tracker):
    trace_id = tracker.record_start("m", GENERATE, "r")
    assert tracker.profile("m") is None
    assert tracker.pending_trace_ids() == [trace_id]


def test_a_start_takes_the_task_by_its_word_and_refuses_others(tracker):
    trace_id = tracker.record_start("m", "code", "r")
    assert tracker.get_pending(trace_id).task is CODE
    with pytest.raises(ValueError, match="poetry"):
        tracker.record_start("m", "poetry", "r")


def test_completion_with_output_credits_a_mechanical_success_and_leaves_quality_alone(tracker):
    completed(tracker, task=CODE)
    assert counts(tracker) == (1, 1, 0)
    assert task_counts(tracker, CODE) == (1, 1, 0)
    profile = tracker.profile("m")
    assert profile.ema_quality == profile.task_stats[CODE].ema_quality == 0.5


def test_completion_without_output_is_a_call_and_no_success(tracker):
    completed(tracker, tokens=(10, 0))
    assert counts(tracker) == (1, 0, 0)
    assert tracker.profile("m").success_rate() == 0.5


@pytest.mark.parametrize(("tokens", "has_output", "successes"), [((5, 0), True, 1), ((5, 9), False, 0)])
def test_has_output_is_passed_for_tasks_without_output_tokens(tracker, tokens, has_output, successes):
    completed(tracker, task=EMBED, tokens=tokens, has_output=has_output)
    assert task_counts(tracker, EMBED) == (1, successes, 0)


def test_completion_is_idempotent(tracker):
    trace_id = completed(tracker)
    assert not tracker.record_complete(trace_id, 900.0, 90, 90)
    profile = tracker.profile("m")
    assert (profile.total_calls, profile.total_input_tokens, profile.total_output_tokens) == (1, 10, 20)
    assert profile.total_latency_ms == 100.0


def test_completion_of_an_unknown_trace_changes_nothing(tracker):
    assert not tracker.record_complete("nobody", 1.0, 1, 1)
    assert tracker.all_profiles() == []


def test_a_failure_is_one_call_and_one_failure_and_costs_a_fifth_of_the_quality(tracker):
    failed(tracker, task=CODE)
    assert counts(tracker) == (1, 0, 1)
    assert task_counts(tracker, CODE) == (1, 0, 1)
    profile = tracker.profile("m")
    assert profile.ema_quality == pytest.approx(0.4)
    assert profile.task_stats[CODE].ema_quality == pytest.approx(0.4)


def test_a_failure_after_a_completion_is_the_same_call_and_takes_the_success_back(tracker):
    trace_id = completed(tracker, task=CODE)
    assert tracker.record_failure(trace_id, "the stream was cut")
    assert counts(tracker) == (1, 0, 1)
    assert task_counts(tracker, CODE) == (1, 0, 1)
    assert tracker.profile("m").ema_quality == pytest.approx(0.4)


def test_a_failure_after_an_empty_completion_is_the_same_call(tracker):
    trace_id = completed(tracker, tokens=(3, 0))
    tracker.record_failure(trace_id, "boom")
    assert counts(tracker) == (1, 0, 1)


def test_a_failure_resolves_the_call_once(tracker):
    trace_id = failed(tracker)
    assert not tracker.record_failure(trace_id, "again")
    assert not tracker.record_complete(trace_id, 1.0, 1, 1)
    assert counts(tracker) == (1, 0, 1)


@pytest.mark.parametrize(
    "how",
    [
        {"status": 429},
        {"code": "rate_limit_exceeded"},
        {"code": "RESOURCE_EXHAUSTED"},
        {"status": 503, "code": "RESOURCE_EXHAUSTED"},
    ],
)
def test_a_rate_limit_counts_excludes_and_costs_nine_tenths(tracker, how):
    failed(tracker, task=CODE, retry_after=7.0, **how)
    assert counts(tracker) == (1, 0, 1)
    assert tracker.is_excluded("m")
    profile = tracker.profile("m")
    assert profile.ema_quality == pytest.approx(0.05)
    assert profile.task_stats[CODE].ema_quality == pytest.approx(0.05)
    assert tracker.drain_ledger()[0].signal == "rate_limit"


def test_a_rate_limit_is_never_told_by_a_message(tracker):
    trace_id = tracker.record_start("m", GENERATE, "r")
    tracker.record_failure(trace_id, "error 429: rate_limit_exceeded, RESOURCE_EXHAUSTED", status=500)
    assert not tracker.is_excluded("m")
    assert tracker.profile("m").ema_quality == pytest.approx(0.4)
    failed(tracker, code="quota_rate_limit_exceeded_soon")
    assert not tracker.is_excluded("m")


def test_a_rate_limit_excludes_until_retry_after_has_passed(tracker, clock):
    failed(tracker, status=429, retry_after=7.0)
    clock.advance(6.999)
    assert tracker.is_excluded("m")
    clock.advance(0.001)
    assert not tracker.is_excluded("m")
    assert not tracker.is_excluded("another")


def waits(tracker: OutcomeTracker, clock: ManualClock, count: int) -> list[float]:
    found = []
    for _ in range(count):
        failed(tracker, status=429)
        start = clock.monotonic()
        while tracker.is_excluded("m"):
            clock.advance(1.0)
        found.append(clock.monotonic() - start)
    return found


def test_without_retry_after_the_cooldown_grows_to_its_longest(tracker, clock):
    assert waits(tracker, clock, 8) == [5, 10, 20, 40, 80, 160, 300, 300]


def test_an_answer_after_the_cooldown_starts_the_growth_anew(tracker, clock):
    assert waits(tracker, clock, 3) == [5, 10, 20]
    completed(tracker)
    assert waits(tracker, clock, 1) == [5]


def test_an_answer_during_the_cooldown_does_not_end_it(tracker):
    failed(tracker, status=429, retry_after=60.0)
    completed(tracker)
    assert tracker.is_excluded("m")


def test_a_shorter_retry_after_does_not_end_a_longer_wait(tracker, clock):
    failed(tracker, status=429, retry_after=60.0)
    failed(tracker, status=429, retry_after=1.0)
    clock.advance(59.0)
    assert tracker.is_excluded("m")


@pytest.mark.parametrize("senseless", [float("nan"), float("inf"), -5.0])
def test_a_senseless_retry_after_is_as_none(tracker, clock, senseless):
    failed(tracker, status=429, retry_after=senseless)
    clock.advance(4.9)
    assert tracker.is_excluded("m")
    clock.advance(0.1)
    assert not tracker.is_excluded("m")


def test_average_latency_is_over_calls_that_have_one(tracker):
    completed(tracker, task=CODE, latency=100.0)
    completed(tracker, task=CODE, latency=300.0)
    for unknown in (0.0, float("nan"), float("inf"), -4.0):
        completed(tracker, task=CODE, latency=unknown)
    failed(tracker, task=CODE)
    profile = tracker.profile("m")
    assert profile.avg_latency_ms() == profile.task_stats[CODE].avg_latency_ms == 200.0
    assert profile.total_latency_ms == 400.0


def test_average_latency_is_zero_without_one(tracker):
    failed(tracker)
    assert tracker.profile("m").avg_latency_ms() == 0.0


def test_quality_per_1k_tokens_does_not_fall_merely_with_use(tracker):
    completed(tracker, tokens=(300, 200))
    once = tracker.profile("m").quality_per_1k_tokens
    assert once == pytest.approx(0.5 * 1000 / 500)
    for _ in range(50):
        completed(tracker, tokens=(300, 200))
    assert tracker.profile("m").quality_per_1k_tokens == pytest.approx(once)


def test_quality_per_1k_tokens_is_zero_without_tokens(tracker):
    completed(tracker, tokens=(0, 0))
    assert tracker.profile("m").quality_per_1k_tokens == 0.0


def test_tokens_below_zero_count_as_zero(tracker):
    completed(tracker, tokens=(-5, 7))
    profile = tracker.profile("m")
    assert (profile.total_input_tokens, profile.total_output_tokens) == (0, 7)


def test_success_rate_is_a_half_with_no_evidence_and_a_share_with_some(tracker):
    completed(tracker, tokens=(1, 0))
    assert tracker.profile("m").success_rate() == 0.5
    assert tracker.profile("m").task_stats[GENERATE].success_rate() == 0.5
    for _ in range(3):
        completed(tracker)
    failed(tracker)
    assert tracker.profile("m").success_rate() == 0.75


@pytest.mark.parametrize(("threshold", "degrades"), [(0, True), (1, True), (2, False), (3, False)])
def test_should_degrade_is_failures_over_successes_plus_threshold(tracker, threshold, degrades):
    completed(tracker)
    for _ in range(3):
        failed(tracker)
    assert tracker.profile("m").should_degrade(threshold) is degrades


def test_the_calls_of_the_tasks_add_up_to_the_total(tracker):
    for task, _ in itertools.product(InferenceTask, range(3)):
        completed(tracker, task=task)
        failed(tracker, task=task)
    profile = tracker.profile("m")
    assert sum(stats.calls for stats in profile.task_stats.values()) == profile.total_calls == 30


def test_profiles_are_listed_by_model_with_the_time_of_the_last_change(tracker, clock):
    completed(tracker, "b")
    clock.advance(5.0)
    completed(tracker, "a")
    assert [(each.model_id, each.updated_at) for each in tracker.all_profiles()] == [
        ("a", clock.time()),
        ("b", clock.time() - 5.0),
    ]


def test_a_given_trace_id_is_kept_and_a_second_start_renames_the_running_call(tracker):
    assert tracker.record_start("m", GENERATE, "r", trace_id="mine") == "mine"
    tracker.record_start("n", CODE, "fallback", trace_id="mine")
    tracker.record_complete("mine", 1.0, 1, 1)
    assert tracker.profile("m") is None
    assert task_counts(tracker, CODE, "n") == (1, 1, 0)


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_a_second_start_of_an_ended_call_does_nothing(tracker, end):
    trace_id = completed(tracker) if end == "complete" else failed(tracker)
    tracker.record_start("n", CODE, "r", trace_id=trace_id)
    assert not tracker.record_complete(trace_id, 1.0, 1, 1)
    assert counts(tracker)[0] == 1
    assert tracker.profile("n") is None


def test_a_call_reported_at_once_counts_as_start_and_completion(tracker):
    def report() -> bool:
        return bool(tracker.record_calls([ended_call("t", "m")]))

    assert report()
    assert not report()
    tracker.record_inferred_outcome("t", InferredOutcome.accepted(1.0))
    assert not report()
    assert counts(tracker) == (1, 1, 0)


def test_a_call_reported_at_once_takes_over_one_that_was_started(tracker):
    tracker.record_start("asked", GENERATE, "r", trace_id="t")
    tracker.record_inferred_outcome("t", InferredOutcome.rejected(1.0))
    assert tracker.record_calls([ended_call("t", "served")]) == 1
    assert tracker.profile("asked") is None
    assert counts(tracker, "served") == (1, 0, 1)
    assert tracker.pending_trace_ids() == []


def test_pending_calls_are_shown_as_they_are(tracker, clock):
    trace_id = tracker.record_start("m", CODE, "failover")
    clock.advance(2.0)
    tracker.record_complete(trace_id, 2000.0, 3, 4)
    shown = tracker.get_pending(trace_id)
    assert (shown.model_id, shown.task, shown.routing_reason) == ("m", CODE, "failover")
    assert (shown.started_at, shown.completed_at, shown.latency_ms) == (1000.0, 1002.0, 2000.0)
    assert (shown.input_tokens, shown.output_tokens, shown.has_output) == (3, 4, True)
    assert tracker.get_pending("nobody") is None

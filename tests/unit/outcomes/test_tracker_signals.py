"""Signals: what each is worth, that a call is resolved once, and what an early one waits for."""

import math

import pytest

from nexus.outcomes import CodeOutcome, InferenceTask, InferredOutcome, OutcomeTracker
from nexus.testing import ManualClock

CODE = InferenceTask.CODE
ACCEPTED, REJECTED = InferredOutcome.accepted(1.0), InferredOutcome.rejected(1.0)


@pytest.fixture
def tracker():
    return OutcomeTracker(clock=ManualClock(start=1000.0))


def completed(tracker: OutcomeTracker, *, output_tokens: int = 20) -> str:
    trace_id = tracker.record_start("m", CODE, "only-candidate")
    tracker.record_complete(trace_id, 100.0, 10, output_tokens)
    return trace_id


def counts(tracker: OutcomeTracker) -> tuple[int, int, int]:
    profile = tracker.profile("m")
    assert profile is not None
    stats = profile.task_stats[CODE]
    assert (stats.calls, stats.successes, stats.failures) == (
        profile.total_calls,
        profile.success_count,
        profile.fail_count,
    )
    return profile.total_calls, profile.success_count, profile.fail_count


@pytest.mark.parametrize(
    ("outcome", "quality", "success"),
    [
        (InferredOutcome.accepted(0.9), 0.9, True),
        (InferredOutcome.accepted_with_edits(0.9), 0.7 * 0.9, True),
        (InferredOutcome.rejected(0.9), 0.3 * 0.1, False),
        (InferredOutcome.rejected(0.0), 0.3, False),
        (InferredOutcome.inconclusive(), None, None),
    ],
)
def test_the_quality_of_inferred_outcomes(outcome, quality, success):
    assert outcome.success is success
    assert outcome.quality == (None if quality is None else pytest.approx(quality))


@pytest.mark.parametrize(
    ("outcome", "quality"),
    [
        (CodeOutcome.APPLIED, 1.0),
        (CodeOutcome.SIGNATURE_CHANGED, 0.8),
        (CodeOutcome.BODY_MODIFIED, 0.7),
        (CodeOutcome.SYMBOL_ADDED, 0.7),
        (CodeOutcome.MODIFIED, 0.6),
        (CodeOutcome.IGNORED, 0.1),
    ],
)
def test_the_quality_of_code_outcomes_and_all_but_ignored_succeed(tracker, outcome, quality):
    trace_id = completed(tracker)
    assert tracker.record_code_outcome(trace_id, outcome).applied
    success = outcome is not CodeOutcome.IGNORED
    receipt = tracker.receipt(trace_id)
    assert (receipt.quality, receipt.success) == (quality, success)
    assert counts(tracker) == (1, int(success), int(not success))
    assert tracker.profile("m").ema_quality == pytest.approx(0.8 * 0.5 + 0.2 * quality)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan, math.inf])
@pytest.mark.parametrize("make", ["accepted", "accepted_with_edits", "rejected"])
def test_a_confidence_outside_0_to_1_is_refused(make, confidence):
    with pytest.raises(ValueError, match="confidence must be a number from 0 to 1"):
        getattr(InferredOutcome, make)(confidence)


def test_the_published_average_moves_a_fifth_of_the_way_for_profile_and_task(tracker):
    expected = 0.5
    for outcome in (InferredOutcome.accepted(0.9), InferredOutcome.rejected(0.5), ACCEPTED):
        tracker.record_inferred_outcome(completed(tracker), outcome)
        assert outcome.quality is not None
        expected = 0.8 * expected + 0.2 * outcome.quality
        profile = tracker.profile("m")
        assert profile.ema_quality == pytest.approx(expected)
        assert profile.task_stats[CODE].ema_quality == pytest.approx(expected)


def test_each_task_has_an_average_of_its_own(tracker):
    tracker.record_inferred_outcome(completed(tracker), ACCEPTED)
    trace_id = tracker.record_start("m", InferenceTask.GENERATE, "r")
    tracker.record_complete(trace_id, 1.0, 1, 1)
    tracker.record_inferred_outcome(trace_id, REJECTED)
    stats = tracker.profile("m").task_stats
    assert stats[CODE].ema_quality == pytest.approx(0.6)
    assert stats[InferenceTask.GENERATE].ema_quality == pytest.approx(0.4)
    assert tracker.profile("m").ema_quality == pytest.approx(0.8 * 0.6)


def test_a_positive_signal_on_a_credited_call_adds_nothing_to_the_counts(tracker):
    tracker.record_inferred_outcome(completed(tracker), ACCEPTED)
    assert counts(tracker) == (1, 1, 0)


def test_a_positive_signal_on_a_call_without_credit_is_its_success(tracker):
    tracker.record_inferred_outcome(completed(tracker, output_tokens=0), ACCEPTED)
    assert counts(tracker) == (1, 1, 0)


def test_a_negative_signal_takes_the_success_back_and_books_a_failure(tracker):
    tracker.record_inferred_outcome(completed(tracker), REJECTED)
    assert counts(tracker) == (1, 0, 1)


def test_a_negative_signal_on_a_call_without_credit_books_a_failure(tracker):
    tracker.record_inferred_outcome(completed(tracker, output_tokens=0), REJECTED)
    assert counts(tracker) == (1, 0, 1)


def test_an_inconclusive_signal_resolves_and_changes_no_figure(tracker):
    trace_id = completed(tracker)
    before = tracker.profile("m")
    assert tracker.record_inferred_outcome(trace_id, InferredOutcome.inconclusive()).applied
    assert tracker.profile("m") == before
    assert tracker.receipt(trace_id).success is None
    assert tracker.receipt(trace_id).quality is None


def test_a_second_signal_changes_nothing_and_says_so(tracker):
    trace_id = completed(tracker)
    assert tracker.record_inferred_outcome(trace_id, ACCEPTED).applied
    before = tracker.profile("m")
    for second in (
        tracker.record_inferred_outcome(trace_id, REJECTED),
        tracker.record_code_outcome(trace_id, CodeOutcome.IGNORED),
    ):
        assert (second.applied, second.reason) == (False, "already resolved")
    assert tracker.profile("m") == before
    assert len(tracker.drain_ledger()) == 1


def test_a_signal_for_an_unknown_trace_changes_nothing_and_says_so(tracker):
    result = tracker.record_inferred_outcome("nobody", ACCEPTED)
    assert (result.applied, result.reason) == (False, "unknown trace")
    assert tracker.all_profiles() == []


def test_a_signal_before_completion_waits_for_it(tracker):
    trace_id = tracker.record_start("m", CODE, "r")
    result = tracker.record_inferred_outcome(trace_id, REJECTED)
    assert result.applied
    assert "waits" in result.reason
    assert tracker.profile("m") is None
    assert tracker.get_pending(trace_id).signal_waits
    tracker.record_complete(trace_id, 1.0, 1, 1)
    assert counts(tracker) == (1, 0, 1)
    assert tracker.pending_trace_ids() == []
    assert tracker.receipt(trace_id).signal == "explicit"


def test_of_several_signals_before_completion_the_first_wins(tracker):
    trace_id = tracker.record_start("m", CODE, "r")
    tracker.record_inferred_outcome(trace_id, ACCEPTED)
    second = tracker.record_code_outcome(trace_id, CodeOutcome.IGNORED)
    assert not second.applied
    assert "waits" in second.reason
    tracker.record_complete(trace_id, 1.0, 1, 1)
    assert counts(tracker) == (1, 1, 0)
    assert tracker.profile("m").ema_quality == pytest.approx(0.6)


def test_a_failure_instead_of_the_completion_drops_the_waiting_signal(tracker):
    trace_id = tracker.record_start("m", CODE, "r")
    tracker.record_inferred_outcome(trace_id, ACCEPTED)
    tracker.record_failure(trace_id, "boom")
    assert counts(tracker) == (1, 0, 1)
    assert tracker.profile("m").ema_quality == pytest.approx(0.4)
    assert tracker.receipt(trace_id).signal == "failure"
    assert tracker.record_inferred_outcome(trace_id, ACCEPTED).reason == "already resolved"


@pytest.mark.parametrize("outcome", [ACCEPTED, REJECTED, InferredOutcome.inconclusive()])
def test_a_failure_after_the_resolution_changes_nothing(tracker, outcome):
    trace_id = completed(tracker)
    tracker.record_inferred_outcome(trace_id, outcome)
    before = tracker.profile("m")
    assert not tracker.record_failure(trace_id, "too late")
    assert tracker.profile("m") == before


def test_several_signals_are_applied_in_order(tracker):
    one, two = completed(tracker), completed(tracker)
    results = tracker.resolve_pending_from_signals([(one, ACCEPTED), (one, REJECTED), (two, REJECTED)])
    assert [result.applied for result in results] == [True, False, True]
    assert counts(tracker) == (2, 1, 1)
    assert tracker.receipt(one).signal == "inferred"


def infer(*actions: tuple[str, bool, float, str | bool | None]) -> list[tuple[str, InferredOutcome]]:
    return OutcomeTracker.infer_outcomes_from_action_sequence(actions)


def test_a_failed_action_was_rejected():
    assert infer(("a", False, 0.8, "some output")) == [("a", InferredOutcome.rejected(0.8))]


def test_an_action_with_output_is_accepted_if_the_next_succeeded_or_it_is_the_last():
    assert infer(("a", True, 0.8, "text"), ("b", True, 0.6, True)) == [
        ("a", InferredOutcome.accepted(0.8)),
        ("b", InferredOutcome.accepted(0.6)),
    ]


def test_an_action_with_output_before_a_failed_one_is_accepted_with_edits():
    found = infer(("a", True, 0.8, "text"), ("b", False, 0.5, None))
    assert found[0] == ("a", InferredOutcome.accepted_with_edits(0.7 * 0.8))


@pytest.mark.parametrize("nothing", ["", "  \n", False, None])
def test_an_action_without_output_is_inconclusive(nothing):
    assert infer(("a", True, 0.8, nothing)) == [("a", InferredOutcome.inconclusive())]


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_action_with_a_blank_trace_id_is_skipped_but_still_happened(blank):
    found = infer(("a", True, 1.0, "text"), (blank, False, 1.0, "text"))
    assert found == [("a", InferredOutcome.accepted_with_edits(0.7))]


def test_inferring_applies_nothing_and_resolving_does(tracker):
    trace_id = completed(tracker)
    found = tracker.infer_outcomes_from_action_sequence([(trace_id, False, 0.9, "text")])
    assert counts(tracker) == (1, 1, 0)
    tracker.resolve_pending_from_signals(found)
    assert counts(tracker) == (1, 0, 1)


def test_figures_count_resolutions_by_signal_and_word(tracker):
    tracker.record_inferred_outcome(completed(tracker), ACCEPTED)
    tracker.record_inferred_outcome(completed(tracker), REJECTED, signal="conversation")
    tracker.record_failure(tracker.record_start("m", CODE, "r"), "boom")
    completed(tracker)
    tracker.sweep_pending(0.0)
    completed(tracker)
    figures = tracker.figures()
    assert figures.resolutions == {
        ("explicit", "success"): 1,
        ("conversation", "failure"): 1,
        ("failure", "failure"): 1,
        ("expired", "success"): 1,
    }
    assert (figures.pending, figures.abandoned, figures.dropped_receipts) == (1, 0, 0)

"""Sweeping, receipts, and the bounds on what a tracker holds."""

import pytest

from nexus.outcomes import (
    Call,
    CallDetails,
    CodeOutcome,
    InferenceTask,
    InferredOutcome,
    LedgerEntry,
    OutcomeTracker,
)
from nexus.testing import ManualClock

CODE = InferenceTask.CODE
DAY = 86_400.0


@pytest.fixture
def clock():
    return ManualClock(start=1000.0)


@pytest.fixture
def tracker(clock):
    return OutcomeTracker(clock=clock)


def receipt_of(tracker: OutcomeTracker, trace_id: str) -> LedgerEntry:
    receipt = tracker.receipt(trace_id)
    assert receipt is not None
    return receipt


def ended_call(trace_id: str, model: str) -> Call:
    """A call that is told once it is over."""
    return Call(
        trace_id, model, CODE, "r", 0.0, latency_ms=5.0, input_tokens=1, output_tokens=2, has_output=True
    )


def completed(tracker: OutcomeTracker, *, output_tokens: int = 20) -> str:
    trace_id = tracker.record_start("m", CODE, "only-candidate")
    tracker.record_complete(trace_id, 100.0, 10, output_tokens)
    return trace_id


def test_sweep_turns_old_completed_calls_into_receipts(tracker, clock):
    full, empty = completed(tracker), completed(tracker, output_tokens=0)
    clock.advance(299.9)
    assert tracker.sweep_pending(300.0) == 0
    clock.advance(0.1)
    assert tracker.sweep_pending(300.0) == 2
    receipts = {receipt.trace_id: receipt for receipt in tracker.drain_ledger()}
    assert (receipts[full].success, receipts[full].quality) == (True, None)
    assert (receipts[empty].success, receipts[empty].quality) == (None, None)
    assert tracker.pending_trace_ids() == []


def test_sweep_counts_the_ttl_from_completion(tracker, clock):
    trace_id = tracker.record_start("m", CODE, "r")
    clock.advance(1000.0)
    tracker.record_complete(trace_id, 1.0, 1, 1)
    clock.advance(299.0)
    assert tracker.sweep_pending(300.0) == 0


def test_sweep_never_credits_twice(tracker):
    completed(tracker)
    before = tracker.profile("m")
    tracker.sweep_pending(0.0)
    tracker.sweep_pending(0.0)
    assert tracker.profile("m") == before
    assert len(tracker.drain_ledger()) == 1


def test_sweep_leaves_running_calls(tracker, clock):
    trace_id = tracker.record_start("m", CODE, "r")
    clock.advance(DAY - 1)
    assert tracker.sweep_pending(0.0) == 0
    assert tracker.record_complete(trace_id, 1.0, 1, 1)


def test_sweep_drops_a_call_that_has_not_ended_after_a_day_and_counts_it_as_abandoned(tracker, clock):
    trace_id = tracker.record_start("m", CODE, "r")
    clock.advance(DAY)
    assert tracker.sweep_pending(300.0) == 1
    assert tracker.figures().abandoned == 1
    assert tracker.drain_ledger() == []
    assert not tracker.record_complete(trace_id, 1.0, 1, 1)
    assert tracker.profile("m") is None


def test_a_call_followed_up_quietly_waits_on_and_says_so_in_its_receipt(tracker, clock):
    first, second, empty = (tracker.record_start("m", CODE, "r") for _ in range(3))
    assert tracker.note_followed_up(first) is None
    tracker.record_complete(first, 10.0, 1, 1)
    tracker.record_complete(second, 10.0, 1, 1)
    tracker.record_complete(empty, 10.0, 1, 0)
    early = tracker.note_followed_up(first)
    assert early is not None
    assert (early.trace_id, early.signal, early.success, early.quality) == (first, "followed_up", True, None)
    assert tracker.note_followed_up(first) is None
    assert tracker.note_followed_up(empty) is None
    assert tracker.note_followed_up("nobody") is None
    assert tracker.note_followed_up(second) is not None
    assert tracker.drain_ledger() == []
    assert tracker.record_inferred_outcome(second, InferredOutcome.rejected(1.0)).applied
    clock.advance(10.0)
    tracker.sweep_pending(5.0)
    signals = {entry.trace_id: entry.signal for entry in tracker.drain_ledger()}
    assert signals == {second: "explicit", first: "followed_up", empty: "expired"}
    assert tracker.profile("m").ema_quality == pytest.approx(0.4)


def test_sweep_takes_now_from_its_caller(tracker, clock):
    completed(tracker)
    assert tracker.sweep_pending(300.0, now=clock.monotonic() + 299.0) == 0
    assert tracker.sweep_pending(300.0, now=clock.monotonic() + 300.0) == 1


def test_sweep_does_no_more_than_its_limit(tracker, clock):
    for _ in range(5):
        completed(tracker)
    tracker.record_start("m", CODE, "r")
    clock.advance(DAY)
    assert [tracker.sweep_pending(1.0, limit=4) for _ in range(3)] == [4, 2, 0]
    assert tracker.figures().abandoned == 1


@pytest.mark.parametrize("ttl", [-1.0, float("nan")])
def test_sweep_refuses_a_senseless_ttl(tracker, ttl):
    with pytest.raises(ValueError, match="ttl_secs"):
        tracker.sweep_pending(ttl)


def test_a_swept_call_takes_no_signal_any_more(tracker):
    trace_id = completed(tracker)
    tracker.sweep_pending(0.0)
    result = tracker.record_inferred_outcome(trace_id, InferredOutcome.rejected(1.0))
    assert (result.applied, result.reason) == (False, "already resolved")
    assert tracker.profile("m").success_count == 1


def test_code_suggestions_stay_until_the_git_deadline(clock):
    tracker = OutcomeTracker(clock=clock, git_deadline_seconds=5000.0)
    trace_id = completed(tracker)
    assert tracker.attach_suggestions(trace_id, ["fingerprint"])
    clock.advance(4999.0)
    assert tracker.sweep_pending(300.0) == 0
    assert [(each.trace_id, each.suggestions) for each in tracker.pending_suggestions()] == [
        (trace_id, ("fingerprint",))
    ]
    clock.advance(1.0)
    assert tracker.sweep_pending(300.0) == 1
    assert receipt_of(tracker, trace_id).signal == "expired"


def test_suggestions_that_a_check_looked_for_are_ignored_at_the_deadline(clock):
    tracker = OutcomeTracker(clock=clock, git_deadline_seconds=5000.0)
    trace_id = completed(tracker)
    tracker.attach_suggestions(trace_id, ["fingerprint"])
    tracker.note_checked([trace_id, "nobody"])
    clock.advance(5000.0)
    tracker.sweep_pending(300.0)
    receipt = receipt_of(tracker, trace_id)
    assert (receipt.signal, receipt.success, receipt.quality) == ("git", False, 0.1)
    profile = tracker.profile("m")
    assert profile is not None
    assert profile.fail_count == 1


def test_the_git_deadline_counts_also_where_other_calls_wait_longer(clock):
    tracker = OutcomeTracker(clock=clock, git_deadline_seconds=100.0)
    held, other = completed(tracker), completed(tracker)
    tracker.attach_suggestions(held, ["fingerprint"])
    clock.advance(100.0)
    assert tracker.sweep_pending(300.0) == 1
    assert tracker.pending_trace_ids() == [other]


def test_nothing_is_ignored_because_the_process_ends_before_the_deadline(clock):
    tracker = OutcomeTracker(clock=clock, git_deadline_seconds=100.0)
    trace_id = completed(tracker)
    tracker.attach_suggestions(trace_id, ["fingerprint"])
    tracker.note_checked([trace_id])
    clock.advance(99.0)
    assert tracker.resolve_rest() == 1
    receipt = receipt_of(tracker, trace_id)
    assert (receipt.signal, receipt.success, receipt.quality) == ("expired", True, None)


def test_suggestions_can_be_attached_at_any_time_before_the_resolution(tracker):
    running = tracker.record_start("m", CODE, "r")
    assert tracker.attach_suggestions(running, ["a"])
    assert tracker.pending_suggestions() == []
    tracker.record_complete(running, 1.0, 1, 1)
    assert tracker.attach_suggestions(running, ["b"])
    assert tracker.pending_suggestions()[0].suggestions == ("a", "b")
    assert tracker.record_code_outcome(running, CodeOutcome.APPLIED).applied
    assert not tracker.attach_suggestions(running, ["c"])
    assert tracker.pending_suggestions() == []


def test_the_rest_is_resolved_at_the_end_of_the_process(tracker):
    running = tracker.record_start("m", CODE, "r")
    waiting, held = completed(tracker), completed(tracker)
    tracker.attach_suggestions(held, ["fingerprint"])
    assert tracker.resolve_rest(1) == 1
    assert tracker.resolve_rest() == 1
    assert [receipt.trace_id for receipt in tracker.drain_ledger()] == [waiting, held]
    assert tracker.pending_trace_ids() == [running]


def test_a_receipt_says_what_is_known_of_its_call(tracker, clock):
    details = CallDetails(
        backend_id="b",
        attempts=2,
        cost_usd=0.25,
        ttft_ms=12.0,
        propensity=0.5,
        candidates=("m", "n"),
        project_id="p",
        intent="auto",
    )
    trace_id = tracker.record_start("m", CODE, "adaptive:explore")
    tracker.record_complete(trace_id, 150.0, 10, 20, details=details)
    clock.advance(5.0)
    tracker.record_inferred_outcome(trace_id, InferredOutcome.accepted(0.9))
    [receipt] = tracker.drain_ledger()
    assert receipt == tracker.receipt(trace_id)
    assert (receipt.trace_id, receipt.model_id, receipt.task) == (trace_id, "m", CODE)
    assert receipt.routing_reason == "adaptive:explore"
    assert (receipt.latency_ms, receipt.input_tokens, receipt.output_tokens) == (150.0, 10, 20)
    assert (receipt.success, receipt.quality, receipt.signal) == (True, 0.9, "explicit")
    assert (receipt.backend_id, receipt.attempts, receipt.cost_usd, receipt.ttft_ms) == ("b", 2, 0.25, 12.0)
    assert (receipt.propensity, receipt.candidates) == (0.5, ("m", "n"))
    assert (receipt.project_id, receipt.intent, receipt.error) == ("p", "auto", None)
    assert receipt.timestamp == clock.time()


def test_errors_and_reasons_are_capped_at_256_characters_with_secrets_masked(tracker):
    trace_id = tracker.record_start("m", CODE, "api_key=sk-verysecret " + "ä" * 300)
    tracker.record_failure(trace_id, "Bearer sk-verysecret " + "ö" * 300)
    [receipt] = tracker.drain_ledger()
    for text in (receipt.error, receipt.routing_reason):
        assert len(text) == 256
        assert text.endswith("…")
        assert "verysecret" not in text
    trace_id = tracker.record_start("m", CODE, "x" * 256)
    tracker.record_failure(trace_id, "y" * 256)
    [receipt] = tracker.drain_ledger()
    assert (receipt.routing_reason, receipt.error) == ("x" * 256, "y" * 256)


def test_a_secret_across_the_cut_is_masked_before_it(tracker):
    trace_id = tracker.record_start("m", CODE, "r")
    tracker.record_failure(trace_id, "e" * 245 + " sk-abcdefghijklmnopqrstuvwxyz")
    assert "abcd" not in tracker.drain_ledger()[0].error


def test_the_buffer_holds_5000_receipts_drops_the_oldest_and_counts(tracker):
    ids = [completed(tracker) for _ in range(5003)]
    tracker.sweep_pending(0.0)
    assert tracker.figures().dropped_receipts == 3
    assert [receipt.trace_id for receipt in tracker.drain_ledger()] == ids[3:]
    assert tracker.drain_ledger() == []


def test_receipts_go_to_who_asked_for_them_and_wait_nowhere(clock):
    seen: list[tuple[str, object]] = []

    def receive(*receipts: LedgerEntry) -> None:
        seen.extend((receipt.trace_id, asked.get_pending(receipt.trace_id)) for receipt in receipts)

    asked = OutcomeTracker(clock=clock, receipts=receive)
    swept, failed = completed(asked), completed(asked)
    asked.record_failure(failed, "boom")
    asked.sweep_pending(0.0)
    assert seen == [(failed, None), (swept, None)]
    assert asked.drain_ledger() == []


def test_pending_calls_are_bounded_and_the_oldest_completed_one_goes_first(clock):
    tracker = OutcomeTracker(clock=clock, max_pending=3)
    running = tracker.record_start("m", CODE, "r")
    oldest, _ = completed(tracker), completed(tracker)
    completed(tracker)
    assert len(tracker.pending_trace_ids()) == 3
    assert receipt_of(tracker, oldest).signal == "expired"
    assert running in tracker.pending_trace_ids()


def test_pending_calls_are_bounded_when_all_of_them_run(clock):
    tracker = OutcomeTracker(clock=clock, max_pending=2)
    first = tracker.record_start("m", CODE, "r")
    for _ in range(2):
        tracker.record_start("m", CODE, "r")
    assert len(tracker.pending_trace_ids()) == 2
    assert tracker.get_pending(first) is None
    assert tracker.figures().abandoned == 1


def test_calls_reported_at_once_are_bounded_too(clock):
    tracker = OutcomeTracker(clock=clock, max_pending=2)
    for index in range(4):
        tracker.record_calls([ended_call(str(index), "m")])
    assert tracker.pending_trace_ids() == ["2", "3"]
    assert [receipt.trace_id for receipt in tracker.drain_ledger()] == ["0", "1"]


def test_of_many_pending_calls_a_hundredth_goes_at_a_time_and_nothing_is_lost(clock):
    told: list[list[str]] = []

    def receive(*receipts: LedgerEntry) -> None:
        told.append([receipt.trace_id for receipt in receipts])

    tracker = OutcomeTracker(clock=clock, max_pending=500, receipts=receive)
    for index in range(507):
        tracker.record_calls([ended_call(str(index), "m")])
    assert told == [["0", "1", "2", "3", "4"], ["5", "6", "7", "8", "9"]]
    assert tracker.pending_trace_ids() == [str(index) for index in range(10, 507)]
    assert tracker.figures().resolutions == {("expired", "success"): 10}


def test_calls_that_wait_for_repository_checks_are_bounded(tracker):
    ids = [completed(tracker) for _ in range(5001)]
    for trace_id in ids:
        assert tracker.attach_suggestions(trace_id, ["fingerprint"])
    assert len(tracker.pending_suggestions()) == 5000
    assert tracker.receipt(ids[0]).signal == "expired"


def test_calls_that_wait_for_a_repository_make_room_only_where_there_are_no_others(clock):
    """A little is taken at a time, but never from those while a plain one is left."""
    tracker = OutcomeTracker(clock=clock, max_pending=200)
    tracker.record_calls([ended_call(f"held-{number}", "m") for number in range(199)])
    for number in range(199):
        tracker.attach_suggestions(f"held-{number}", ["fingerprint"])
    tracker.record_calls([ended_call("plain", "m")])
    tracker.record_start("m", CODE, trace_id="new-1")
    assert len(tracker.pending_suggestions()) == 199
    assert not tracker.is_pending("plain")
    tracker.record_start("m", CODE, trace_id="new-2")
    assert len(tracker.pending_suggestions()) == 197


def test_receipts_of_the_2000_calls_resolved_last_are_remembered(tracker):
    ids = [completed(tracker) for _ in range(5_000)]
    tracker.sweep_pending(0.0)
    remembered = [trace_id for trace_id in ids if tracker.receipt(trace_id) is not None]
    assert remembered == ids[-2_000:]
    assert tracker.receipt(ids[-2_000]).trace_id == ids[-2_000]

"""The names and shapes that the library promises, and the rules that are about more than one call."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import msgspec
import pytest

import nexus.outcomes
from nexus.outcomes import (
    CodeOutcome,
    InferenceTask,
    InferredOutcome,
    LedgerEntry,
    ModelProfile,
    OutcomeTracker,
    SignalResult,
    TaskStats,
)
from nexus.testing import ManualClock

METHODS = (
    *("record_start", "record_complete", "record_failure", "record_inferred_outcome", "record_code_outcome"),
    *("resolve_pending_from_signals", "infer_outcomes_from_action_sequence", "sweep_pending", "profile"),
    *("all_profiles", "get_pending", "pending_trace_ids", "is_excluded", "export_profiles"),
    *("import_profiles", "save_to_file", "save_if_dirty", "load_from_file", "is_dirty", "drain_ledger"),
)
MADE_ELSEWHERE = """
from nexus.outcomes import InferenceTask, OutcomeTracker
tracker = OutcomeTracker()
print(*(tracker.record_start("m", InferenceTask.CODE, "r") for _ in range(50)))
"""


def names(struct: type[msgspec.Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(struct)}


@pytest.fixture
def tracker() -> OutcomeTracker:
    return OutcomeTracker(clock=ManualClock())


def test_the_library_exports_its_names():
    wanted = {
        *("OutcomeTracker", "InferenceTask", "InferredOutcome", "CodeOutcome", "ModelProfile", "TaskStats"),
        *("LedgerEntry", "LedgerStore", "append_ledger_entries", "read_ledger", "prune_ledger"),
        *("open_ledger", "SignalResult"),
    }
    assert wanted <= set(nexus.outcomes.__all__)
    assert all(hasattr(nexus.outcomes, name) for name in wanted)


@pytest.mark.parametrize("name", METHODS)
def test_the_tracker_has_its_methods(tracker, name):
    assert callable(getattr(tracker, name))


def test_profiles_have_their_fields():
    assert names(ModelProfile) >= {
        *("model_id", "total_calls", "success_count", "fail_count", "total_latency_ms", "total_input_tokens"),
        *("total_output_tokens", "task_stats", "ema_quality", "quality_per_1k_tokens", "updated_at"),
    }
    assert names(TaskStats) >= {"calls", "successes", "failures", "avg_latency_ms", "ema_quality"}


def test_receipts_have_their_fields():
    assert names(LedgerEntry) == {
        *("trace_id", "model_id", "task", "routing_reason", "latency_ms", "input_tokens", "output_tokens"),
        *("success", "quality", "error", "project_id", "intent", "timestamp", "backend_id", "ttft_ms"),
        *("attempts", "cost_usd", "propensity", "candidates", "signal"),
    }


def test_a_signal_answers_whether_it_was_applied_and_why_not(tracker):
    result = tracker.record_code_outcome("nobody", CodeOutcome.APPLIED)
    assert result == SignalResult(applied=False, reason="unknown trace")
    trace_id = tracker.record_start("m", InferenceTask.CODE, "r")
    tracker.record_complete(trace_id, 1.0, 1, 1)
    assert tracker.record_code_outcome(trace_id, CodeOutcome.APPLIED) == SignalResult(
        applied=True, reason=None
    )


def test_trace_ids_are_unique_across_processes_and_restarts():
    """Nothing is carried over from one process to the next; the same program is run twice."""
    found = []
    for _ in range(2):
        command = [sys.executable, "-c", MADE_ELSEWHERE]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found += done.stdout.split()
    assert len(found) == len(set(found)) == 100


@pytest.mark.parametrize("output", ["a text", True])
def test_an_actions_output_may_be_text_or_a_boolean_and_is_not_kept(tracker, output):
    trace_id = tracker.record_start("m", InferenceTask.CODE, "r")
    tracker.record_complete(trace_id, 1.0, 1, 1)
    [found] = tracker.infer_outcomes_from_action_sequence([(trace_id, True, 0.8, output)])
    assert found == (trace_id, InferredOutcome.accepted(0.8))
    tracker.resolve_pending_from_signals([found])
    kept = msgspec.json.encode([tracker.drain_ledger(), tracker.export_profiles()])
    assert b"a text" not in kept


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_quality_stays_between_0_and_1_however_long_one_kind_of_signal_lasts(tracker, confidence):
    for make in (InferredOutcome.accepted, InferredOutcome.rejected):
        for _ in range(60):
            trace_id = tracker.record_start("m", InferenceTask.CODE, "r")
            tracker.record_complete(trace_id, 1.0, 1, 1)
            tracker.record_inferred_outcome(trace_id, make(confidence))
            profile = tracker.profile("m")
            assert 0.0 <= profile.ema_quality <= 1.0
            assert 0.0 <= profile.task_stats[InferenceTask.CODE].ema_quality <= 1.0


def test_successes_and_failures_never_exceed_the_calls(tracker):
    """After every step of calls that complete, fail late, are judged twice and are swept."""
    for number in range(40):
        trace_id = tracker.record_start("m", InferenceTask.CODE, "r")
        steps: list[Callable[[], object]] = [
            partial(tracker.record_complete, trace_id, 1.0, 1, number // 4 % 2),
            partial(tracker.record_inferred_outcome, trace_id, InferredOutcome.rejected(1.0)),
            partial(tracker.record_failure, trace_id, "late"),
            partial(tracker.sweep_pending, 0.0),
        ]
        for step in steps[number % 4 :] + steps[: number % 4]:
            step()
            profile = tracker.profile("m")
            if profile is not None:
                assert profile.success_count + profile.fail_count <= profile.total_calls
                assert sum(stats.calls for stats in profile.task_stats.values()) == profile.total_calls

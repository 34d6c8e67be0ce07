"""The tracker's invariants under any sequence of calls, signals, sweeps and saves."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexus.outcomes import CodeOutcome, InferenceTask, InferredOutcome, OutcomeTracker
from nexus.testing import ManualClock

MODELS = st.sampled_from(["a", "b"])
TASKS = st.sampled_from(list(InferenceTask))
CONFIDENCE = st.floats(0.0, 1.0)
OUTCOMES = st.one_of(
    st.builds(InferredOutcome.accepted, CONFIDENCE),
    st.builds(InferredOutcome.accepted_with_edits, CONFIDENCE),
    st.builds(InferredOutcome.rejected, CONFIDENCE),
    st.just(InferredOutcome.inconclusive()),
    st.sampled_from(list(CodeOutcome)),
)


class TrackerMachine(RuleBasedStateMachine):
    """Drives one tracker and keeps count of what must come of it."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "profiles.json"
        self.clock = ManualClock(start=1000.0)
        self.tracker = OutcomeTracker(clock=self.clock, git_deadline_seconds=500.0)
        self.started: list[str] = []
        self.running: set[str] = set()
        self.ended: dict[str, str] = {}
        self.resolved: set[str] = set()
        self.receipts: list[str] = []
        self.tokens = 0

    def teardown(self):
        self.folder.cleanup()

    def any_call(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.started))

    @rule(model=MODELS, task=TASKS)
    def start(self, model, task):
        trace_id = self.tracker.record_start(model, task, "r")
        assert trace_id not in self.started
        self.started.append(trace_id)
        self.running.add(trace_id)

    @precondition(lambda self: self.started)
    @rule(data=st.data(), tokens=st.integers(0, 50), latency=st.floats(0, 1e6))
    def complete(self, data, tokens, latency):
        trace_id = self.any_call(data)
        changed = self.tracker.record_complete(trace_id, latency, tokens, tokens)
        assert changed == (trace_id in self.running)
        if changed:
            self.running.remove(trace_id)
            self.ended[trace_id] = "completed"
            self.tokens += 2 * tokens

    @precondition(lambda self: self.started)
    @rule(data=st.data(), status=st.sampled_from([None, 429, 500]))
    def fail(self, data, status):
        trace_id = self.any_call(data)
        may_change = self.tracker.get_pending(trace_id) is not None
        assert self.tracker.record_failure(trace_id, "boom", status=status) == may_change
        if may_change:
            self.running.discard(trace_id)
            self.ended[trace_id] = "failed"

    @precondition(lambda self: self.started)
    @rule(data=st.data(), outcome=OUTCOMES)
    def signal(self, data, outcome):
        trace_id = self.any_call(data)
        pending = self.tracker.get_pending(trace_id)
        if isinstance(outcome, CodeOutcome):
            result = self.tracker.record_code_outcome(trace_id, outcome)
        else:
            result = self.tracker.record_inferred_outcome(trace_id, outcome)
        assert result.applied == (pending is not None and not pending.signal_waits)
        assert result.applied or result.reason

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def suggest(self, data):
        trace_id = self.any_call(data)
        is_pending = self.tracker.get_pending(trace_id) is not None
        assert self.tracker.attach_suggestions(trace_id, ["f"]) == is_pending
        if data.draw(st.booleans()):
            self.tracker.note_checked([trace_id])

    @rule(seconds=st.sampled_from([1.0, 300.0, 90_000.0]), ttl=st.sampled_from([0.0, 200.0]))
    def sweep(self, seconds, ttl):
        self.clock.advance(seconds)
        before = set(self.tracker.pending_trace_ids())
        taken = self.tracker.sweep_pending(ttl)
        after = set(self.tracker.pending_trace_ids())
        assert after <= before
        assert len(before - after) == taken
        self.running &= after

    @rule()
    def save(self):
        before = self.tracker.all_profiles()
        self.tracker.save_to_file(self.path)
        assert not self.tracker.is_dirty()
        loaded = OutcomeTracker(clock=self.clock)
        loaded.load_from_file(self.path)
        for one, other, third in zip(before, self.tracker.all_profiles(), loaded.all_profiles(), strict=True):
            assert one.total_calls == other.total_calls == third.total_calls
            assert abs(one.ema_quality - third.ema_quality) < 1e-9

    @invariant()
    def a_call_is_resolved_once(self):
        self.receipts += [receipt.trace_id for receipt in self.tracker.drain_ledger()]
        assert len(self.receipts) == len(set(self.receipts))
        assert not set(self.receipts) & set(self.tracker.pending_trace_ids())

    @invariant()
    def calls_add_up_and_nothing_is_counted_twice(self):
        profiles = self.tracker.all_profiles()
        assert sum(profile.total_calls for profile in profiles) == len(self.ended)
        tokens = sum(profile.total_input_tokens + profile.total_output_tokens for profile in profiles)
        assert tokens == self.tokens
        for profile in profiles:
            stats = profile.task_stats.values()
            assert sum(each.calls for each in stats) == profile.total_calls
            assert sum(each.successes for each in stats) == profile.success_count
            assert sum(each.failures for each in stats) == profile.fail_count

    @invariant()
    def successes_and_failures_are_no_more_than_calls(self):
        for profile in self.tracker.all_profiles():
            assert profile.success_count >= 0
            assert profile.fail_count >= 0
            assert profile.success_count + profile.fail_count <= profile.total_calls
            for stats in profile.task_stats.values():
                assert min(stats.successes, stats.failures) >= 0
                assert stats.successes + stats.failures <= stats.calls

    @invariant()
    def quality_stays_in_0_to_1(self):
        for profile in self.tracker.all_profiles():
            assert 0.0 <= profile.ema_quality <= 1.0
            assert 0.0 <= profile.success_rate() <= 1.0
            for stats in profile.task_stats.values():
                assert 0.0 <= stats.ema_quality <= 1.0
                assert 0.0 <= stats.success_rate() <= 1.0


TestTracker = TrackerMachine.TestCase
TestTracker.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)

"""Follows inference calls from their start to what became of their answers, and keeps a profile per model."""

import os
from collections.abc import Iterable, Sequence
from typing import Final

from nexus.core.clock import Clock
from nexus.core.receipt import LedgerEntry, ReceiptReceiver
from nexus.core.request import Task
from nexus.outcomes.book import count_completions, count_failure, count_judgement
from nexus.outcomes.call import Call, CallDetails, PendingCall, clipped, clipped_reason
from nexus.outcomes.cooldown import is_rate_limit
from nexus.outcomes.outcome import (
    Action,
    CodeOutcome,
    InferredOutcome,
    Resolution,
    SignalResult,
    infer_from_actions,
)
from nexus.outcomes.state import TrackerState

ABANDONED_AFTER_SECONDS: Final = 86_400.0
FAILURE_FACTOR: Final = 0.8
RATE_LIMIT_FACTOR: Final = 0.1
_MAX_PENDING: Final = 10_000
_MAX_HELD: Final = 5_000
_MOST_CROWDED_OUT: Final = 64
_FOREVER: Final = float("inf")
_IGNORED: Final = Resolution("git", CodeOutcome.IGNORED.success, CodeOutcome.IGNORED.quality)


class OutcomeTracker(TrackerState):
    """Calls, the signals about them, and what both say of each model. Safe under threads.

    A call is counted when it ends: a completion with output is a success, a failure is a failure. Later at
    most one signal resolves it: it may take the success back, and moves the quality averages. Every resolved
    call becomes one receipt. No text of any conversation is taken, let alone kept.

    At most `max_pending` calls wait; beyond it the oldest completed ones, up to a hundredth at a time, are
    resolved as if their time were over.

    Args:
        clock: time; the machine's by default.
        git_deadline_seconds: how long calls with code suggestions wait, instead of the ttl of a sweep.
        receipts: told of every receipt, in the thread that resolved the call. Without it receipts wait for
            `drain_ledger`, at most 5,000, and the oldest are dropped.
        max_pending: calls that may wait at a time.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        git_deadline_seconds: float = 86_400.0,
        receipts: ReceiptReceiver | None = None,
        max_pending: int = _MAX_PENDING,
    ) -> None:
        super().__init__(clock, keeps_receipts=receipts is None)
        self._git_deadline = git_deadline_seconds
        self._deliver = receipts
        self._max_pending = max_pending
        self._crowd = max(1, min(_MOST_CROWDED_OUT, max_pending // 100))

    # --- calls

    def record_start(
        self, model_id: str, task: Task, routing_reason: str = "", *, trace_id: str | None = None
    ) -> str:
        """A call begins; returns its trace id: `trace_id`, or a new one, unique over processes and restarts.

        A call that runs already under `trace_id` gets the model, task and reason anew; one that has ended
        stays as it is. ValueError for a task that does not exist.
        """
        if type(task) is not Task:
            task = Task(task)
        key = trace_id or os.urandom(16).hex()
        reason = clipped_reason(routing_reason)
        crowded_out: Sequence[LedgerEntry] = ()
        with self._lock:
            calls = self._calls
            call = calls.running.get(key)
            if call is not None:
                call.model_id, call.task, call.routing_reason = model_id, task, reason
            elif key not in calls.completed and key not in calls.held and key not in self._receipts.recent:
                if len(calls) >= self._max_pending:
                    crowded_out = self._make_room()
                calls.running[key] = Call(key, model_id, task, reason, self._monotonic())
        if crowded_out:
            self._emit(*crowded_out)
        return key

    def record_complete(
        self,
        trace_id: str,
        latency_ms: float,
        input_tokens: int,
        output_tokens: int,
        *,
        has_output: bool | None = None,
        details: CallDetails | None = None,
    ) -> bool:
        """A call ended without an error; False (and no change) if it is unknown or has ended before.

        `has_output` is whether there was an answer at all, by default whether there are output tokens. A
        latency that is 0, negative or no number counts as unknown, tokens below 0 as 0.
        """
        with self._lock:
            call = self._calls.running.pop(trace_id, None)
            if call is None:
                return False
            call.latency_ms, call.input_tokens, call.output_tokens = latency_ms, input_tokens, output_tokens
            _tidy(call)
            call.has_output = output_tokens > 0 if has_output is None else has_output
            call.details = call.details if details is None else details
            call.completed_at = self._monotonic()
            entry = self._complete(call)
        if entry is not None:
            self._emit(entry)
        return True

    def record_calls(self, ended: Sequence[Call]) -> int:
        """`record_start` and `record_complete` in one, for who is told of calls once they are over.

        Takes the calls over, and sets `completed_at`. Returns how many were counted: not those that had
        ended before.
        """
        crowded_out: Sequence[LedgerEntry] = ()
        with self._lock:
            calls, receipts = self._calls, self._receipts.recent
            running, completed, held = calls.running, calls.completed, calls.held
            started: list[Call] = []
            new: dict[str, Call] = {}
            now = self._monotonic()
            for call in ended:
                key = call.trace_id
                if key in running:
                    started.append(call)
                elif not (key in completed or key in new or key in held or key in receipts):
                    _tidy(call)
                    call.completed_at = now
                    new[key] = call
                    if self._cooldowns:
                        self._cooldowns.answered(call.model_id)
            completed.put(new.values())
            count_completions(self._book, new.values(), self._time())
            surplus = len(completed) - self._max_pending
            if surplus > 0:
                crowded_out = self._expire(completed.take_oldest(max(surplus, self._crowd)))
        if crowded_out:
            self._emit(*crowded_out)
        for call in started:
            self.record_start(call.model_id, call.task, call.routing_reason, trace_id=call.trace_id)
            self.record_complete(
                call.trace_id,
                call.latency_ms,
                call.input_tokens,
                call.output_tokens,
                has_output=call.has_output,
                details=call.details,
            )
        return len(new) + len(started)

    def record_failure(
        self,
        trace_id: str,
        error: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        details: CallDetails | None = None,
    ) -> bool:
        """A call failed, before or after its completion; False (and no change) if it is unknown or resolved.

        `status` and `code` are the upstream's; 429 or a structured code such as `rate_limit_exceeded` makes
        it a rate limit, which leaves the model out for `retry_after` seconds. `error` is kept in at most 256
        characters, secrets masked.
        """
        with self._lock:
            call = self._calls.running.pop(trace_id, None) or self._calls.take_ended(trace_id)
            if call is None:
                return False
            limited = is_rate_limit(status, code)
            if limited:
                self._cooldowns.limited(call.model_id, retry_after)
            if details is not None:
                call.details = details
            count_failure(
                self._book.tally(call.model_id, self._time()),
                call.task,
                is_new=call.completed_at is None,
                credited=call.has_output,
                factor=RATE_LIMIT_FACTOR if limited else FAILURE_FACTOR,
            )
            signal = "rate_limit" if limited else "failure"
            entry = self._close(call, Resolution(signal, success=False, error=clipped(error)))
        self._emit(entry)
        return True

    # --- signals

    def record_inferred_outcome(
        self, trace_id: str, outcome: InferredOutcome, *, signal: str = "explicit"
    ) -> SignalResult:
        """How the answer of a call was taken; `signal` says who noticed, and stands in the receipt.

        Not applied if the call is unknown or resolved. For a call that still runs the first signal waits for
        its completion: it is applied then, unless the call fails.
        """
        return self._signal(trace_id, Resolution(signal, outcome.success, outcome.quality))

    def record_code_outcome(
        self, trace_id: str, outcome: CodeOutcome, *, signal: str = "explicit"
    ) -> SignalResult:
        """What became of the code that a call suggested. As `record_inferred_outcome` otherwise."""
        return self._signal(trace_id, Resolution(signal, outcome.success, outcome.quality))

    def resolve_pending_from_signals(
        self, signals: Iterable[tuple[str, InferredOutcome]], *, signal: str = "inferred"
    ) -> list[SignalResult]:
        """Apply several outcomes in order; one result each."""
        return [
            self.record_inferred_outcome(trace_id, outcome, signal=signal) for trace_id, outcome in signals
        ]

    @staticmethod
    def infer_outcomes_from_action_sequence(actions: Iterable[Action]) -> list[tuple[str, InferredOutcome]]:
        """What an agent's steps `(trace_id, success, confidence, output)` say of the calls; applies nothing.

        A failed step was rejected, one with output accepted if the next one succeeded (or there is none) and
        accepted with edits if it failed, one without output is inconclusive. Steps with a blank trace id are
        skipped. ValueError for a confidence outside [0, 1].
        """
        return infer_from_actions(actions)

    # --- code suggestions

    def attach_suggestions(self, trace_id: str, suggestions: Sequence[object]) -> bool:
        """Let a call wait for repository checks, which get `suggestions` back; False if it is not pending.

        They are what a check needs to recognise code, never its text. At most 5,000 calls wait for checks.
        """
        crowded_out: Sequence[LedgerEntry] = ()
        with self._lock:
            held = self._calls.held
            if len(held) >= _MAX_HELD:
                oldest = next(iter(held))
                crowded_out = self._expire([held.pop(oldest)])
            is_held = self._calls.hold(trace_id, suggestions)
        if crowded_out:
            self._emit(*crowded_out)
        return is_held

    def pending_suggestions(self) -> list[PendingCall]:
        """The completed calls that wait for a repository check, oldest first."""
        with self._lock:
            return self._calls.shown()

    def note_checked(self, trace_ids: Iterable[str]) -> None:
        """A repository was searched for these calls' code: with no find by the deadline they are ignored."""
        with self._lock:
            for trace_id in trace_ids:
                call = self._calls.held.get(trace_id)
                if call is not None:
                    call.checked = True

    # --- sweeping

    def sweep_pending(self, ttl_secs: float, now: float | None = None, *, limit: int | None = None) -> int:
        """Take out the calls whose time is over; returns how many that were, at most `limit`.

        Completed calls go `ttl_secs` after their completion, those with code suggestions at the git deadline:
        they become receipts that say success if there was output. Calls that have not ended after 24 hours
        are dropped and counted as abandoned. `now` is a reading of the tracker's monotonic clock.

        Raises:
            ValueError: `ttl_secs` is negative or not a number.
        """
        if not ttl_secs >= 0.0:
            raise ValueError(f"ttl_secs must not be negative, got {ttl_secs}")
        moment = self._monotonic() if now is None else now
        with self._lock:
            calls = self._calls
            abandoned = calls.take_abandoned(moment - ABANDONED_AFTER_SECONDS, limit)
            self._abandoned += len(abandoned)
            rest = None if limit is None else limit - len(abandoned)
            expired = calls.take_due(moment - ttl_secs, moment - self._git_deadline, rest)
            searched = [call for call in expired if call.checked]
            entries = self._expire([call for call in expired if not call.checked] if searched else expired)
            entries += [self._judge(call, _IGNORED) for call in searched]
        self._emit(*entries)
        return len(abandoned) + len(entries)

    def resolve_rest(self, limit: int | None = None) -> int:
        """Make receipts of completed calls, whatever they wait for: the end of the process is near.

        At most `limit` at a time (None: all), so that whoever takes the receipts can keep up. Returns their
        number.
        """
        with self._lock:
            entries = self._expire(self._calls.take_oldest(limit))
        self._emit(*entries)
        return len(entries)

    # --- under the lock

    def _complete(self, call: Call) -> LedgerEntry | None:
        """Count a completion; the receipt where a signal waited for it."""
        count_completions(self._book, (call,), self._time())
        if self._cooldowns:
            self._cooldowns.answered(call.model_id)
        if call.waiting is not None:
            return self._judge(call, call.waiting)
        if call.suggestions:
            self._calls.held[call.trace_id] = call
        else:
            self._calls.completed.put((call,))
        return None

    def _judge(self, call: Call, resolution: Resolution) -> LedgerEntry:
        count_judgement(
            self._book.tally(call.model_id, self._time()),
            call.task,
            success=resolution.success,
            quality=resolution.quality,
            credited=call.has_output,
        )
        return self._close(call, resolution)

    def _expire(self, calls: Sequence[Call]) -> list[LedgerEntry]:
        """Make receipts of calls that were taken out, and of whose answers nobody said a word."""
        return self._receipts.expire(calls, self._time())

    def _make_room(self) -> Sequence[LedgerEntry]:
        # Those that have code to wait for go only where there are no others.
        calls = self._calls
        oldest = calls.completed.take_oldest(self._crowd) or calls.take_oldest(self._crowd)
        if oldest:
            return self._expire(oldest)
        del calls.running[next(iter(calls.running))]
        self._abandoned += 1
        return ()

    def _close(self, call: Call, resolution: Resolution) -> LedgerEntry:
        return self._receipts.write(call, resolution, self._time())

    # --- outside it

    def _signal(self, trace_id: str, resolution: Resolution) -> SignalResult:
        with self._lock:
            call = self._calls.take_ended(trace_id)
            if call is None:
                return self._early(trace_id, resolution)
            entry = self._judge(call, resolution)
        self._emit(entry)
        return SignalResult(applied=True)

    def _early(self, trace_id: str, resolution: Resolution) -> SignalResult:
        call = self._calls.running.get(trace_id)
        if call is None:
            known = trace_id in self._receipts.recent
            return SignalResult(applied=False, reason="already resolved" if known else "unknown trace")
        if call.waiting is not None:
            return SignalResult(applied=False, reason="another signal waits for the completion already")
        call.waiting = resolution
        return SignalResult(applied=True, reason="waits for the completion of the call")

    def _emit(self, *entries: LedgerEntry) -> None:
        # Not under the lock: whoever is told may ask the tracker something.
        if self._deliver is not None and entries:
            self._deliver(*entries)


def _tidy(call: Call) -> None:
    """Make what a caller said of a call fit for counting and for keeping."""
    call.routing_reason = clipped_reason(call.routing_reason)
    if not 0.0 <= call.latency_ms < _FOREVER:
        call.latency_ms = 0.0
    if call.input_tokens < 0 or call.output_tokens < 0:
        call.input_tokens, call.output_tokens = max(0, call.input_tokens), max(0, call.output_tokens)

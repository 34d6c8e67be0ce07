"""What a tracker holds, and the ways to look at it."""

from collections.abc import Iterable

from nexus.core.clock import Clock
from nexus.core.receipt import LedgerEntry
from nexus.outcomes.call import FOLLOWED_UP, PendingCall
from nexus.outcomes.cooldown import Cooldowns
from nexus.outcomes.figures import TrackerFigures
from nexus.outcomes.keeper import ProfileKeeper
from nexus.outcomes.pending import PendingCalls, Receipts


class TrackerState(ProfileKeeper):
    """The calls that wait, the receipts, the models left out. Safe under threads."""

    _git_deadline: float

    def __init__(self, clock: Clock | None, *, keeps_receipts: bool) -> None:
        super().__init__(clock)
        self._cooldowns = Cooldowns(self._monotonic)
        self._calls = PendingCalls()
        self._receipts = Receipts(keeps=keeps_receipts)
        self._abandoned = 0

    def get_pending(self, trace_id: str) -> PendingCall | None:
        """A call that is not resolved yet, None for any other."""
        with self._lock:
            call = self._calls.find(trace_id)
            return None if call is None else call.shown()

    def is_pending(self, trace_id: str) -> bool:
        """Whether it waits for a signal, or still runs."""
        with self._lock:
            return self._calls.find(trace_id) is not None

    def pending_trace_ids(self) -> list[str]:
        """The calls that are not resolved yet, running ones included."""
        with self._lock:
            return self._calls.trace_ids()

    def note_followed_up(self, trace_id: str) -> LedgerEntry | None:
        """The conversation went on after this answer, without a word on it; that resolves nothing.

        Returns what its receipt will say unless a signal comes, None if the call waits no more, gave no
        output, or was noted before.
        """
        with self._lock:
            calls = self._calls
            call = calls.completed.get(trace_id) or calls.held.get(trace_id)
            if call is None or call.followed or not call.has_output:
                return None
            call.followed = True
            return call.receipt(FOLLOWED_UP, self._time())

    def receipt(self, trace_id: str) -> LedgerEntry | None:
        """The receipt of a call, None unless it is one of the 2,000 resolved last."""
        with self._lock:
            return self._receipts.recent.get(trace_id)

    @property
    def clock(self) -> Clock:
        """The clock that everything here is timed by."""
        return self._clock

    @property
    def git_deadline_seconds(self) -> float:
        """How long calls with code suggestions wait for a repository to show them."""
        return self._git_deadline

    def renew_suggestions(self, trace_id: str, suggestions: Iterable[object]) -> bool:
        """Replace what a waiting call suggested, after a check; False if it waits no more."""
        with self._lock:
            call = self._calls.held.get(trace_id)
            if call is None:
                return False
            call.suggestions = tuple(suggestions)
            return True

    def is_excluded(self, model_id: str) -> bool:
        """Whether the model is left out because of a rate limit."""
        with self._lock:
            return self._cooldowns.holds(model_id)

    def figures(self) -> TrackerFigures:
        """Counts for metrics."""
        with self._lock:
            return TrackerFigures(
                len(self._calls), self._abandoned, self._receipts.dropped, dict(self._receipts.resolutions)
            )

    def drain_ledger(self) -> list[LedgerEntry]:
        """The receipts since the last call, oldest first; they are the caller's now."""
        with self._lock:
            return self._receipts.drain()

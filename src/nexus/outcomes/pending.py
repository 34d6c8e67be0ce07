"""The calls that are not resolved yet, and the receipts of those that are. No locks."""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from typing import Final

from nexus.core.receipt import LedgerEntry
from nexus.outcomes.call import FOLLOWED_UP, Call, PendingCall
from nexus.outcomes.oldest_first import OldestFirst
from nexus.outcomes.outcome import Resolution

LEDGER_CAPACITY: Final = 5_000
_RESOLVED_KEPT: Final = 2_000
_WORDS: Final = {True: "success", False: "failure", None: "unknown"}
_EXPIRED_OUTPUT: Final = Resolution("expired", success=True)
_EXPIRED_EMPTY: Final = Resolution("expired")


class PendingCalls:
    """Calls by trace id, in three groups: each ordered by the time that decides when it is due.

    `running` ones are in the order of their start, `completed` and `held` ones in that of their completion.
    The held ones have code suggestions.
    """

    __slots__ = ("completed", "held", "running")

    def __init__(self) -> None:
        self.running: dict[str, Call] = {}
        self.completed: OldestFirst[Call] = OldestFirst()
        self.held: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self.running) + len(self.completed) + len(self.held)

    def find(self, trace_id: str) -> Call | None:
        """The call, whichever group it is in."""
        return self.running.get(trace_id) or self.completed.get(trace_id) or self.held.get(trace_id)

    def trace_ids(self) -> list[str]:
        """All of them, running ones first."""
        return [*self.running, *self.completed, *self.held]

    def take_ended(self, trace_id: str) -> Call | None:
        """Take out a call that does not run any more."""
        return self.completed.pop(trace_id, None) or self.held.pop(trace_id, None)

    def take_oldest(self, count: int | None) -> list[Call]:
        """Take out calls that do not run any more, the oldest completed ones first; at most `count`."""
        taken = self.completed.take_oldest(count)
        rest = None if count is None else count - len(taken)
        return taken + _take_first(self.held, rest, _always)

    def take_due(self, before: float, held_before: float, limit: int | None) -> list[Call]:
        """Take out calls that ended at `before` or earlier, held ones at `held_before`; at most `limit`."""
        taken = self.completed.take_oldest(limit, lambda call: _ended_by(call, before))
        rest = None if limit is None else limit - len(taken)
        return taken + _take_first(self.held, rest, lambda call: _ended_by(call, held_before))

    def take_abandoned(self, before: float, limit: int | None) -> list[Call]:
        """Take out calls that began at `before` or earlier and have not ended; at most `limit`."""
        return _take_first(self.running, limit, lambda call: call.started_at <= before)

    def hold(self, trace_id: str, suggestions: Iterable[object]) -> bool:
        """Give a call suggestions to wait for; whether there is such a call."""
        call = self.completed.pop(trace_id, None)
        if call is not None:
            self.held[trace_id] = call
        else:
            call = self.running.get(trace_id) or self.held.get(trace_id)
            if call is None:
                return False
        call.suggestions = (*call.suggestions, *suggestions)
        return True

    def shown(self) -> list[PendingCall]:
        """Copies of the held ones."""
        return [call.shown() for call in self.held.values()]


def _ended_by(call: Call, moment: float) -> bool:
    return call.completed_at is not None and call.completed_at <= moment


def _always(_call: Call) -> bool:
    return True


def _take_first(calls: dict[str, Call], count: int | None, due: Callable[[Call], bool]) -> list[Call]:
    """As `OldestFirst.take_oldest`, of calls of which few are taken out."""
    taken = list(takewhile(due, islice(calls.values(), count)))
    for call in taken:
        del calls[call.trace_id]
    return taken


class Receipts:
    """The receipts of the calls resolved last, the ones that wait to be collected, and counts of all.

    `recent` has those resolved last, by trace id. `resolutions` counts by signal and by the word success,
    failure or unknown. `dropped` ones found no room.
    """

    __slots__ = ("_keeps", "_waiting", "dropped", "recent", "resolutions")

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self.recent: OldestFirst[LedgerEntry] = OldestFirst()
        self._waiting: deque[LedgerEntry] = deque()
        self.resolutions: dict[tuple[str, str], int] = {}
        self.dropped = 0

    def write(self, call: Call, resolution: Resolution, timestamp: float) -> LedgerEntry:
        """Make the receipt of a call; `timestamp` is Unix time."""
        entry = call.receipt(resolution, timestamp)
        self._count(resolution, 1)
        self._keep([entry])
        return entry

    def expire(self, calls: Iterable[Call], timestamp: float) -> list[LedgerEntry]:
        """Make the receipts of calls on whose answer nobody said a word."""
        entries = []
        followed = empty = 0
        for call in calls:
            resolution = _EXPIRED_OUTPUT
            if call.followed:
                resolution = FOLLOWED_UP
                followed += 1
            elif not call.has_output:
                resolution = _EXPIRED_EMPTY
                empty += 1
            entries.append(call.receipt(resolution, timestamp))
        self._count(FOLLOWED_UP, followed)
        self._count(_EXPIRED_EMPTY, empty)
        self._count(_EXPIRED_OUTPUT, len(entries) - followed - empty)
        self._keep(entries)
        return entries

    def _count(self, resolution: Resolution, calls: int) -> None:
        if calls:
            key = (resolution.signal, _WORDS[resolution.success])
            self.resolutions[key] = self.resolutions.get(key, 0) + calls

    def _keep(self, entries: list[LedgerEntry]) -> None:
        """Let go of what is too old, and hold the new ones until they are collected."""
        recent = self.recent
        recent.put(entries)
        recent.take_oldest(len(recent) - _RESOLVED_KEPT)
        if self._keeps:
            waiting = self._waiting
            waiting.extend(entries)
            while len(waiting) > LEDGER_CAPACITY:
                waiting.popleft()
                self.dropped += 1

    def drain(self) -> list[LedgerEntry]:
        """What waits, oldest first; it is the caller's now."""
        entries = list(self._waiting)
        self._waiting.clear()
        return entries

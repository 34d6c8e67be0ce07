"""Breakers and gates around an attempt: reserve before it, settle after it."""

from typing import Final, TypeGuard

from nexus.core.decision import Candidate
from nexus.core.live import BackendLive, Gate
from nexus.core.outcome import AttemptResult

_LATENCY_WEIGHT: Final = 0.2
_NO_GATES: Final[tuple[Gate, ...]] = ()
_FIRST_THROTTLE_SECONDS: Final = 1.0
_MAX_THROTTLE_SECONDS: Final = 60.0
# Members of an enumeration are looked up slowly.
_SUCCESS: Final = AttemptResult.SUCCESS


def admit(candidate: Candidate) -> tuple[Gate, ...] | None:
    """The gates on which this attempt now holds a reservation; None when one of them refuses.

    A degraded candidate is used because nothing better is left: where a gate refuses, it goes without.
    """
    live = candidate.view.live
    breaker = live.breaker
    gate = live.gates.get(candidate.model) if live.gates else None
    if (breaker is None or breaker.is_closed) and (gate is None or gate.is_closed):
        return _NO_GATES
    held: list[Gate] = []
    for each in (breaker, gate):
        if each is None or each.is_closed:
            continue
        if not each.allow():
            for reserved in held:
                reserved.release()
            return _NO_GATES if candidate.degraded else None
        held.append(each)
    return tuple(held)


def begin(live: BackendLive) -> None:
    """Count an attempt that is being sent. Exactly one `settle` must follow."""
    live.pending += 1
    live.requests += 1


def settle(live: BackendLive, held: tuple[Gate, ...], result: AttemptResult, latency_ms: float) -> None:
    """Uncount an attempt and tell the gates what became of it. Cancelled or throttled is no verdict."""
    live.pending -= 1
    if result is _SUCCESS:
        live.throttles = 0
        known = live.latency_ms
        live.latency_ms = latency_ms if known == 0.0 else known + _LATENCY_WEIGHT * (latency_ms - known)
        for gate in held:
            gate.record_success()
        breaker = live.breaker
        if breaker is not None and breaker.is_closed and breaker not in held:
            breaker.record_success()
    elif result is AttemptResult.FAILURE:
        for gate in held:
            gate.record_failure()
        if _counts(live.breaker, held):
            live.breaker.record_failure()
    else:
        for gate in held:
            gate.release()


def condemn(live: BackendLive, held: tuple[Gate, ...]) -> tuple[Gate, ...]:
    """Tell the gates of a failure ahead of `settle`, which then has none left to tell."""
    for gate in held:
        gate.record_failure()
    if _counts(live.breaker, held):
        live.breaker.record_failure()
    return _NO_GATES


def _counts(breaker: Gate | None, held: tuple[Gate, ...]) -> TypeGuard[Gate]:
    # A straggler that was sent before the breaker opened says nothing about the backend's recovery.
    return breaker is not None and breaker.is_closed and breaker not in held


def pace(live: BackendLive, now: float, retry_after: float | None) -> float:
    """Leave a backend alone that answered 429: as long as it asked for, else growing. Returns the seconds."""
    live.throttles += 1
    seconds = retry_after
    if seconds is None:
        seconds = min(_MAX_THROTTLE_SECONDS, _FIRST_THROTTLE_SECONDS * 2.0 ** (live.throttles - 1))
    live.blocked_until = max(live.blocked_until, now + seconds)
    return seconds

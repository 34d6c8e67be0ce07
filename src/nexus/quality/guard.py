"""Whether a failing backend may be taken out of rotation, judged beside its peers. Pure: no clock, no I/O.

An hourly rate needs half an hour to notice a dead backend. This looks at the last few outcomes instead, at
each failure. And because taking backends out makes a problem of the whole fleet worse, it also says when not
to, and when to let those that are out back in.

    guard = EjectionGuard(GuardRules())
    guard.record("a", False, now)                  # every outcome, as it happens
    if guard.should_eject("a", pools, now): ...    # after a failure
    if guard.should_release("a", pools, now): ...  # for each one that is out, after a failure and on a timer
    guard.forget("a")                              # it recovered, or is gone

`pools` are the backends that can stand in for each other, one sequence of `Peer` per model that "a" serves,
"a" included. A backend alone in all its pools has no peers: it goes out after `failure_threshold` failures in
a row, as with any circuit breaker. `nexus.proxy.fast_path.FastPath` puts breakers around this.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence

from nexus.quality.guard_rules import GuardRules, Peer, Pools


class _Recent:
    """The last outcomes of one backend, and its failures in a row."""

    __slots__ = ("outcomes", "streak")

    def __init__(self, window: int) -> None:
        self.outcomes: deque[tuple[float, bool]] = deque(maxlen=window)
        self.streak = 0

    def since(self, oldest: float) -> tuple[int, int]:
        """Failures and outcomes not older than this."""
        outcomes = self.outcomes
        while outcomes and outcomes[0][0] < oldest:
            outcomes.popleft()
        return sum(1 for _, success in outcomes if not success), len(outcomes)


class EjectionGuard:
    """Recent outcomes of every backend, and the two decisions made from them. Times are monotonic seconds."""

    def __init__(self, rules: GuardRules) -> None:
        self.rules = rules
        self._recent: dict[str, _Recent] = {}

    def record(self, backend_id: str, success: bool, now: float) -> None:
        """Count the end of one attempt; an unknown backend starts to exist."""
        recent = self._recent.get(backend_id)
        if recent is None:
            recent = self._recent[backend_id] = _Recent(self.rules.window)
        recent.outcomes.append((now, success))
        recent.streak = 0 if success else recent.streak + 1

    def forget(self, backend_id: str) -> None:
        """Drop what was counted: it has recovered, or is gone."""
        self._recent.pop(backend_id, None)

    def known(self) -> tuple[str, ...]:
        """The backends with recent outcomes."""
        return tuple(self._recent)

    def share(self, backend_ids: Iterable[str], now: float) -> tuple[float, int]:
        """Share of failures in the recent outcomes of these backends together, and how many outcomes."""
        failures = count = 0
        oldest = now - self.rules.window_seconds
        for backend_id in backend_ids:
            recent = self._recent.get(backend_id)
            if recent is not None:
                failed, all_of_it = recent.since(oldest)
                failures += failed
                count += all_of_it
        return (failures / count if count else 0.0), count

    def should_eject(self, backend_id: str, pools: Pools, now: float) -> bool:
        """Whether it fails enough to go out, and can be spared. Ask after each failure."""
        recent = self._recent.get(backend_id)
        if recent is None or not recent.streak:
            return False
        shared = [pool for pool in pools if len(pool) > 1]
        if not shared:
            return recent.streak >= self.rules.failure_threshold
        others, _ = self._others(backend_id, shared, now)
        return (
            others <= self.rules.fleet_problem_share
            and self._fails_enough(recent, others, now)
            and all(self._can_spare(backend_id, pool, now) for pool in shared)
        )

    def should_release(self, backend_id: str, pools: Pools, now: float) -> bool:
        """Whether it must come back although it may still fail: the others can't do without it."""
        shared = [pool for pool in pools if len(pool) > 1]
        if not shared:
            return False
        others, count = self._others(backend_id, shared, now)
        if count >= self.rules.min_outcomes and others > self.rules.fleet_problem_share:
            return True
        if others and any(_ejected(pool) * 2 > len(pool) for pool in shared):
            return True
        return any(self._overloaded(backend_id, pool) for pool in shared)

    def _others(self, backend_id: str, pools: Pools, now: float) -> tuple[float, int]:
        """Share of failures of everybody else in rotation, less those that could go out with this one."""
        others = _in_rotation(backend_id, pools)
        spare = min(len(pool) // 2 - _out_with(backend_id, pool) for pool in pools)
        if spare > 0:
            shares = sorted(((self.share([each], now)[0], each) for each in others), reverse=True)
            for share, each in shares[:spare]:
                if share > self.rules.fleet_problem_share:
                    others.discard(each)
        return self.share(others, now)

    def _fails_enough(self, recent: _Recent, others: float, now: float) -> bool:
        rules = self.rules
        if recent.streak >= max(rules.failure_threshold, _run_by_chance(others, rules.chance)):
            return True
        if rules.error_rate_threshold is None:
            return False
        failures, count = recent.since(now - rules.window_seconds)
        if count < rules.min_outcomes:
            return False
        bound = wilson_lower_bound(failures, count, rules.z)
        return bound > rules.error_rate_threshold and bound > others + rules.margin

    def _can_spare(self, backend_id: str, pool: Sequence[Peer], now: float) -> bool:
        out = sum(1 for peer in pool if peer.out and peer.backend_id != backend_id)
        if out * 2 >= len(pool) or self._overloaded(backend_id, pool):
            return False
        if (out + 1) * 2 <= len(pool):
            return True
        failed, count = self.share(_in_rotation(backend_id, [pool]), now)
        return not failed and count >= self.rules.flawless

    def _overloaded(self, backend_id: str, pool: Sequence[Peer]) -> bool:
        """Whether those that remain are nearly full; one without a known limit never is."""
        pending = places = 0
        for peer in pool:
            if peer.out or peer.backend_id == backend_id:
                continue
            if peer.limit is None:
                return False
            pending += peer.pending
            places += peer.limit
        return pending > self.rules.max_load * places


def wilson_lower_bound(failures: int, count: int, z: float) -> float:
    """Lower end of the Wilson score interval for a share (Wilson 1927), in [0, 1]; `count` above 0."""
    share = failures / count
    spread = z * math.sqrt(share * (1.0 - share) / count + z * z / (4.0 * count * count))
    return max(0.0, (share + z * z / (2.0 * count) - spread) / (1.0 + z * z / count))


def _run_by_chance(share: float, chance: float) -> int:
    """Length of a run of failures that something failing this often has with at most this chance."""
    return math.ceil(math.log(chance) / math.log(share)) if 0.0 < share < 1.0 else 0


def _in_rotation(backend_id: str, pools: Pools) -> set[str]:
    """Everybody else who takes requests."""
    return {peer.backend_id for pool in pools for peer in pool if not peer.out} - {backend_id}


def _out_with(backend_id: str, pool: Sequence[Peer]) -> int:
    """How many are out once this one is."""
    return sum(1 for peer in pool if peer.out or peer.backend_id == backend_id)


def _ejected(pool: Sequence[Peer]) -> int:
    return sum(1 for peer in pool if peer.ejected)

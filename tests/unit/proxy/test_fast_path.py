"""Breakers of a whole fleet, driven in virtual time."""

import random
from collections.abc import Sequence

from nexus.core.backend import Backend, ModelInfo
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.core.live import BackendLive, SpendMeter
from nexus.proxy.fast_path import FastPath, configured_limit
from nexus.quality.guard_rules import GuardRules
from nexus.resilience import CircuitBreakerConfig
from nexus.testing import ManualClock


class Fleet:
    """Backends that all serve the model `m`; `size` of them, named "a", "b", …"""

    def __init__(self, size: int, *, limit: int = 0) -> None:
        views = [view(name, limit=limit) for name in "abcdefgh"[:size]]
        self.snapshot = snapshot_of(views)

    def live(self, backend_id: str) -> BackendLive:
        found = self.snapshot.view(backend_id)
        assert found is not None
        return found.live


def view(name: str, *, limit: int = 0, status: BackendStatus = BackendStatus.HEALTHY) -> BackendView:
    backend = Backend(name, name, f"http://{name}", max_concurrency=limit)
    return BackendView(backend, status, {"m": ModelInfo("m")}, BackendLive())


def snapshot_of(views: Sequence[BackendView]) -> FleetSnapshot:
    return FleetSnapshot(1, tuple(views), {"m": tuple(views)}, SpendMeter())


class Rig:
    """A fleet with a fast path over it."""

    def __init__(self, size: int, *, limit: int = 0) -> None:
        self.clock = ManualClock()
        self.fleet = Fleet(size, limit=limit)
        self.changes: list[tuple[str, str, str]] = []
        self.path = FastPath(
            self.fleet,
            breaker=CircuitBreakerConfig(
                success_threshold=2, timeout_seconds=8.0, first_timeout_seconds=2.0, jitter=0.0
            ),
            rules=GuardRules(),
            clock=self.clock,
            rng=random.Random(1),
            on_change=lambda *change: self.changes.append(change),
        )
        self.path.equip()

    def outcomes(self, **marks: str) -> None:
        """Outcomes as attempts report them: `.` a success, `x` a failure."""
        for backend_id, text in marks.items():
            for mark in text:
                breaker = self.fleet.live(backend_id).breaker
                assert breaker is not None
                if mark == ".":
                    breaker.record_success()
                else:
                    breaker.record_failure()

    def out(self) -> list[str]:
        return [name for name in "abcdefgh" if self.path.is_out(name)]


def test_a_failing_backend_goes_out_and_returns_through_its_half_open_breaker():
    rig = Rig(3)
    rig.outcomes(b="...", c="...", a="xxx")
    assert rig.out() == ["a"]
    breaker = rig.fleet.live("a").breaker
    assert breaker is not None
    assert not breaker.permits()
    rig.clock.advance(2.0)
    for _ in range(2):
        assert breaker.allow()
        breaker.record_success()
    assert rig.out() == []
    assert rig.changes == [("a", "closed", "open"), ("a", "open", "half_open"), ("a", "half_open", "closed")]


def test_old_failures_do_not_count_after_the_recovery():
    rig = Rig(3)
    rig.outcomes(b="...", a="xxx")
    rig.clock.advance(2.0)
    breaker = rig.fleet.live("a").breaker
    assert breaker is not None
    for _ in range(2):
        assert breaker.allow()
        breaker.record_success()
    rig.outcomes(a="xx")
    assert rig.out() == []
    rig.outcomes(a="x")
    assert rig.out() == ["a"]


def test_a_failed_test_doubles_the_wait():
    rig = Rig(3)
    rig.outcomes(b="...", a="xxx")
    rig.clock.advance(2.0)
    breaker = rig.fleet.live("a").breaker
    assert breaker is not None
    assert breaker.allow()
    breaker.record_failure()
    assert breaker.retry_after() == 4.0


def test_record_by_id_does_what_the_breaker_does():
    rig = Rig(2)
    for _ in range(4):
        rig.path.record("b", True, 0.0)
        rig.path.record("a", False, 0.0)
    rig.path.record("nobody", False, 0.0)
    assert rig.out() == ["a"]


def test_a_problem_of_the_whole_fleet_takes_nobody_out(caplog):
    rig = Rig(4)
    for _ in range(20):
        rig.outcomes(a="x", b="x", c="x", d="x")
    assert rig.out() == []
    told = [each.message for each in caplog.records if each.message.startswith("a keeps failing")]
    assert told == ["a keeps failing but stays in use: the others fail too, or are too few"]


def test_the_ejected_come_back_when_the_others_start_to_fail():
    rig = Rig(4)
    rig.outcomes(b="....", c="....", d="....", a="xxx")
    assert rig.out() == ["a"]
    rig.outcomes(b="xx", c="xx", d="x")
    assert rig.out() == []
    assert rig.changes[-1] == ("a", "open", "closed")


def test_the_ejected_come_back_when_the_others_are_nearly_full():
    rig = Rig(3, limit=10)
    rig.outcomes(b="....", c="....", a="xxx")
    rig.path.review()
    assert rig.out() == ["a"]
    rig.fleet.live("b").pending = 9
    rig.fleet.live("c").pending = 9
    rig.path.review()
    assert rig.out() == []


def test_review_does_nothing_while_all_are_in():
    rig = Rig(1)
    rig.path.review()
    assert rig.changes == []


def test_a_lone_backend_has_a_plain_breaker():
    rig = Rig(1)
    rig.outcomes(a="xxx")
    assert rig.out() == ["a"]


def test_members_that_come_and_go():
    rig = Rig(2)
    rig.outcomes(b="...", a="xxx")
    kept = rig.fleet.live("a").breaker
    rig.fleet.snapshot = snapshot_of([*rig.fleet.snapshot.backends[:1], view("c")])
    rig.path.equip()
    assert rig.fleet.live("a").breaker is kept
    assert rig.out() == ["a"]
    assert rig.fleet.live("c").breaker is not None
    rig.fleet.snapshot = snapshot_of([view("a"), view("c")])
    rig.path.equip()
    assert rig.out() == [], "another upstream under the same id starts anew"


def test_a_straggler_of_a_removed_backend_counts_for_nobody():
    rig = Rig(2)
    gone = rig.fleet.live("a").breaker
    assert gone is not None
    rig.fleet.snapshot = snapshot_of([view("b")])
    rig.path.equip()
    for _ in range(5):
        gone.record_failure()
    gone.record_success()
    assert rig.out() == []
    assert rig.path.guard.known() == ()


def test_new_settings_hold_from_the_next_failure_on():
    rig = Rig(2)
    rig.path.configure(
        CircuitBreakerConfig(timeout_seconds=5.0), GuardRules(failure_threshold=1, error_rate_threshold=None)
    )
    rig.outcomes(b=".", a="x")
    assert rig.out() == ["a"]
    breaker = rig.fleet.live("a").breaker
    assert breaker is not None
    assert breaker.retry_after() == 5.0


def test_switched_off_nobody_has_a_breaker():
    rig = Rig(2)
    rig.outcomes(b="...", a="xxx")
    rig.path.configure(CircuitBreakerConfig(), GuardRules(), enabled=False)
    assert rig.out() == []
    assert rig.fleet.live("a").breaker is None
    rig.path.equip()
    assert rig.fleet.live("a").breaker is None
    rig.path.configure(CircuitBreakerConfig(), GuardRules())
    assert rig.fleet.live("a").breaker is not None


def test_configured_limit():
    assert configured_limit(view("a", limit=3)) == 3
    assert configured_limit(view("a")) is None

"""The rules that say who may be taken out of rotation, and who must come back."""

import pytest

from nexus.quality.guard import EjectionGuard, wilson_lower_bound
from nexus.quality.guard_rules import GuardRules, Peer

NOW = 100.0


def pool(
    size: int = 4, *, out: tuple[str, ...] = (), pending: int = 0, limit: int | None = None
) -> list[Peer]:
    """Backends "a", "b", … that can stand in for each other."""
    names = "abcdefgh"[:size]
    return [Peer(name, ejected=name in out, pending=pending, limit=limit) for name in names]


def guard_with(rules: GuardRules | None = None, **outcomes: str) -> EjectionGuard:
    """A guard that has seen these outcomes just now: `.` a success, `x` a failure."""
    guard = EjectionGuard(rules or GuardRules())
    for backend_id, text in outcomes.items():
        for mark in text:
            guard.record(backend_id, mark == ".", NOW)
    return guard


def test_three_failures_in_a_row_are_enough_beside_sound_peers():
    guard = guard_with(a="..xx", b="....")
    assert not guard.should_eject("a", [pool()], NOW)
    guard.record("a", False, NOW)
    assert guard.should_eject("a", [pool()], NOW)


def test_a_success_ends_the_run_of_failures():
    assert not guard_with(a="xx.xx", b="....").should_eject("a", [pool()], NOW)


def test_an_unknown_backend_and_one_that_just_succeeded_stay():
    guard = guard_with(a="xxxxxxxx.")
    assert not guard.should_eject("a", [pool()], NOW)
    assert not guard.should_eject("b", [pool()], NOW)


@pytest.mark.parametrize(("others", "needed"), [("x" + "." * 9, 3), ("x" * 2 + "." * 8, 5), ("x" + "...", 5)])
def test_the_more_the_others_fail_the_longer_the_run_must_be(others, needed):
    """A run that chance would give the others once in a thousand is not held against anybody."""
    rules = GuardRules(error_rate_threshold=None)
    assert not guard_with(rules, a="x" * (needed - 1), b=others).should_eject("a", [pool()], NOW)
    assert guard_with(rules, a="x" * needed, b=others).should_eject("a", [pool()], NOW)


def test_a_share_that_is_surely_over_the_threshold_is_enough_without_a_run():
    text = "xx." * 8 + "xx"
    assert wilson_lower_bound(text.count("x"), len(text), 1.96) > 0.4
    rules = GuardRules(error_rate_threshold=0.4)
    assert guard_with(rules, a=text, b="........").should_eject("a", [pool()], NOW)
    higher = GuardRules(error_rate_threshold=0.7)
    assert not guard_with(higher, a=text, b="........").should_eject("a", [pool()], NOW)
    close = GuardRules(error_rate_threshold=0.4, margin=0.3)
    assert not guard_with(close, a=text, b="x..." * 5).should_eject("a", [pool()], NOW)


def test_fewer_than_five_outcomes_have_no_share():
    rules = GuardRules(failure_threshold=50, error_rate_threshold=0.1)
    assert not guard_with(rules, a="xxxx").should_eject("a", [pool()], NOW)
    assert guard_with(rules, a="xxxxx").should_eject("a", [pool()], NOW)


def test_nobody_goes_out_while_the_others_fail_too():
    rules = GuardRules(error_rate_threshold=None)
    assert not guard_with(rules, a="x" * 30, b="x..", c="x..").should_eject("a", [pool()], NOW)
    assert guard_with(rules, a="x" * 30, b="x...", c="x...").should_eject("a", [pool()], NOW)


def test_dead_backends_do_not_protect_each_other():
    """Of eight, four may go out: the three others that fail are not counted, a fourth is."""
    three = guard_with(a="xxx", b="xx", c="xx", d="xx", e="....", f="....", g="....", h="....")
    assert three.should_eject("a", [pool(8)], NOW)
    assert three.should_eject("a", [pool(8, out=("b", "c", "d"))], NOW)
    assert not three.should_release("b", [pool(8, out=("b",))], NOW)
    four = guard_with(a="xxx", b="xxxx", c="xxxx", d="xxxx", e="xxxx", f="....", g="....", h="....")
    assert not four.should_eject("a", [pool(8)], NOW), (
        "a quarter of the rest fails: three in a row may be chance"
    )
    assert guard_with(a="xxx", b="x.").should_eject("a", [pool()], NOW)


def test_failures_of_those_already_out_do_not_protect_another():
    guard = guard_with(a="xxx", b="xxxxxxxxxx", c="....", d="....")
    assert guard.should_eject("a", [pool(out=("b",))], NOW)


def test_old_outcomes_are_not_recent():
    guard = guard_with(b="xxxx")
    guard.record("a", False, NOW)
    assert guard.share(["b"], NOW + 60.0) == (1.0, 4)
    assert guard.share(["b"], NOW + 60.1) == (0.0, 0)


def test_nobody_goes_out_when_half_of_the_fleet_is_out():
    guard = guard_with(a="xxx", b="....", c="....", d="....")
    assert guard.should_eject("a", [pool(out=("b",))], NOW)
    assert not guard.should_eject("a", [pool(out=("b", "c"))], NOW)


def test_those_that_are_down_count_as_out():
    guard = guard_with(a="xxx", b="....")
    assert not guard.should_eject("a", [[Peer("a"), Peer("b", down=True)]], NOW)
    assert guard.should_eject("a", [[Peer("a"), Peer("b")]], NOW)


def test_of_three_the_second_goes_out_only_while_the_third_is_flawless():
    few = guard_with(a="xxx", c="." * 15)
    assert not few.should_eject("a", [pool(3, out=("b",))], NOW)
    few.record("c", True, NOW)
    assert few.should_eject("a", [pool(3, out=("b",))], NOW)
    assert not few.should_release("a", [pool(3, out=("a", "b"))], NOW)
    few.record("c", False, NOW)
    assert few.should_release("a", [pool(3, out=("a", "b"))], NOW)


def test_nobody_goes_out_when_the_rest_is_nearly_full():
    guard = guard_with(a="xxx", b="....")
    assert guard.should_eject("a", [pool(pending=17, limit=20)], NOW)
    assert not guard.should_eject("a", [pool(pending=18, limit=20)], NOW)


def test_a_backend_without_a_known_limit_always_has_room():
    guard = guard_with(a="xxx", b="....")
    peers = [Peer("a"), Peer("b", pending=9, limit=4), Peer("c", pending=1000)]
    assert guard.should_eject("a", [peers], NOW)


def test_every_model_is_looked_at():
    """It may be spared for one model and be the last one for another."""
    guard = guard_with(a="xxx", b="....")
    second = [Peer("a"), Peer("z", ejected=True)]
    assert not guard.should_eject("a", [pool(), second], NOW)


def test_without_peers_it_is_a_plain_breaker():
    guard = guard_with(a="xx")
    assert not guard.should_eject("a", [[Peer("a")]], NOW)
    guard.record("a", False, NOW)
    assert guard.should_eject("a", [[Peer("a")]], NOW)
    assert not guard.should_release("a", [[Peer("a", ejected=True)]], NOW)


def test_it_comes_back_once_the_others_fail_too():
    guard = guard_with(b="x", c="x", d="x..")
    out = [pool(out=("a",))]
    assert not guard.should_release("a", out, NOW), "four outcomes are too few, without those of b or c"
    guard.record("d", False, NOW)
    assert guard.should_release("a", out, NOW)


def test_it_comes_back_once_the_others_are_nearly_full():
    guard = guard_with(b="....")
    assert not guard.should_release("a", [pool(out=("a",), pending=17, limit=20)], NOW)
    assert guard.should_release("a", [pool(out=("a",), pending=18, limit=20)], NOW)


def test_a_forgotten_backend_starts_anew():
    guard = guard_with(a="xxx")
    assert guard.known() == ("a",)
    guard.forget("a")
    guard.forget("a")
    assert guard.known() == ()
    assert not guard.should_eject("a", [pool()], NOW)


def test_wilson_lower_bound_by_hand():
    """Five of five: 1 / (1 + z² / 5)."""
    assert wilson_lower_bound(5, 5, 1.96) == pytest.approx(1 / (1 + 1.96**2 / 5))
    assert wilson_lower_bound(0, 9, 1.96) == 0.0

"""`expected_time`: the cost of each backend, term by term, and the order that follows from it."""

import math
from collections import Counter
from typing import Any

import pytest

from nexus.config.model import QualitySettings
from nexus.core.backend import BackendType
from nexus.core.decision import Candidate, Decision, Verdict
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendView, FleetSnapshot
from nexus.core.flight import Flight
from nexus.core.learned import ModelLearned, PairLearned
from nexus.core.request import Needs
from nexus.routing.explanation import explain
from nexus.routing.strategies.expected_time import lower_bound
from tests.unit.routing.fleets import NOW, ask, fleet, order, router, serve

CALM = ExpectedTimeSettings(noise=0.0)
DEFAULTS = ExpectedTimeSettings()


def shared(base: float = 0.5, slope: float = 0.0, *, median: float = 1.0) -> ModelLearned:
    """What the backends of a model share."""
    model = ModelLearned(DEFAULTS)
    model.streamed.base, model.streamed.slope = base, slope
    model.whole.base = 10.0 * base
    model.median = median
    return model


def taught(
    view: BackendView,
    model: ModelLearned,
    *,
    slowness: float = 1.0,
    limit: float = 8.0,
    limited: bool = True,
    successes: float = 0.0,
    failures: float = 0.0,
    answers: int = 0,
) -> BackendView:
    """The same view, with something learned of its model `m`, just now."""
    pair = PairLearned(model, limit, NOW)
    pair.slowness, pair.limited, pair.answers = slowness, limited, answers
    pair.successes, pair.failures = successes, failures
    view.live.learned["m"] = pair
    model.pairs.append(pair)
    return view


def decide(
    snapshot: FleetSnapshot, *, tokens: int = 100, stream: bool = True, preview: bool = False, **settings: Any
) -> Decision:
    """A decision without noise, unless `tuning` says otherwise."""
    made = router(strategy="expected_time", **{"tuning": CALM, **settings})
    needs = Needs(stream=stream, input_tokens=tokens)
    return made.decide(ask(needs=needs), snapshot, NOW, preview=preview)


def only(view: BackendView, **settings: Any) -> Candidate:
    """A backend that alone serves the model, weighed all the same, as for an explanation."""
    (candidate,) = decide(fleet(view), preview=True, **settings).candidates
    return candidate


def cost(view: BackendView, **settings: Any) -> float:
    return -only(view, **settings).score


# --- the terms


def test_every_factor_is_a_term_and_their_product_is_the_cost() -> None:
    model = shared(0.2, 0.001)
    view = taught(serve("a", pending=3), model, slowness=2.0, limit=16.0, successes=6.0, failures=6.0)
    view.live.recovered_at = NOW - 5.0
    other = taught(serve("b"), model, successes=10.0)
    found = {c.view.backend.id: c for c in decide(fleet(view, other), tuning=DEFAULTS).candidates}["a"]
    terms = dict(found.terms)
    assert list(terms) == [
        "expected_s",
        "slowness",
        "pending",
        "limit",
        "failure_share",
        "fleet_failure_share",
        "penalty",
        "ramp",
        "noise",
    ]
    assert terms["expected_s"] == pytest.approx(0.3)
    assert terms["fleet_failure_share"] == pytest.approx(0.25)
    product = terms["expected_s"] * terms["slowness"] / terms["limit"]
    product *= (terms["pending"] / terms["ramp"] + 1) * terms["penalty"] * terms["noise"]
    assert found.score == pytest.approx(-product)


def test_a_longer_prompt_costs_more_and_whole_answers_have_their_own_line() -> None:
    view = taught(serve("a"), shared(0.2, 0.001))
    assert cost(view, tokens=100) == pytest.approx(0.3 / 8)
    assert cost(view, tokens=2000) == pytest.approx(2.2 / 8)
    assert cost(view, stream=False) == pytest.approx(2.0 / 8)


def test_nothing_known_is_the_first_guess_of_everything() -> None:
    assert cost(serve("a", pending=1)) == pytest.approx(DEFAULTS.first_guess * 2 / DEFAULTS.first_limit)


def test_an_unknown_backend_is_taken_for_a_middling_one() -> None:
    model = shared(median=3.0)
    model.median_limit = 20.0
    found = decide(fleet(serve("new"), taught(serve("old"), model, slowness=3.0, limit=20.0))).candidates
    assert found[0].score == pytest.approx(found[1].score) == pytest.approx(-0.5 * 3.0 / 20.0)


def test_pending_limit_and_slowness_move_the_order() -> None:
    model = shared()
    busy = fleet(taught(serve("a", pending=4), model), taught(serve("b", pending=3), model))
    assert order(decide(busy)) == ["b", "a"]
    large = fleet(taught(serve("a", pending=4), model, limit=32.0), taught(serve("b", pending=3), model))
    assert order(decide(large)) == ["a", "b"]
    slow = fleet(taught(serve("a", pending=3), model, slowness=2.0), taught(serve("b", pending=4), model))
    assert order(decide(slow)) == ["b", "a"]


def test_the_configured_limit_counts_where_there_is_one() -> None:
    view = taught(serve("a", limit=50), shared(), limit=4.0)
    assert dict(only(view).terms)["limit"] == 50


@pytest.mark.parametrize(("slowness", "used"), [(0.76, 1.0), (1.24, 1.0), (0.7, 0.7), (1.5, 1.5)])
def test_slowness_near_the_median_counts_as_the_median(slowness: float, used: float) -> None:
    assert dict(only(taught(serve("a"), shared(), slowness=slowness)).terms)["slowness"] == used


def test_an_overdue_first_token_makes_its_backend_look_slow_already() -> None:
    view = taught(serve("a"), shared())
    pair = view.live.learned["m"]
    flight = Flight(pair, 100, NOW - 12.0, expected=0.5, patience=1.5, pending=1, stream=True)
    pair.waiting[flight] = None
    pair.slowness_at = NOW - 14.0
    assert dict(only(view).terms)["slowness"] == pytest.approx(8.0)
    pair.slowness_at = NOW - 3.0  # somebody else's token came later than that
    assert dict(only(view).terms)["slowness"] == pytest.approx(2.0)
    pair.waiting.clear()
    assert dict(only(view).terms)["slowness"] == 1.0


def test_a_recovered_backend_starts_slowly() -> None:
    view = serve("a")
    for since, ramp in ((0.0, 0.1), (10.0, 0.55), (20.0, 1.0), (1e6, 1.0)):
        view.live.recovered_at = NOW - since * DEFAULTS.ramp_seconds / 20.0
        assert dict(only(view).terms)["ramp"] == pytest.approx(ramp)


def test_a_recovered_backend_that_is_idle_is_tried_at_once() -> None:
    view, busy = serve("a"), serve("b", pending=1)
    view.live.recovered_at = NOW
    assert decide(fleet(view, busy)).candidates[0].view is view
    view.live.pending = 1
    assert decide(fleet(view, busy)).candidates[0].view is busy


def test_the_budget_makes_cloud_backends_dearer() -> None:
    view = serve("cloud", kind=BackendType.OPENAI)
    snapshot = fleet(view, serve("desk"), month_usd=80)
    found = decide(snapshot, budget={"monthly_limit_usd": 100.0}).candidates
    assert [c.view.backend.id for c in found] == ["desk", "cloud"]
    assert dict(found[1].terms)["budget"] == 0.5
    assert found[1].score == pytest.approx(2.0 * found[0].score)


# --- failures


def test_the_lower_bound_is_below_the_share_and_nears_it() -> None:
    assert lower_bound(0.0, 10.0, 1.28) == pytest.approx(0.0, abs=1e-12)
    assert lower_bound(1.0, 1.0, 1.28) == pytest.approx(0.379, abs=0.001)
    assert lower_bound(4000.0, 10000.0, 1.28) == pytest.approx(0.4, abs=0.01)
    assert lower_bound(0.04, 0.1, 1.28) < lower_bound(4.0, 10.0, 1.28) < 0.4


def failing(*counts: tuple[float, float]) -> list[Candidate]:
    """The candidates b0, b1, … with these successes and failures, in their own order."""
    model = shared()
    views = [
        taught(serve(f"b{n}"), model, successes=good, failures=bad) for n, (good, bad) in enumerate(counts)
    ]
    return sorted(decide(fleet(*views)).candidates, key=lambda c: c.view.backend.id)


def test_significantly_more_failures_than_the_fleet_are_penalised() -> None:
    first, *others = failing((5.0, 5.0), (10.0, 0.0), (10.0, 0.0), (10.0, 0.0))
    excess = dict(first.terms)["failure_share"] / (1 - dict(first.terms)["failure_share"]) - 0.125 / 0.875
    assert dict(first.terms)["penalty"] == pytest.approx(1.0 + excess * 20.0 / 0.5)
    assert all(dict(each.terms)["penalty"] == 1.0 for each in others)


def test_a_long_prompt_is_risked_no_more_than_a_usual_one() -> None:
    model = shared(0.3, 0.001)
    model.streamed.weight, model.streamed.y = 10.0, 4.0
    bad = taught(serve("bad"), model, successes=20.0, failures=20.0)
    views = fleet(bad, taught(serve("good"), model, successes=10.0))

    def penalty(tokens: int) -> float:
        found = decide(views, tokens=tokens).candidates
        return max(dict(each.terms)["penalty"] for each in found)

    assert penalty(100) == pytest.approx(penalty(4000))
    assert penalty(10) > penalty(100), "a short one has less time to lose beside the fixed cost"


def test_the_penalty_is_bounded() -> None:
    first, *_ = failing((0.0, 500.0), (500.0, 0.0))
    assert dict(first.terms)["penalty"] == 1.0 + DEFAULTS.most_penalty


def test_when_all_fail_alike_nobody_is_penalised() -> None:
    assert all(dict(each.terms)["penalty"] == 1.0 for each in failing((6.0, 4.0), (60.0, 40.0), (6.0, 4.0)))
    assert all(dict(each.terms)["penalty"] == 1.0 for each in failing((0.0, 4.0), (0.0, 400.0)))


def test_one_blip_on_a_good_record_costs_little() -> None:
    first, _ = failing((60.0, 1.0), (60.0, 0.0))
    assert dict(first.terms)["penalty"] < 1.3


def test_a_single_failure_is_no_evidence() -> None:
    """However quick the answers are, beside which a failure weighs the more."""
    model = shared(0.01)
    views = [
        taught(serve("b0"), model, successes=2.0, failures=1.0),
        taught(serve("b1"), model, successes=3.0),
    ]
    assert all(dict(each.terms)["penalty"] == 1.0 for each in decide(fleet(*views)).candidates)


def test_many_fast_failures_of_one_do_not_become_the_norm() -> None:
    """The share to compare with is the mean over backends: the dead one has most of the outcomes."""
    first, *others = failing((0.0, 300.0), (3.0, 0.0), (3.0, 0.0))
    assert dict(first.terms)["fleet_failure_share"] == pytest.approx(1 / 3)
    assert dict(first.terms)["penalty"] > 20.0
    assert others[0].score > first.score


def test_failures_are_forgotten() -> None:
    model = shared()
    views = [taught(serve(f"b{n}"), model, successes=5.0) for n in range(5)]
    views.append(taught(serve("bad"), model, failures=5.0))
    made = router(strategy="expected_time", tuning=CALM)

    def penalty(now: float) -> float:
        found = made.decide(ask(), fleet(*views), now).candidates
        return max(dict(each.terms)["penalty"] for each in found)

    assert penalty(NOW) > penalty(NOW + 10) > penalty(NOW + 20) > 1.0
    assert penalty(NOW + 90) == 1.0


def test_failures_do_not_count_while_quality_is_off() -> None:
    model = shared()
    views = [taught(serve("a"), model, failures=50.0), taught(serve("b"), model, successes=5.0)]
    found = decide(fleet(*views), quality=QualitySettings(enabled=False)).candidates
    assert all(dict(each.terms)["penalty"] == 1.0 for each in found)


# --- priority, many candidates, chance


def test_a_lower_priority_number_goes_first_while_it_costs_at_most_twice_the_best() -> None:
    model = shared()

    def first(pending: int) -> str:
        views = (
            taught(serve("liked", priority=1, pending=pending), model),
            taught(serve("other", priority=50, pending=1), model),
        )
        return order(decide(fleet(*views)))[0]

    assert [first(pending) for pending in (1, 3, 4, 9)] == ["liked", "liked", "other", "other"]


def test_the_priority_rule_ranks_the_near_ones_and_leaves_the_rest_by_cost() -> None:
    views = (
        serve("near", priority=9, pending=1),
        serve("best", priority=50),
        serve("far", priority=1, pending=7),
        serve("farther", priority=1, pending=8),
    )
    assert order(decide(fleet(*views))) == ["near", "best", "far", "farther"]


def test_of_many_candidates_a_sample_is_compared() -> None:
    views = [serve(f"b{n}", pending=n % 7) for n in range(40)]
    snapshot = fleet(*views)
    made = router(strategy="expected_time", tuning=CALM)
    decision = made.decide(ask(), snapshot, NOW)
    scores = [candidate.score for candidate in decision.candidates]
    weighed = [score for score in scores if score > -math.inf]
    assert len(weighed) == DEFAULTS.sample
    assert weighed == sorted(weighed, reverse=True) == scores[: DEFAULTS.sample]
    assert {c.view.backend.id for c in decision.candidates} == {v.backend.id for v in views}
    assert decision.candidates[-1].terms == (("unweighed", 1.0),)
    explanation = explain(decision, ask(), snapshot)
    assert explanation.candidates[-1].score is None


def test_a_preview_and_a_fleet_with_priorities_compare_all() -> None:
    views = [serve(f"b{n}", priority=n % 2) for n in range(40)]
    assert all(c.score > -math.inf for c in decide(fleet(*views)).candidates)
    made = router(strategy="expected_time")
    plain = fleet(*(serve(f"b{n}") for n in range(40)))
    seen = made.decide(ask(), plain, NOW, preview=True)
    assert all(candidate.score > -math.inf for candidate in seen.candidates)


def test_noise_spreads_what_is_nearly_equal_and_nothing_else() -> None:
    model = shared()
    snapshot = fleet(
        taught(serve("a"), model), taught(serve("b"), model), taught(serve("c", pending=1), model)
    )
    made = router(strategy="expected_time")
    firsts = Counter(order(made.decide(ask(), snapshot, NOW))[0] for _ in range(1000))
    assert set(firsts) == {"a", "b"}
    assert min(firsts.values()) > 400


# --- propensity


def propensity(snapshot: FleetSnapshot, **settings: Any) -> float | None:
    return explain(decide(snapshot, tuning=DEFAULTS, **settings), ask(), snapshot).propensity


def test_the_propensity_is_the_chance_that_the_noise_left() -> None:
    assert propensity(fleet(serve("a"), serve("b"), serve("c"))) == pytest.approx(1 / 3, abs=0.01)
    assert propensity(fleet(serve("a"), serve("b", pending=1))) == pytest.approx(1.0)


def test_the_propensity_agrees_with_how_often_it_happens() -> None:
    model = shared()
    model.median = 10.0
    views = (taught(serve("a"), model, slowness=1.0), taught(serve("b"), model, slowness=1.02))
    snapshot = fleet(*views)
    made = router(strategy="expected_time")
    chances: dict[str, float] = {}
    firsts: Counter[str] = Counter()
    for _ in range(3000):
        decision = made.decide(ask(needs=Needs(stream=True)), snapshot, NOW)
        first = order(decision)[0]
        firsts[first] += 1
        if first not in chances:
            chances[first] = explain(decision, ask(), snapshot).propensity or 0.0
    assert sum(chances.values()) == pytest.approx(1.0, abs=0.01)
    for name, chance in chances.items():
        assert firsts[name] / 3000 == pytest.approx(chance, abs=0.03)


def test_the_propensity_of_a_sampled_one_counts_the_sampling() -> None:
    snapshot = fleet(*(serve(f"b{n}") for n in range(40)))
    assert propensity(snapshot) == pytest.approx(1 / 40, rel=0.02)


def test_what_a_rule_put_first_has_the_propensity_one() -> None:
    assert propensity(fleet(serve("liked", priority=1), serve("other"))) == 1.0
    settings = QualitySettings(fallback_backend="a")
    views = (serve("a", rate=0.9, pending=5), serve("b", rate=0.9))
    assert propensity(fleet(*views), quality=settings) == 1.0


# --- learned limits make requests wait


def full(*, answers: int = 99, limited: bool = True, configured: int = 0) -> BackendView:
    view = serve("a", pending=8, limit=configured)
    return taught(view, shared(), limit=8.0, answers=answers, limited=limited)


def test_a_backend_at_its_learned_limit_is_left_out_or_waited_for() -> None:
    assert order(decide(fleet(full(), serve("b")), queueing=True)) == ["b"]
    decision = decide(fleet(full(), serve("b")), queueing=True)
    assert decision.rejections[0].reason == "At its learned limit of 8 concurrent requests (8 pending)"
    assert "set max_concurrency" in decision.rejections[0].suggested_action
    assert decide(fleet(full()), queueing=True).verdict is Verdict.QUEUE


@pytest.mark.parametrize(
    "view", [full(answers=49), full(limited=False), full(configured=9)], ids=["new", "untried", "configured"]
)
def test_a_limit_that_is_not_known_well_makes_nobody_wait(view: BackendView) -> None:
    assert decide(fleet(view), queueing=True).verdict is Verdict.ROUTE


def test_where_nobody_can_wait_learned_limits_only_steer() -> None:
    assert decide(fleet(full())).verdict is Verdict.ROUTE
    assert order(decide(fleet(full(), serve("b")))) == ["b", "a"]

"""The chooser learns qualities, costs and times, explores with known probability, and keeps conversations."""

from collections import Counter
from random import Random

import pytest

from nexus.core.choice import ModelArm
from nexus.core.request import Task
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.settings import ChoiceSettings

ARMS = (ModelArm("a", 0.0), ModelArm("b", 0.0), ModelArm("c", 0.0))
CODE = Task.CODE


def make(seed: int = 1, **settings) -> AdaptiveChooser:
    cooling = settings.pop("is_cooling", None)
    return AdaptiveChooser(ChoiceSettings(**settings), Random(seed), is_cooling=cooling)


def pick(chooser: AdaptiveChooser, arms=ARMS, **changes):
    options = {"conversation": None, "now": 0.0, "preview": False, **changes}
    return chooser.choose(
        changes.pop("task", CODE), arms, **{k: v for k, v in options.items() if k != "task"}
    )


def teach(chooser: AdaptiveChooser, times: int = 60, task: Task = CODE, **quality: float) -> None:
    for _ in range(times):
        for model, value in quality.items():
            chooser.observe(model, task, quality=value)


def test_before_any_evidence_the_belief_is_the_prior_alone():
    belief = make().belief("a", CODE)
    assert belief.mean == pytest.approx(0.9)
    assert belief.prior_share == 1.0
    assert belief.low < 0.9 < belief.high


def test_one_observation_moves_parent_and_child_as_the_formula_says():
    chooser = make()
    chooser.observe("a", CODE, quality=0.0)
    parent = 20 * 0.9 / 21
    assert chooser.belief("a", CODE).mean == pytest.approx(60 * parent / 61)
    assert chooser.belief("a", CODE).prior_share == pytest.approx(60 / 61 * 20 / 21)
    assert chooser.belief("a", Task.GENERATE).mean == pytest.approx(parent)


def test_observations_are_discounted_by_the_decay_of_parent_and_child():
    chooser = make()
    chooser.observe("a", CODE, quality=1.0)
    chooser.observe("a", CODE, quality=0.0)
    parent = (20 * 0.9 + 0.99) / (20 + 0.99 + 1)
    assert chooser.belief("a", CODE).mean == pytest.approx((60 * parent + 0.98) / (60 + 0.98 + 1))


def test_weight_is_the_size_of_an_observation_and_of_what_it_ages():
    light, halves = make(), make()
    light.observe("a", CODE, quality=0.0, weight=0.0)
    assert light.belief("a", CODE).prior_share == 1.0
    halves.observe("a", CODE, quality=0.0, weight=0.5)
    assert halves.belief("a", Task.GENERATE).mean == pytest.approx(18 / 20.5)


def test_the_interval_narrows_with_evidence_and_covers_the_mean():
    chooser = make()
    before = chooser.belief("a", CODE)
    teach(chooser, a=0.8)
    after = chooser.belief("a", CODE)
    assert after.high - after.low < before.high - before.low
    assert after.samples > before.samples
    assert after.low < after.mean < after.high


def test_an_arrived_answer_is_no_evidence_of_quality_but_a_failed_call_is():
    chooser = make()
    chooser.observe("a", CODE, success=True)
    assert chooser.belief("a", CODE).mean == pytest.approx(0.9)
    chooser.observe("a", CODE, success=False)
    assert chooser.belief("a", CODE).mean < 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": 1.1},
        {"quality": float("nan")},
        {"weight": -0.1},
        {"cost_usd": -1.0},
        {"seconds": float("nan")},
    ],
)
def test_impossible_observations_are_refused_and_leave_nothing(wrong):
    chooser = make()
    with pytest.raises(ValueError, match="must be"):
        chooser.observe("a", CODE, **wrong)
    assert chooser.belief("a", CODE).prior_share == 1.0


def test_the_better_model_is_chosen_once_it_is_known():
    chooser = make(exploration=0.0)
    teach(chooser, a=0.5, b=0.95, c=0.7)
    assert [each.model for each in pick(chooser).ranking] == ["b", "c", "a"]


def test_a_model_may_be_best_at_one_task_only():
    chooser = make(exploration=0.0)
    teach(chooser, a=1.0, b=0.6)
    teach(chooser, task=Task.GENERATE, a=0.6, b=1.0)
    pair = ARMS[:2]
    assert pick(chooser, pair).ranking[0].model == "a"
    assert pick(chooser, pair, task=Task.GENERATE).ranking[0].model == "b"


def test_of_equally_good_models_the_cheaper_one_wins_by_actual_cost():
    chooser = make(exploration=0.0)
    for _ in range(5):
        chooser.observe("a", CODE, cost_usd=0.01)
        chooser.observe("b", CODE, cost_usd=0.0001)
    arms = (ModelArm("a", 0.00001), ModelArm("b", 0.05))
    ranking = pick(chooser, arms).ranking
    assert ranking[0].model == "b"
    assert ranking[0].terms["cost_term"] == pytest.approx(0.25)
    assert ranking[1].terms["cost_term"] == pytest.approx(0.75)


def test_an_unseen_model_costs_its_estimate_and_an_unknown_price_counts_as_middling():
    ranking = pick(
        make(exploration=0.0), (ModelArm("a", 0.1), ModelArm("b", None), ModelArm("c", 0.0))
    ).ranking
    assert {each.model: each.terms["cost_term"] for each in ranking} == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_cost_at_another_task_stands_in_until_there_is_one_for_this_task():
    chooser = make(exploration=0.0)
    chooser.observe("a", Task.GENERATE, cost_usd=0.1)
    assert pick(chooser, (ModelArm("a", 0.0),)).ranking[0].terms["cost_term"] == pytest.approx(1.0)


def test_of_equally_good_models_the_faster_one_wins():
    chooser = make(exploration=0.0)
    chooser.observe("a", CODE, seconds=10.0)
    ranking = pick(chooser, (ModelArm("a", 0.0), ModelArm("b", 0.0, expected_seconds=1.0))).ranking
    assert [each.model for each in ranking] == ["b", "a"]
    assert ranking[1].terms["time_term"] == pytest.approx(0.5)


def test_utility_is_the_weighted_sum_of_its_terms():
    chooser = make(quality_weight=2.0, cost_weight=0.3, latency_weight=0.2)
    chooser.observe("a", CODE, quality=0.4, cost_usd=0.003, seconds=3.0)
    ranked = pick(chooser, (ModelArm("a"),)).ranking[0]
    terms = ranked.terms
    assert ranked.utility == pytest.approx(
        2.0 * terms["quality"] - 0.3 * terms["cost_term"] - 0.2 * terms["time_term"]
    )


def test_first_choices_come_as_often_as_their_propensities_say():
    chooser = make(exploration=0.3)
    teach(chooser, a=0.9, b=0.6, c=0.3)
    expected = {each.model: each.propensity for each in pick(chooser, preview=True).ranking}
    assert expected == pytest.approx({"a": 0.8, "b": 0.1, "c": 0.1})
    seen = Counter(pick(chooser).ranking[0].model for _ in range(6000))
    for model, propensity in expected.items():
        assert seen[model] / 6000 == pytest.approx(propensity, abs=0.02)


def test_ties_share_the_chance_evenly():
    chooser = make(exploration=0.1)
    teach(chooser, c=0.2)
    choice = pick(chooser, preview=True)
    assert {each.model: each.propensity for each in choice.ranking} == pytest.approx(
        {"a": 0.45 + 0.1 / 3, "b": 0.45 + 0.1 / 3, "c": 0.1 / 3}
    )
    seen = Counter(pick(chooser).ranking[0].model for _ in range(4000))
    assert seen["a"] / 4000 == pytest.approx(0.45 + 0.1 / 3, abs=0.03)


def test_explored_choices_are_marked_and_as_frequent_as_set():
    chooser = make(exploration=0.2)
    assert sum(pick(chooser).explored for _ in range(4000)) / 4000 == pytest.approx(0.2, abs=0.02)
    assert not any(pick(make(exploration=0.0)).explored for _ in range(50))


def test_a_preview_changes_nothing_that_a_later_choice_would_notice():
    one, other = make(exploration=0.5), make(exploration=0.5)
    for _ in range(20):
        pick(other, preview=True, conversation="x")
    later = [pick(one, conversation=str(n)).ranking for n in range(30)]
    assert later == [pick(other, conversation=str(n)).ranking for n in range(30)]
    assert not pick(other, conversation="x").sticky


def test_a_conversation_keeps_its_model_though_another_has_become_better():
    chooser = make(exploration=0.0)
    teach(chooser, a=0.95, b=0.5, c=0.5)
    assert pick(chooser, conversation="talk").ranking[0].model == "a"
    teach(chooser, times=200, a=0.1)
    kept = pick(chooser, conversation="talk")
    assert kept.sticky
    assert kept.ranking[0].model == "a"
    assert [each.propensity for each in kept.ranking] == [1.0, 0.0, 0.0]
    assert pick(chooser, conversation="another").ranking[0].model != "a"


def test_a_conversation_moves_on_when_its_model_is_not_among_the_arms():
    chooser = make(exploration=0.0)
    teach(chooser, a=0.95, b=0.6, c=0.5)
    pick(chooser, conversation="talk")
    moved = pick(chooser, ARMS[1:], conversation="talk")
    assert not moved.sticky
    assert moved.ranking[0].model == "b"
    assert pick(chooser, conversation="talk").ranking[0].model == "b"


def test_a_conversation_is_forgotten_after_its_idle_time():
    chooser = make(exploration=0.0, conversation_idle_seconds=60.0)
    pick(chooser, conversation="talk", now=0.0)
    assert pick(chooser, conversation="talk", now=60.0).sticky
    assert not pick(chooser, conversation="talk", now=121.0).sticky


def test_only_the_most_recent_conversations_are_remembered():
    chooser = make(exploration=0.0, max_conversations=2)
    for name in ("one", "two", "one", "three"):
        pick(chooser, conversation=name)
    assert pick(chooser, conversation="one", preview=True).sticky
    assert not pick(chooser, conversation="two", preview=True).sticky


def test_a_cooling_model_goes_last_is_never_drawn_and_loses_no_esteem():
    cooling = {"a"}
    chooser = make(exploration=0.5, is_cooling=cooling.__contains__)
    teach(chooser, a=1.0, b=0.5, c=0.4)
    before = chooser.belief("a", CODE)
    for _ in range(100):
        choice = pick(chooser)
        assert choice.ranking[-1].model == "a"
        assert choice.ranking[-1].propensity == 0.0
    assert chooser.belief("a", CODE) == before
    cooling.clear()
    assert pick(chooser, preview=True).ranking[0].model == "a"


def test_when_every_model_is_cooling_all_are_open():
    chooser = make(is_cooling=lambda _: True)
    assert sum(each.propensity for each in pick(chooser).ranking) == pytest.approx(1.0)


def test_without_arms_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match="no model"):
        pick(make(), ())


def test_the_probability_of_being_best_follows_the_evidence():
    chooser = make()
    assert pick(chooser, preview=True).ranking[0].terms["best"] == pytest.approx(1 / 3)
    teach(chooser, a=0.95, b=0.5, c=0.5)
    terms = pick(chooser, preview=True).ranking[0].terms
    assert terms["best"] > 0.95
    assert terms["propensity"] == pytest.approx(0.95 + 0.05 / 3)


def test_evidence_is_kept_for_a_bounded_number_of_models():
    chooser = make()
    for number in range(4097):
        chooser.observe(f"m{number}", CODE, quality=0.0)
    assert chooser.belief("m4095", CODE).mean < 0.9
    assert chooser.belief("m4096", CODE).mean == pytest.approx(0.9)


def test_the_budgets_factor_lowers_a_utility_and_shows():
    ranking = pick(make(exploration=0.0), (ModelArm("a", 0.0, factor=0.5), ModelArm("b", 0.0))).ranking
    assert [each.model for each in ranking] == ["b", "a"]
    assert ranking[1].utility == pytest.approx(0.45)
    assert ranking[1].terms["budget_factor"] == 0.5
    assert "budget_factor" not in ranking[0].terms


@pytest.mark.parametrize(
    "wrong",
    [
        {"exploration": 1.5},
        {"prior_mean": 1.0},
        {"cost_weight": -0.1},
        {"task_mass": 0.0},
        {"model_decay": 0.0},
        {"cost_low_usd": 0.1, "cost_high_usd": 0.1},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|over"):
        ChoiceSettings(**wrong)

"""Estimates from receipts find the true value of a policy that did not choose, and say how sure they are."""

from random import Random

import pytest

from nexus.core.choice import ModelArm
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.learning import learn_from
from nexus.outcomes.choice.settings import ChoiceSettings
from nexus.outcomes.choice.what_if import Estimate, mean_of, what_if
from nexus.outcomes.choice.what_if_policies import (
    PolicyError,
    Replayed,
    parse_policy,
)

# The chance that an answer is taken, by task and model: what no receipt says and the tests know.
TRUE = {
    (Task.CODE, "small"): 0.3,
    (Task.CODE, "large"): 0.9,
    (Task.GENERATE, "small"): 0.8,
    (Task.GENERATE, "large"): 0.7,
}
MODELS = ("large", "small")


def receipt(model="small", task=Task.CODE, **fields) -> LedgerEntry:
    values = {"quality": 1.0, "propensity": 0.5, "candidates": MODELS, **fields}
    return LedgerEntry("t", model, task, "adaptive:exploit", 100.0, 10, 10, 1, 1.0, **values)


def logged(count: int, seed: int, exploration: float = 0.2) -> list[LedgerEntry]:
    """The receipts of a chooser at work on answers whose true quality is known."""
    rng = Random(seed)
    chooser = AdaptiveChooser(ChoiceSettings(exploration=exploration), rng)
    arms = tuple(ModelArm(model, 0.0) for model in MODELS)
    entries = []
    for _ in range(count):
        task = rng.choice((Task.CODE, Task.GENERATE))
        first = chooser.choose(task, arms, conversation=None, now=0.0, preview=False).ranking[0]
        quality = float(rng.random() < TRUE[task, first.model])
        entries.append(receipt(first.model, task, quality=quality, propensity=first.propensity))
        learn_from(chooser, entries[-1])
    return entries


def quality(entry: LedgerEntry) -> float | None:
    return entry.quality


@pytest.mark.parametrize(
    ("policy", "true_value"),
    [
        ("always:small", 0.55),
        ("always:large", 0.8),
        ("uniform", 0.675),
        ("by-task:code=large,generate=small", 0.85),
        ("by-task:code=small,generate=large", 0.5),
    ],
)
def test_the_estimates_find_the_known_value_of_a_policy(policy, true_value):
    found = what_if(logged(4000, seed=11, exploration=0.5), parse_policy(policy), quality)
    for estimate in (found.inverse_propensity, found.self_normalised):
        assert estimate.mean == pytest.approx(true_value, abs=0.05)
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= true_value <= estimate.high
    assert found.mean_weight == pytest.approx(1.0, abs=0.1)
    assert found.used == 4000


def test_the_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = {"inverse_propensity": 0, "self_normalised": 0}
    for seed in range(60):
        found = what_if(logged(300, seed), parse_policy("always:large"), quality)
        for name in covered:
            estimate = getattr(found, name)
            covered[name] += estimate.low <= 0.8 <= estimate.high
    assert all(50 <= count <= 60 for count in covered.values()), covered


def test_the_self_normalised_interval_is_the_narrower_one():
    found = what_if(logged(2000, seed=3), parse_policy("always:large"), quality)
    assert width(found.self_normalised) < width(found.inverse_propensity)


def width(estimate: Estimate) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.high - estimate.low


def test_what_really_happened_has_weight_one_and_the_logged_mean():
    entries = [receipt("small", quality=q) for q in (0.2, 0.6)] + [receipt("large", quality=1.0)] * 2
    found = what_if(entries, parse_policy("uniform"), quality)
    assert found.logged.mean == pytest.approx(0.7)
    assert found.inverse_propensity.mean == pytest.approx(0.7)
    assert found.effective == pytest.approx(4.0)


def test_a_replayed_chooser_learns_to_do_better_than_chance():
    entries = logged(2000, seed=5, exploration=1.0)
    found = what_if(entries, Replayed(ChoiceSettings(exploration=0.0)), quality)
    assert found.logged.mean == pytest.approx(0.675, abs=0.03)
    assert found.self_normalised.low is not None
    assert found.self_normalised.low > 0.7


def test_a_conversation_that_kept_its_model_is_left_out_and_counted():
    entries = [receipt(propensity=1.0), receipt(propensity=1.0, candidates=("small",)), receipt()]
    found = what_if(entries, parse_policy("uniform"), quality)
    assert (found.receipts, found.used, found.not_random) == (3, 2, 1)


def test_candidates_that_the_policy_cannot_choose_among_are_left_out_and_counted():
    found = what_if([receipt()], parse_policy("always:huge"), quality)
    assert (found.used, found.not_offered) == (0, 1)
    assert found.self_normalised == Estimate(None, None, None)


@pytest.mark.parametrize(
    "unusable",
    [
        {"quality": None},
        {"propensity": None},
        {"propensity": 0.0},
        {"candidates": None},
        {"candidates": ("x",)},
    ],
)
def test_receipts_that_say_nothing_are_not_used(unusable):
    found = what_if([receipt(**unusable)], parse_policy("uniform"), quality)
    assert (found.receipts, found.used, found.not_random, found.not_offered) == (1, 0, 0, 0)


def test_a_single_receipt_has_a_mean_and_no_interval():
    found = what_if([receipt(quality=0.4)], parse_policy("uniform"), quality)
    assert found.self_normalised == Estimate(0.4, None, None)
    assert mean_of([0.4]) == Estimate(0.4, None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("best", "always:MODEL"),
        ("always:", "no policy"),
        ("by-task:code", "TASK=MODEL"),
        ("by-task:dance=m", "generate"),
        ("adaptive:speed=1", "exploration"),
        ("adaptive:exploration=lots", "number"),
        ("adaptive:exploration=2", "exploration"),
    ],
)
def test_a_policy_that_is_none_is_refused_with_what_there_is(text, said):
    with pytest.raises(PolicyError, match=said):
        parse_policy(text)


def test_adaptive_takes_its_settings():
    assert isinstance(parse_policy("adaptive"), Replayed)
    assert isinstance(parse_policy("adaptive:exploration=0.1,cost_weight=0.3"), Replayed)

"""What receipts of each kind teach the chooser."""

from random import Random
from statistics import fmean

import pytest
from msgspec import structs

from nexus.core.choice import ModelArm
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.learning import INFERRED_WEIGHT, evidence_of, learn_from
from nexus.outcomes.choice.settings import ChoiceSettings
from nexus.outcomes.signals.weights import reliability_of


def receipt(**fields) -> LedgerEntry:
    return LedgerEntry(
        "t", "m", Task.CODE, "adaptive:exploit", fields.pop("latency_ms", 2000.0), 1, 1, 1, 1.0, **fields
    )


def test_what_somebody_says_outright_counts_with_its_quality_and_in_full():
    found = evidence_of(receipt(quality=0.63, success=True, signal="explicit"))
    assert (found.quality, found.weight) == (0.63, 1.0)


@pytest.mark.parametrize(("success", "quality"), [(True, 1.0), (False, 0.0)])
def test_of_an_inferred_signal_the_direction_counts_by_its_reliability(success, quality):
    entry = receipt(quality=0.4, success=success, signal="asked_again+quick_follow_up")
    assert evidence_of(entry).quality == quality
    assert evidence_of(entry).weight == reliability_of("asked_again+quick_follow_up")


def test_a_signal_that_was_not_measured_counts_with_the_least_weight():
    found = evidence_of(receipt(quality=0.4, success=True, signal="inferred"))
    assert (found.quality, found.weight) == (1.0, INFERRED_WEIGHT)


def test_an_answer_followed_up_quietly_counts_a_little_for_its_model():
    found = evidence_of(receipt(success=True, cost_usd=0.002, signal="followed_up"))
    assert (found.quality, found.cost_usd, found.seconds) == (1.0, 0.002, 2.0)
    assert 0.0 < found.weight < INFERRED_WEIGHT


def share_of_the_better(seed: int, *, quiet: bool) -> float:
    """Of the last 250 of 1,000 choices; people complain about 10 % of one's answers, 60 % of the other's."""
    rng = Random(seed)
    chooser = AdaptiveChooser(ChoiceSettings(), rng)
    arms, complaints = (ModelArm("better", 0.0), ModelArm("worse", 0.0)), {"better": 0.1, "worse": 0.6}
    chosen = []
    for _ in range(1000):
        choice = chooser.choose(Task.CODE, arms, conversation=None, now=0.0, preview=False)
        chosen.append(model := choice.ranking[0].model)
        entry = receipt(success=True, signal="followed_up")
        if rng.random() < complaints[model]:
            entry = receipt(success=False, quality=0.1, signal="asked_again")
        elif not quiet:
            continue
        learn_from(chooser, structs.replace(entry, model_id=model))
    return chosen[-250:].count("better") / 250


def test_the_better_model_keeps_the_traffic_though_it_gets_complaints_too():
    """Complaints alone would be shared out evenly, not the traffic given to who gets fewer of them."""
    shares = {q: fmean(share_of_the_better(seed, quiet=q) for seed in range(12)) for q in (True, False)}
    assert shares[True] > 0.95
    assert shares[False] < 0.9


def test_a_failed_call_is_an_answer_without_quality_and_no_sign_of_speed():
    found = evidence_of(receipt(success=False, error="reset", signal="failure"))
    assert (found.quality, found.success, found.weight, found.seconds) == (None, False, 1.0, None)


def test_a_rate_limit_is_no_evidence_of_quality():
    found = evidence_of(receipt(success=False, error="rate_limited", signal="rate_limit"))
    assert (found.quality, found.success, found.seconds) == (None, None, None)


def test_an_answer_that_nobody_judged_tells_cost_and_time_only():
    chooser = AdaptiveChooser(ChoiceSettings(), Random(1))
    entry = receipt(success=True, cost_usd=0.002, signal="expired")
    learn_from(chooser, entry)
    assert chooser.belief("m", Task.CODE).prior_share == 1.0
    found = evidence_of(entry)
    assert (found.cost_usd, found.seconds) == (0.002, 2.0)


def test_figures_that_make_no_sense_are_left_out():
    found = evidence_of(receipt(quality=7.0, cost_usd=float("inf"), latency_ms=0.0))
    assert (found.quality, found.cost_usd, found.seconds) == (None, None, None)

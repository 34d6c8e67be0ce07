"""Verdicts follow from the weights, and abstaining is the rule."""

import math

import pytest

from nexus.outcomes.signals.weights import MIN_RELIABILITY, SHIPPED, Evidence, Weights, judge


def test_no_evidence_no_verdict():
    """However far the intercept may lie from the base rate."""
    assert judge(Evidence()) is None
    assert judge(Evidence(), Weights(0.5, 5.0, 0.0, 0.0, 0.0)) is None


def test_each_weighted_signal_alone_gives_a_verdict():
    """A repeated question and a quick follow-up reject; an error report says that the code was used."""
    repeated, quick, failed = (
        judge(Evidence(repeated=True)),
        judge(Evidence(quick=True)),
        judge(Evidence(failed=True)),
    )
    assert repeated is not None
    assert quick is not None
    assert failed is not None
    assert (repeated.accepted, quick.accepted, failed.accepted) == (False, False, True)
    assert repeated.confidence == pytest.approx(1 - SHIPPED.adopted(Evidence(repeated=True)))
    assert failed.confidence == pytest.approx(SHIPPED.adopted(Evidence(failed=True)))


def test_two_signals_say_more_than_one():
    """Rejections add up."""
    both, one = judge(Evidence(repeated=True, quick=True)), judge(Evidence(quick=True))
    assert both is not None
    assert one is not None
    assert both.confidence > one.confidence
    assert both.reliability > one.reliability


def test_reliability_is_the_part_of_the_doubt_removed():
    """The certainty factor: 0 at the base rate, 1 at certainty, on either side."""
    weights = Weights(0.5, 0.0, math.log(1 / 3), 0.0, math.log(3))
    down, up = judge(Evidence(repeated=True), weights), judge(Evidence(failed=True), weights)
    assert down is not None
    assert up is not None
    assert (down.accepted, down.confidence, down.reliability) == (False, 0.75, 0.5)
    assert (up.accepted, up.confidence, up.reliability) == pytest.approx((True, 0.75, 0.5))


def test_too_little_evidence_is_no_verdict():
    """A signal that hardly moves the base rate is passed over."""
    below = 0.5 * (1 - MIN_RELIABILITY + 0.01)
    assert judge(Evidence(quick=True), Weights(0.5, 0.0, 0.0, math.log(below / (1 - below)), 0.0)) is None
    above = 0.5 * (1 - MIN_RELIABILITY - 0.01)
    assert judge(Evidence(quick=True), Weights(0.5, 0.0, 0.0, math.log(above / (1 - above)), 0.0)) is not None


def test_adopted_is_logistic():
    """The weights are log-odds."""
    weights = Weights(0.4, -1.0, 0.5, 0.25, 2.0)
    everything = weights.adopted(Evidence(repeated=True, quick=True, failed=True))
    assert everything == pytest.approx(1 / (1 + math.exp(-1.75)))

"""Verdicts follow from the measured rates, and abstaining is the rule."""

import pytest

from nexus.outcomes.signals.weights import (
    FOLLOWED_UP,
    MIN_RELIABILITY,
    SHIPPED,
    TOOL_RELIABILITY,
    Evidence,
    Rates,
    judge,
    reliability,
    reliability_of,
)


def test_no_evidence_no_verdict():
    """Nothing seen is nothing said."""
    assert judge(Evidence()) is None
    assert judge(Evidence(), Rates(0.5, 0.1, 0.1, 0.9, quiet=0.9)) is None


def test_an_answer_followed_up_quietly_is_a_little_better_than_the_base_rate():
    """The rates of all kinds of follow-up must average to the base rate."""
    assert SHIPPED.adopted(Evidence()) == SHIPPED.quiet > SHIPPED.base
    weight = reliability_of(FOLLOWED_UP)
    assert weight is not None
    assert 0.0 < weight < MIN_RELIABILITY


def test_each_weighted_signal_alone_gives_a_verdict():
    """A repeated question and a quick follow-up reject; an error report says that the code was used."""
    repeated = judge(Evidence(repeated=True))
    quick = judge(Evidence(quick=True))
    failed = judge(Evidence(failed=True))
    assert repeated is not None
    assert quick is not None
    assert failed is not None
    assert (repeated.accepted, quick.accepted, failed.accepted) == (False, False, True)
    assert repeated.confidence == pytest.approx(1 - SHIPPED.repeated)
    assert failed.confidence == SHIPPED.failed


def test_of_several_signals_one_decides():
    """An error report before a quick follow-up before a repeated question."""
    assert judge(Evidence(repeated=True, quick=True)) == judge(Evidence(quick=True))
    assert judge(Evidence(repeated=True, quick=True, failed=True)) == judge(Evidence(failed=True))


def test_reliability_is_the_part_of_the_doubt_removed():
    """The certainty factor: 0 at the base rate, 1 at certainty, on either side."""
    assert reliability(0.4, 0.4) == 0.0
    assert reliability(0.0, 0.4) == 1.0
    assert reliability(1.0, 0.4) == 1.0
    assert reliability(0.1, 0.4) == pytest.approx(0.75)
    assert reliability(0.7, 0.4) == pytest.approx(0.5)


def test_a_verdict_holds_its_confidence_and_reliability():
    """On both sides of the base rate."""
    rates = Rates(base=0.5, repeated=0.25, quick=0.25, failed=0.75, quiet=0.5)
    down, up = judge(Evidence(repeated=True), rates), judge(Evidence(failed=True), rates)
    assert down is not None
    assert up is not None
    assert (down.accepted, down.confidence, down.reliability) == (False, 0.75, 0.5)
    assert (up.accepted, up.confidence, up.reliability) == (True, 0.75, 0.5)


def test_too_little_evidence_is_no_verdict():
    """A signal that hardly moves the base rate is passed over."""
    least = 0.5 * (1 - MIN_RELIABILITY)
    assert judge(Evidence(quick=True), Rates(0.5, 0.5, least + 0.01, 0.5, 0.5)) is None
    assert judge(Evidence(quick=True), Rates(0.5, 0.5, least - 0.01, 0.5, 0.5)) is not None


def test_the_name_in_a_receipt_gives_the_reliability_it_had():
    """Joined names count as the signal that decided; what is not read from requests counts in full."""
    repeated, quick = judge(Evidence(repeated=True)), judge(Evidence(quick=True))
    assert repeated is not None
    assert quick is not None
    assert reliability_of("asked_again") == reliability_of("regenerated") == repeated.reliability
    assert reliability_of("asked_again+quick_follow_up") == quick.reliability
    assert reliability_of("tool_result") == TOOL_RELIABILITY
    assert reliability_of("explicit") is None
    assert reliability_of("") is None

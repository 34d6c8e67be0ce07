"""The rules that tell the kinds of follow-up apart."""

import time

import pytest

from nexus.outcomes.signals.kinds import FollowUp, classify
from nexus.outcomes.signals.words import Terms, dice, held

ASKED = ["how do I sort a list of tuples by the second element?"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('Traceback (most recent call last):\n  File "x.py", line 3\nNameError: name', FollowUp.ERROR_REPORT),
        ("when I do that it says tuple has no attribute append", FollowUp.ERROR_REPORT),
        ("I am getting an error here", FollowUp.ERROR_REPORT),
        ("  at Object.run (index.js:12)", FollowUp.ERROR_REPORT),
        ("thanks!", FollowUp.THANKS),
        ("ok great, thank you", FollowUp.THANKS),
        ("that works", FollowUp.THANKS),
        ("help me with the code", FollowUp.MOVED_ON),
        ("no, that's not right", FollowUp.CORRECTED),
        ("f(8) should return True", FollowUp.CORRECTED),
        ("it still returns None", FollowUp.CORRECTED),
        ("are you sure?", FollowUp.CORRECTED),
        ("how to sort a list of tuples by the second element in it", FollowUp.ASKED_AGAIN),
        ("make it a function", FollowUp.CHANGE_REQUESTED),
        ("is there a faster method?", FollowUp.CHANGE_REQUESTED),
        ("without using numpy", FollowUp.CHANGE_REQUESTED),
        ("what does reverse do", FollowUp.BUILT_ON),
        ("import os\nprint(1)", FollowUp.BUILT_ON),
        ("how do I read a file", FollowUp.MOVED_ON),
        ("", FollowUp.MOVED_ON),
        ("5 * 3 / 2", FollowUp.MOVED_ON),
    ],
)
def test_kinds(said, kind):
    """Each kind has its marks."""
    assert classify([said], ASKED) is kind


def test_an_error_counts_in_any_of_the_messages():
    """Some clients send the question and the pasted error as two messages."""
    assert classify(["ValueError: bad", "what is this?"], ASKED) is FollowUp.ERROR_REPORT


def test_two_versions_of_a_program_are_not_the_same_question():
    """Pasted code is compared as a whole only."""
    code = "def f(x):\n    return x + {}\n"
    assert classify([code.format(2)], [code.format(1)]) is FollowUp.BUILT_ON
    assert classify([code.format(1)], [code.format(1)]) is FollowUp.ASKED_AGAIN


def test_only_late_questions_are_compared():
    """A question from long ago may come up again on its own."""
    others = ["what is a dictionary", "reading files", "opening sockets"]
    assert classify(ASKED, ASKED + others) is FollowUp.MOVED_ON
    assert classify(ASKED, ASKED + others[:2]) is FollowUp.ASKED_AGAIN


def test_stop_words_alone_can_be_asked_again():
    """A question that has no telling word is the same only if it is the very same."""
    assert classify(["how do you do this"], ["how do you do this"]) is FollowUp.ASKED_AGAIN
    assert classify(["how do you do this"], ["how do you do that"]) is not FollowUp.ASKED_AGAIN


@pytest.mark.parametrize(
    ("asked", "said", "same"),
    [
        ("how to get the length of a numpy array", "numpy array length", True),
        ("split a string by delimiters", "split a string by multiple delimiters using regex", True),
        ("how do I drop a column in pandas", "how do I add a column in pandas", False),
        ("what is the capital of France?", "what is the capital of Japan?", False),
        ("sort", "how would I go about sorting very large files of numbers that do not fit in memory", False),
    ],
)
def test_a_word_exchanged_is_another_question(asked, said, same):
    """Saying more or less is asking again; the next question of the same form is not."""
    assert (classify([said], [asked]) is FollowUp.ASKED_AGAIN) is same


def test_likeness_has_its_bounds():
    """1 for the same words, 0 for no common ones or none at all."""
    assert Terms("Sort the list").likeness(Terms("sort the LIST!")) == 1.0
    assert Terms("sort").likeness(Terms("xyz")) == 0.0
    assert Terms("").likeness(Terms("")) == 0.0
    assert 0.3 < Terms("sort a list by key").likeness(Terms("sort a list by value")) < 1.0


def test_sets_are_compared_by_hand():
    """Dice's coefficient, and one set held by another to more than three quarters."""
    assert dice({1, 2, 3}, {2, 3, 4}) == pytest.approx(2 / 3)
    assert dice(set(), set()) == 0.0
    assert held({1, 2, 3, 4, 5}, {1, 2, 3, 4, 6, 7})
    assert not held({1, 2, 3, 4}, {1, 2, 3, 5})
    assert not held(set(), {1})


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 100_000,
        "at " + "(" * 100_000,
        "error" * 20_000,
        "ok " * 30_000,
        " " * 100_000,
        "def " * 30_000,
        "a:" * 50_000,
    ],
)
def test_no_text_takes_long(text):
    """Long and repetitive text is cut before the rules see it."""
    began = time.process_time()
    classify([text], [text, text])
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("remark", ["That's wrong. {}", "No. {}", "Try again: {}", "{} Answer properly!"])
def test_the_question_put_again_word_for_word_is_asked_again_whatever_the_remark(remark):
    question = "What is the capital of France?"
    assert classify([remark.format(question)], [question]) is FollowUp.ASKED_AGAIN
    assert classify([remark.format(question.lower())], ["Hello.", question]) is FollowUp.ASKED_AGAIN


def test_a_remark_alone_or_a_long_text_around_the_question_is_something_else():
    question = "What is the capital of France?"
    assert classify(["That's wrong."], [question]) is FollowUp.CORRECTED
    assert classify([f"That's wrong. {question} {'So it says. ' * 20}"], [question]) is FollowUp.CORRECTED
    assert classify(["No. Why?"], ["Why?"]) is FollowUp.CORRECTED

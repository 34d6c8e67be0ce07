"""The reader tells what became of answers, says nothing without evidence, and keeps no text."""

import gc
from typing import Any

import pytest

from nexus.outcomes.outcome import InferredKind
from nexus.outcomes.signals.kinds import FollowUp
from nexus.outcomes.signals.messages import MAX_MESSAGES, ChatMessage, ToolCall, ToolFunction
from nexus.outcomes.signals.reader import MAX_REPEATS, REGENERATE_SECONDS, Reading, Signal, SignalReader
from nexus.outcomes.signals.weights import QUICK_SECONDS, TOOL_RELIABILITY

CODE = (
    "You can write it like this:\n\n```python\ndef total(numbers):\n    return sum(numbers)\n```\nIt adds up."
)
PROSE = "A tuple is an immutable sequence of values, and a list is a mutable one."
QUESTION = "how do I add up the numbers of a list?"
SLOW = QUICK_SECONDS[1] + 60


def user(text: str) -> ChatMessage:
    return ChatMessage("user", text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage("assistant", text)


class Gateway:
    """Reads a request and remembers its answer, as the product does."""

    def __init__(self, **options: Any) -> None:
        self.reader = SignalReader(key=b"k" * 32, **options)
        self.count = 0

    def ask(self, messages: list[ChatMessage], answer: str, at: float = 0.0, call: str = "") -> Reading:
        reading = self.reader.read(messages, at)
        assert reading.conversation is not None
        hasher = self.reader.hasher()
        for position in range(0, len(answer), 5):
            hasher.add(answer[position : position + 5])
        if call:
            hasher.add_tool_call(call, "run")
        self.count += 1
        self.reader.remember(f"t{self.count}", hasher, reading.conversation, at)
        return reading


def follow(answer: str, said: str, after: float = SLOW, question: str = QUESTION) -> Reading:
    gateway = Gateway()
    gateway.ask([user(question)], answer)
    return gateway.reader.read([user(question), assistant(answer), user(said)], after)


def only(reading: Reading) -> Signal:
    (signal,) = reading.signals
    return signal


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("how do I read a file", FollowUp.MOVED_ON),
        ("no, that is wrong", FollowUp.CORRECTED),
        ("make it a method", FollowUp.CHANGE_REQUESTED),
        ("why does it work", FollowUp.BUILT_ON),
        ("thanks", FollowUp.THANKS),
    ],
)
def test_kinds_without_weight_say_nothing(said, kind):
    """The follow-up is recognised, and no signal comes of it."""
    assert follow(CODE, said).signals == ()
    assert follow(CODE, said).kind is kind


def test_the_question_asked_again_is_a_rejection():
    """In the same conversation, reworded, whatever the answer held."""
    for answer in (CODE, PROSE):
        signal = only(follow(answer, "how to add up the numbers of a list"))
        assert (signal.trace_id, signal.name) == ("t1", "asked_again")
        assert signal.outcome.kind is InferredKind.REJECTED
        assert 0.5 < signal.outcome.confidence < 1
        assert 0 < signal.reliability < 1


def test_an_error_report_means_that_the_code_was_used():
    """It goes with more adoption, and is an acceptance with edits, however soon it comes."""
    signal = only(follow(CODE, "NameError: name 'total' is not defined", after=10.0))
    assert signal.name == "error_report"
    assert signal.outcome.kind is InferredKind.ACCEPTED_WITH_EDITS


@pytest.mark.parametrize(("after", "says"), [(4.9, 0), (5.0, 1), (39.9, 1), (40.0, 0)])
def test_a_quick_follow_up_to_code_is_a_rejection(after, says):
    """Within the measured span: sooner, a program asks; later, the code may have been used."""
    reading = follow(CODE, "what is a dictionary", after)
    assert len(reading.signals) == says
    assert all(signal.name == "quick_follow_up" for signal in reading.signals)
    assert follow(PROSE, "what is a dictionary", after).signals == ()


def test_two_signals_add_up():
    """Asked again, and quickly."""
    both, one = only(follow(CODE, QUESTION, 10.0)), only(follow(CODE, QUESTION))
    assert both.name == "asked_again+quick_follow_up"
    assert both.reliability > one.reliability


def test_an_answer_is_judged_once():
    """The same request again, or the conversation going on, says nothing more."""
    gateway = Gateway()
    gateway.ask([user(QUESTION)], CODE)
    again = [user(QUESTION), assistant(CODE), user(QUESTION)]
    assert len(gateway.reader.read(again, SLOW).signals) == 1
    assert gateway.reader.read(again, SLOW).signals == ()


def test_an_answer_followed_up_without_a_word_on_it_is_named_once():
    gateway = Gateway()
    gateway.ask([user(QUESTION)], PROSE)
    then = [user(QUESTION), assistant(PROSE), user("Thanks. And what is a set?")]
    first, again = gateway.ask(then, "Unordered.", SLOW), gateway.reader.read(then, SLOW + 1)
    assert (first.signals, first.quiet) == ((), "t1")
    assert again.quiet is None


def test_an_answer_that_was_judged_was_not_followed_up_quietly():
    for said in (f"please, {QUESTION}", "Error: nothing works"):
        reading = follow(CODE, said)
        assert reading.signals
        assert reading.quiet is None
    assert follow(CODE, "and now what?").quiet == "t1"


def test_an_unknown_answer_says_nothing():
    """Somebody else's answer, another process's, or one too old."""
    messages = [user(QUESTION), assistant(CODE), user(QUESTION)]
    assert SignalReader().read(messages, 0.0).kind is None
    gateway = Gateway(ttl_seconds=5.0)
    gateway.ask([user(QUESTION)], CODE)
    assert gateway.reader.read(messages, 6.0).signals == ()


def test_a_request_that_does_not_end_with_the_user_is_no_follow_up():
    """A prefilled answer is continued, not judged."""
    gateway = Gateway()
    gateway.ask([user(QUESTION)], CODE)
    assert gateway.reader.read([user(QUESTION), assistant(CODE)], SLOW).kind is None


def test_the_same_messages_again_reject_the_dropped_answer():
    """Regenerating says as much as asking again."""
    gateway = Gateway()
    gateway.ask([user(QUESTION)], CODE)
    reading = gateway.reader.read([user(QUESTION)], 20.0)
    signal = only(reading)
    assert (signal.trace_id, signal.name, reading.kind) == ("t1", "regenerated", FollowUp.REGENERATED)
    assert signal.outcome.kind is InferredKind.REJECTED


def test_the_same_messages_much_later_are_a_new_request():
    """A question may come up again."""
    gateway = Gateway()
    gateway.ask([user(QUESTION)], CODE)
    reading = gateway.reader.read([user(QUESTION)], REGENERATE_SECONDS + 1)
    assert (reading.signals, reading.kind) == ((), None)


def test_the_same_messages_after_a_follow_up_are_a_new_conversation():
    """The answer was not dropped: its conversation went on."""
    gateway = Gateway()
    gateway.ask([user(QUESTION)], CODE)
    gateway.ask([user(QUESTION), assistant(CODE), user("what is a dictionary")], PROSE, at=60.0)
    assert gateway.reader.read([user(QUESTION)], 61.0).signals == ()


def test_a_program_that_repeats_itself_does_not_reject():
    """From the third time on, equal requests are taken for a program's."""
    gateway = Gateway()
    said = [len(gateway.ask([user(QUESTION)], f"{CODE} {n}", at=float(n)).signals) for n in range(6)]
    assert said == [0] + [1] * MAX_REPEATS + [0] * (5 - MAX_REPEATS)


def test_people_who_ask_the_same_and_go_on_are_no_program():
    """A question that is asked often is still asked again by somebody who drops its answer."""
    gateway = Gateway()
    for number in range(MAX_REPEATS + 2):
        at = number * 10.0
        gateway.ask([user(QUESTION)], PROSE, at)
        gateway.ask([user(QUESTION), assistant(PROSE), user("Thanks.")], "You are welcome.", at + 1)
    gateway.ask([user(QUESTION)], PROSE, 100.0)
    assert only(gateway.ask([user(QUESTION)], CODE, 101.0)).name == "regenerated"


def test_a_question_edited_in_place_is_asked_again():
    """The answer is dropped, and the question comes in other words behind the same conversation."""
    gateway = Gateway()
    gateway.ask([user("what is a tuple?")], PROSE)
    before = [user("what is a tuple?"), assistant(PROSE)]
    gateway.ask([*before, user("how do I sort a list of tuples")], CODE, at=60.0)
    other = gateway.reader.read([*before, user("who wrote the first compiler")], 70.0)
    assert (other.signals, other.kind) == ((), None)
    signal = only(gateway.reader.read([*before, user("how do I sort a list of named tuples")], 80.0))
    assert (signal.trace_id, signal.name) == ("t2", "asked_again")


def test_examples_before_a_question_are_no_conversation():
    """A program sends the same made-up turns before each question; no answer of ours is among them."""
    gateway = Gateway()
    shots = [user("classify: good"), assistant("positive, because the word is a friendly one in any context")]
    gateway.ask([*shots, user("classify the text: this film is great")], PROSE)
    reading = gateway.reader.read([*shots, user("classify the text: this film is bad")], 10.0)
    assert reading.signals == ()


def tool(text: str) -> ChatMessage:
    return ChatMessage("tool", text)


def called(name: str) -> ChatMessage:
    return ChatMessage("assistant", None, [ToolCall(name, ToolFunction("run"))])


def test_an_agent_loop_is_judged_step_by_step():
    """Each step once, when the next one's result is in; the last when the loop has ended."""
    gateway = Gateway()
    messages = [user("fix the build")]
    gateway.ask(messages, "", call="c1")
    messages += [called("c1"), tool("ok")]
    assert gateway.ask(messages, "", call="c2").signals == ()
    messages += [called("c2"), tool("Error: no such file")]
    first, second = gateway.ask(messages, "", call="c3").signals
    assert (first.trace_id, first.outcome.kind) == ("t1", InferredKind.ACCEPTED_WITH_EDITS)
    assert (second.trace_id, second.outcome.kind) == ("t2", InferredKind.REJECTED)
    assert (second.name, second.reliability) == ("tool_result", TOOL_RELIABILITY)
    messages += [called("c3"), tool("ok")]
    assert gateway.ask(messages, PROSE).signals == ()
    messages += [assistant(PROSE), user("now deploy it")]
    last = only(gateway.reader.read(messages, SLOW))
    assert (last.trace_id, last.outcome.kind) == ("t3", InferredKind.ACCEPTED)


def test_a_step_whose_tools_nobody_ran_says_nothing():
    """No output is inconclusive."""
    gateway = Gateway()
    gateway.ask([user("go")], "", call="c1")
    assert gateway.reader.read([user("go"), called("c1"), user("stop")], 1.0).signals == ()


def test_an_empty_answer_and_an_unreadable_conversation_are_not_remembered():
    """There is nothing to match, or too much to look at."""
    gateway = Gateway()
    gateway.ask([user(QUESTION)], "")
    assert len(gateway.reader) == 0
    assert gateway.reader.read([user("x")] * (MAX_MESSAGES + 1), 0.0) == Reading()
    assert gateway.reader.read([], 0.0) == Reading()


def reachable(root: object) -> list[object]:
    """Every object that can be reached from another, classes and modules aside."""
    seen: dict[int, object] = {}
    todo = [root]
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, type):
            continue
        seen[id(found)] = found
        todo.extend(gc.get_referents(found))
        todo.extend(getattr(found, name) for name in getattr(type(found), "__struct_fields__", ()))
    return list(seen.values())


def test_no_text_is_kept():
    """Nothing that the reader holds on to contains a word of the conversation."""
    gateway = Gateway()
    first, answer, second = "marker-alpha question", "marker-beta answer " * 10, "marker-gamma question"
    gateway.ask([user(first)], answer)
    gateway.ask([user(first), assistant(answer), user(second)], answer + "more", at=9.0)
    kept = reachable(gateway.reader)
    texts = [value for value in kept if isinstance(value, str)]
    assert "t1" in texts
    assert not [text for text in texts if "marker" in text]
    assert not [value for value in kept if isinstance(value, bytes) and b"marker" in value]
    leaky = Reading(kind=None, signals=(Signal("marker", only(follow(CODE, QUESTION)).outcome, "x", 1.0),))
    assert "marker" in reachable([leaky]), "the search must find what a record holds"

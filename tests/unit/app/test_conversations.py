"""Conversations are read beside the path of requests, in order, and nothing is kept of what they say."""

import asyncio
import json
from collections.abc import Sequence

from nexus.app.conversations import Conversations
from nexus.core.request import Needs, Request, Surface
from nexus.outcomes import InferredOutcome, SignalResult
from nexus.outcomes.code.suggestions import suggestions_in
from nexus.outcomes.signals.reader import SignalReader
from nexus.proxy.answer_text import MAX_ANSWER_CHARS, AnswerText

QUESTION = {"role": "user", "content": "How do I sort a list of tuples by their second entry in Python?"}


def ask(number: int, at: float) -> Request:
    return Request(f"t{number}", Surface.CHAT, "m", Needs(), at)


def body(*messages: dict[str, str]) -> bytes:
    return json.dumps({"model": "m", "messages": messages}).encode()


def said(text: str) -> AnswerText:
    answer = AnswerText()
    answer.add(text, None)
    return answer


class Resolved:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, trace_id: str, outcome: InferredOutcome, signal: str) -> SignalResult:
        self.calls.append((trace_id, signal))
        assert outcome.quality is not None
        return SignalResult(True, None)


async def test_the_same_question_again_speaks_against_the_answer_before():
    """The second request is about the answer to the first."""
    resolved = Resolved()
    conversations = Conversations(SignalReader(), resolved)
    conversations.heard(ask(1, 0.0), body(QUESTION), said("No idea."))
    conversations.heard(ask(2, 60.0), body(QUESTION), said("Use sorted with a key."))
    await conversations.read()
    assert [trace_id for trace_id, _ in resolved.calls] == ["t1"]
    assert conversations.signals == 1


async def test_an_answer_that_is_followed_up_without_a_word_on_it_is_named():
    """It is not resolved: that the conversation goes on is no verdict."""
    resolved = Resolved()
    followed: list[str] = []
    conversations = Conversations(SignalReader(), resolved, followed_up=followed.append)
    answer = "Use sorted with a key, or operator.itemgetter."
    then = [QUESTION, {"role": "assistant", "content": answer}, {"role": "user", "content": "Thanks."}]
    conversations.heard(ask(1, 0.0), body(QUESTION), said(answer))
    conversations.heard(ask(2, 60.0), body(*then), said("You are welcome."))
    await conversations.read()
    assert followed == ["t1"]
    assert not resolved.calls


async def test_an_answer_that_was_cut_is_not_known_again():
    """Nothing is remembered of it, so nothing is said of it."""
    resolved = Resolved()
    conversations = Conversations(SignalReader(), resolved)
    conversations.heard(ask(1, 0.0), body(QUESTION), None)
    conversations.heard(ask(2, 60.0), body(QUESTION), None)
    conversations.read_all()
    assert not resolved.calls


async def test_while_enough_wait_further_ones_are_left_unread_and_counted():
    """A flood costs a bounded amount of memory."""
    conversations = Conversations(SignalReader(), Resolved(), capacity=3)
    for number in range(5):
        conversations.heard(ask(number, 0.0), body(QUESTION), None)
    assert conversations.unread == 2


async def test_suggested_code_is_attached_as_fingerprints():
    """To its own call, without what the question held; text and broken answers suggest nothing."""
    attached: dict[str, Sequence[object]] = {}

    def attach(trace_id: str, found: Sequence[object]) -> bool:
        attached[trace_id] = found
        return True

    own = "def first(items):\n    return items[0] if items else None\n"
    new = "def last(items):\n    return items[-1] if items else None\n"
    conversations = Conversations(None, Resolved(), attach)
    question = {"role": "user", "content": f"And for the last one?\n{own}"}
    conversations.heard(ask(1, 0.0), body(question), said(f"```python\n{own}```\nand\n```python\n{new}```"))
    conversations.heard(ask(2, 0.0), body(QUESTION), said("Use sorted."))
    conversations.heard(ask(3, 0.0), body(QUESTION), None)
    conversations.heard(ask(4, 0.0), body(QUESTION), said(f"~~~\n{new}~~~"))
    await conversations.settle()
    first, fourth = (suggestions_in(f"```python\n{new}```", [own])[0], suggestions_in(f"```\n{new}```")[0])
    assert attached == {"t1": (first,), "t4": (fourth,)}
    assert conversations.signals == 0


async def test_long_code_is_read_in_small_steps():
    """Another task gets its turn many times before a long answer is read."""
    attached: list[str] = []

    def attach(trace_id: str, found: Sequence[object]) -> bool:
        assert len(found) == 2
        attached.append(trace_id)
        return True

    conversations = Conversations(SignalReader(), Resolved(), attach)
    code = "\n".join(f"value_{number} = call({number}, {number * 7})" for number in range(4000))
    conversations.heard(ask(1, 0.0), body(*[QUESTION] * 20), said(f"```\n{code}\n```\n" * 2))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while not attached:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await conversations.settle()
    await task
    assert attached == ["t1"]
    assert turns >= 3


async def test_requests_come_in_between():
    """Each one read gives way to the loop."""
    conversations = Conversations(SignalReader(), Resolved())
    for number in range(20):
        conversations.heard(ask(number, 0.0), body(QUESTION), said(f"answer {number}"))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await conversations.read()
    task.cancel()
    assert turns >= 2


def test_an_answer_is_collected_up_to_a_bound():
    """Of a longer one nothing is kept."""
    answer = said("a" * MAX_ANSWER_CHARS)
    assert len(answer.text) == MAX_ANSWER_CHARS
    answer.add("b", None)
    assert (answer.whole, answer.text) == (False, "")


def test_tool_calls_are_collected_where_they_have_a_name():
    """Later pieces of a call and odd shapes are skipped."""
    answer = AnswerText()
    answer.add(None, [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}])
    answer.add(
        None, [{"index": 0, "function": {"arguments": "{}"}}, "odd", {"id": 3, "function": {"name": "x"}}]
    )
    answer.add(None, "odd")
    assert answer.tool_calls == [("c1", "weather")]

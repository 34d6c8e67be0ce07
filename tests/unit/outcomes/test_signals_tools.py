"""Tool results tell how the steps of an agent loop went."""

import pytest

from nexus.outcomes.signals.messages import ChatMessage, ToolCall, ToolFunction
from nexus.outcomes.signals.tools import MAX_STEPS, failed, loop_steps


def called(name: str) -> ChatMessage:
    return ChatMessage("assistant", None, [ToolCall(name, ToolFunction("run"))])


def result(text: str) -> ChatMessage:
    return ChatMessage("tool", text)


USER, DONE = ChatMessage("user", "go"), ChatMessage("assistant", "done")


@pytest.mark.parametrize(
    "text",
    [
        "Error: no such table",
        "TypeError: bad operand",
        "  Traceback (most recent call last):\n ...",
        "command failed with status 2",
        "Exit code 1\nboom",
        "some output, exited with code 127",
        '{"error": "not found"}',
        '{"is_error": true, "content": "x"}',
        '{"success": false}',
        '{"exit_code": 2, "stdout": ""}',
    ],
)
def test_errors_are_seen(text):
    """By the first words, the exit code, or a field."""
    assert failed(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "0 errors",
        "exit code 0",
        "the docs mention Error: as a prefix",
        '{"error": null, "rows": []}',
        '{"error": false}',
        '{"success": true, "exit_code": 0}',
        '{"success": "maybe"}',
        "{not json",
    ],
)
def test_other_results_are_no_errors(text):
    """A word somewhere in the output is not enough."""
    assert not failed(text)


def test_a_loop_under_way():
    """The last step is pending while it succeeds; a step with several results fails with any of them."""
    messages = [USER, called("1"), result("ok"), result("Error: x"), called("2"), result("ok")]
    first, second = loop_steps(messages)
    assert (first.success, first.output, first.pending) == (False, True, False)
    assert (second.success, second.output, second.pending) == (True, True, True)
    assert first.message is messages[1]


def test_a_failed_last_step_is_not_pending():
    """Nothing that comes can make it a success."""
    (step,) = loop_steps([USER, called("1"), result("Error: x")])
    assert (step.success, step.pending) == (False, False)


@pytest.mark.parametrize("end", [[DONE], [DONE, USER], [USER], [DONE, USER, USER]])
def test_a_loop_that_has_ended(end):
    """An answer without tool calls, or the user's next message, ends the loop."""
    (step,) = loop_steps([USER, called("1"), result("ok"), *end])
    assert (step.success, step.pending) == (True, False)


def test_a_step_without_results_has_no_output():
    """Nobody ran its tools."""
    (step,) = loop_steps([USER, called("1"), USER])
    assert (step.success, step.output) == (True, False)


def test_conversations_without_loops_have_no_steps():
    """Neither an empty one, nor one that only talks, nor results without a call."""
    assert loop_steps([]) == []
    assert loop_steps([USER, DONE, USER]) == []
    assert loop_steps([USER, result("ok")]) == []


def test_a_long_loop_is_looked_at_from_its_end():
    """The number of steps is bounded."""
    messages = [USER]
    for number in range(MAX_STEPS + 5):
        messages += [called(str(number)), result("ok")]
    steps = loop_steps(messages)
    assert len(steps) == MAX_STEPS
    assert steps[-1].message is messages[-2]

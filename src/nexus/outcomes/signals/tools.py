"""Agent loops: the tool results in a request tell how the steps before them went."""

import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from nexus.outcomes.signals.messages import ChatMessage

MAX_STEPS = 16
"""So many steps of a loop are looked at, the latest ones."""
_HEAD_CHARS = 400
_MAX_JSON_CHARS = 20_000
_FAILED = re.compile(
    r"\s*(?:\w*error\b|\w*exception\b|traceback \(most recent call last\)|fatal\b|failed\b|command failed"
    r"|permission denied|no such file|(?:process )?exit(?:ed with)? (?:code|status):? *[1-9])",
    re.IGNORECASE,
)
_EXIT_CODE = re.compile(r"\bexit(?:ed with)? (?:code|status):? *([0-9]+)", re.IGNORECASE)


class _Result(Struct, gc=False):
    error: object = None
    is_error: bool | None = None
    success: bool | None = None
    exit_code: int | None = None


_decode_result = msgspec.json.Decoder(_Result).decode


class Step(Struct, frozen=True):
    """One step of a loop: the answer that called tools, and how they fared.

    `success`: no result is an error. `output`: at least one result is there. `pending`: the step succeeded,
    and what comes of it is not known yet, because it is the last step of a loop still under way.
    """

    message: ChatMessage
    success: bool
    output: bool
    pending: bool


def loop_steps(messages: Sequence[ChatMessage]) -> list[Step]:
    """The steps of the loop that the conversation is in, or has just left; oldest first.

    Results are the `tool` messages behind an assistant message with tool calls.
    """
    steps: list[Step] = []
    position = len(messages) - 1
    ended = False
    while position >= 0 and messages[position].role == "user":
        ended = True
        position -= 1
    if position >= 0 and messages[position].role == "assistant" and not messages[position].tool_calls:
        ended = True
        position -= 1
    results: list[str] = []
    while position >= 0 and len(steps) < MAX_STEPS:
        message = messages[position]
        if message.role == "tool":
            results.append(message.text())
        elif message.role == "assistant" and message.tool_calls:
            success = not any(failed(result) for result in results)
            steps.append(Step(message, success, bool(results), success and not ended and not steps))
            results = []
        else:
            break
        position -= 1
    steps.reverse()
    return steps


def failed(result: str) -> bool:
    """Whether a tool's result reports an error: by a field of its JSON, its first words, or its exit code."""
    if result.lstrip()[:1] == "{" and len(result) <= _MAX_JSON_CHARS:
        try:
            fields = _decode_result(result)
        except (msgspec.DecodeError, RecursionError):
            fields = _Result()
        if fields.error or fields.is_error or fields.success is False or fields.exit_code:
            return True
    head = result[:_HEAD_CHARS]
    if _FAILED.match(head):
        return True
    exits = _EXIT_CODE.search(head)
    return exits is not None and int(exits.group(1)) != 0

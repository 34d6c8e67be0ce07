"""The fields of answers, whole and streamed, as far as they are looked at, and what a look has found."""

from typing import Any

import msgspec
from msgspec import Struct

from nexus.core.outcome import FailureKind


class Usage(Struct, frozen=True, gc=False):
    """Token counts as the upstream reports them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Delta(Struct, gc=False):
    """What an event adds to a message."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None


class StreamChoice(Struct, gc=False):
    """What an event says of one of the answers."""

    index: int = 0
    delta: Delta | None = None
    text: Any = None
    finish_reason: Any = None


class StreamChunk(Struct, gc=False):
    """One event of a stream."""

    choices: list[StreamChoice] | None = None
    usage: Usage | None = None
    error: Any = None


class AnswerMessage(Struct, gc=False):
    """The message of a choice."""

    content: Any = None
    tool_calls: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    function_call: Any = None
    refusal: Any = None
    audio: Any = None


class AnswerChoice(Struct, gc=False):
    """One of the answers to a chat or a completion."""

    message: AnswerMessage | None = None
    text: Any = None
    finish_reason: Any = None


class WholeAnswer(Struct, gc=False):
    """The body of an answer on any of the surfaces."""

    choices: list[AnswerChoice] | None = None
    data: list[msgspec.Raw] | None = None
    usage: Usage | None = None
    error: Any = None


class Finding(Struct, frozen=True, gc=False):
    """What a whole answer turned out to be. `kind` None means it is good."""

    kind: FailureKind | None = None
    message: str = ""
    usage: Usage | None = None


UNREAD = Finding()
"""Of an answer that nobody looked at."""

"""A whole answer, as far as it is looked at, and what it turned out to be."""

from typing import Any

import msgspec
from msgspec import Struct

from nexus.core.outcome import FailureKind
from nexus.proxy.sse import Usage


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

"""The part of a chat request that signals are read from. Decoded, looked at, and let go."""

from typing import Any

import msgspec
from msgspec import Struct

MAX_MESSAGES = 1024
"""A conversation with more messages is not read."""
MAX_CHARS = 1_000_000
"""Nor is one with more text than this."""


class ToolFunction(Struct, frozen=True, gc=False):
    """The name of a called tool."""

    name: str | None = None


class ToolCall(Struct, frozen=True, gc=False):
    """One tool call of an answer."""

    id: str | None = None
    function: ToolFunction | None = None


class ChatMessage(Struct):
    """One message. `content` is text, a list of typed parts, or None."""

    role: str = ""
    content: Any = None
    tool_calls: list[ToolCall] | None = None

    def text(self) -> str:
        """The text of the message; parts that are not text are left out."""
        content = self.content
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            return ""
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join([text for text in texts if isinstance(text, str)])


class _Chat(Struct, gc=False):
    messages: list[ChatMessage] = []


_decode = msgspec.json.Decoder(_Chat).decode


def decode_messages(body: bytes) -> list[ChatMessage]:
    """The messages of a chat request's body; an empty list where the body is nothing of the kind."""
    try:
        return _decode(body).messages
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []

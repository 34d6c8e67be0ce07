"""What an answer says, collected as it passes, for whoever reads conversations; gone once it is read."""

from typing import Any, Final, Protocol

from nexus.core.request import Request

MAX_ANSWER_CHARS: Final = 262_144


class AnswerText:
    """The text and the tool calls (id and name) of the first choice.

    Longer answers than `MAX_ANSWER_CHARS` are not kept: `whole` is False, and `text` empty.
    """

    __slots__ = ("_parts", "_size", "tool_calls", "whole")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self.tool_calls: list[tuple[str, str]] = []
        self.whole = True

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(self._parts)

    def add(self, content: Any, tool_calls: Any) -> None:
        """Take a message or a piece of one; what is not in OpenAI's shape is skipped."""
        if isinstance(content, str):
            self._size += len(content)
            if self._size <= MAX_ANSWER_CHARS:
                self._parts.append(content)
            else:
                self.whole = False
                self._parts.clear()
        if tool_calls is not None:
            self._add_tool_calls(tool_calls)

    def _add_tool_calls(self, tool_calls: Any) -> None:
        for call in tool_calls if isinstance(tool_calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            name = function.get("name") if isinstance(function, dict) else None
            # In a stream only the first piece of a call has a name.
            if isinstance(name, str) and isinstance(call.get("id"), str):
                self.tool_calls.append((call["id"], name))


class Listener(Protocol):
    """Who reads conversations. `listening`: there is time for another one, so answers are to be collected."""

    listening: bool

    def heard(self, request: Request, body: bytes, answer: AnswerText | None) -> None:
        """A chat request has ended; `answer` is None where the client got no whole one. Never blocks."""
        ...

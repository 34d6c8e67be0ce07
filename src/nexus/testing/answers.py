"""The normal answers of an OpenAI-compatible server, as steps."""

import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from nexus.testing.wire import Body, End, Framing, Head, Pause, ReceivedRequest, Step, reply

JSON = (("Content-Type", "application/json"),)
EVENT_STREAM = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
DONE = b"data: [DONE]\n\n"

_CREATED = 1_767_225_600
_ID = "chatcmpl-scripted"
_PROMPT_TOKENS = 7
_EMBEDDING_SIZE = 8


def compact(value: Any) -> bytes:
    """JSON without spaces, as servers send it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(value: Any) -> bytes:
    """One server-sent event with a JSON payload."""
    return b"data: " + compact(value) + b"\n\n"


class Answer(Struct, frozen=True):
    """A good answer to whatever was asked: chat, completion (both streaming or not) or embeddings.

    The text is `text`, or `tokens` made-up words; a stream has one event per word, sent `first_token_delay`
    and then `token_delay` seconds apart. `usage` True or False sends token counts or not; None does what
    servers do: always in a whole answer, in a stream only when asked. `tool_call` answers a chat with a call
    of the first tool offered. `close` announces the end of the connection.
    """

    tokens: int = 5
    text: str = ""
    first_token_delay: float = 0.0
    token_delay: float = 0.0
    usage: bool | None = None
    tool_call: bool = False
    close: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer that fits the request's path and its `stream` field."""
        extra = (*self.headers, ("Connection", "close")) if self.close else self.headers
        if request.path.endswith("/embeddings"):
            return reply(200, JSON + extra, compact(_embeddings(request.json)))
        chat = not request.path.endswith("/completions") or request.path.endswith("/chat/completions")
        if request.stream:
            return self._stream(request, EVENT_STREAM + extra, chat=chat)
        wait = self.first_token_delay + self.token_delay * max(0, len(self._words()) - 1)
        pause = (Pause(wait),) if wait else ()
        return pause + reply(200, JSON + extra, compact(self._whole(request, chat=chat)))

    def _words(self) -> list[str]:
        if not self.text:
            return [f"word{number} " for number in range(self.tokens)]
        words = self.text.split(" ")
        return [f"{word} " for word in words[:-1]] + words[-1:]

    def _usage(self) -> dict[str, int]:
        count = len(self._words())
        return {
            "prompt_tokens": _PROMPT_TOKENS,
            "completion_tokens": count,
            "total_tokens": _PROMPT_TOKENS + count,
        }

    def _called(self, request: ReceivedRequest) -> list[dict[str, Any]]:
        tools = request.json.get("tools") if self.tool_call else None
        if not tools:
            return []
        function = {"name": tools[0]["function"]["name"], "arguments": "{}"}
        return [{"id": "call_scripted", "type": "function", "function": function}]

    def _whole(self, request: ReceivedRequest, *, chat: bool) -> dict[str, Any]:
        text = "".join(self._words())
        calls = self._called(request)
        choice: dict[str, Any] = {
            "index": 0,
            "logprobs": None,
            "finish_reason": "tool_calls" if calls else "stop",
        }
        if chat:
            choice["message"] = {"role": "assistant", "content": None if calls else text}
            if calls:
                choice["message"]["tool_calls"] = calls
        else:
            choice["text"] = text
        whole = _envelope(request, "chat.completion" if chat else "text_completion", [choice])
        if self.usage is not False:
            whole["usage"] = self._usage()
        return whole

    def _stream(
        self, request: ReceivedRequest, headers: tuple[tuple[str, str], ...], *, chat: bool
    ) -> tuple[Step, ...]:
        kind = "chat.completion.chunk" if chat else "text_completion"
        steps: list[Step] = [Head(200, headers, Framing.CHUNKED)]

        def send(part: dict[str, Any], finish: str | None = None) -> None:
            choice = {"index": 0, **({"delta": part} if chat else part), "finish_reason": finish}
            steps.append(Body(event(_envelope(request, kind, [choice]))))

        if chat:
            send({"role": "assistant", "content": ""})
        calls = self._called(request)
        parts: list[dict[str, Any]] = [
            {"content": word} if chat else {"text": word} for word in self._words()
        ]
        if calls:
            parts = [{"tool_calls": [{"index": 0, **calls[0]}]}]
        for number, part in enumerate(parts):
            wait = self.token_delay if number else self.first_token_delay
            if wait:
                steps.append(Pause(wait))
            send(part)
        send({} if chat else {"text": ""}, "tool_calls" if calls else "stop")
        asked = (request.json.get("stream_options") or {}).get("include_usage", False)
        if asked if self.usage is None else self.usage:
            steps.append(Body(event({**_envelope(request, kind, []), "usage": self._usage()})))
        return (*steps, Body(DONE), End())


def _envelope(request: ReceivedRequest, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": _ID, "object": kind, "created": _CREATED, "model": request.model, "choices": choices}


def _embeddings(asked: Any) -> dict[str, Any]:
    given = asked.get("input", "")
    tokens = isinstance(given, list) and all(isinstance(part, int) for part in given)
    inputs = [given] if isinstance(given, str) or tokens else given
    as_base64 = asked.get("encoding_format") == "base64"
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(part, as_base64=as_base64)}
        for index, part in enumerate(inputs)
    ]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "model": asked.get("model", ""), "data": rows, "usage": usage}


def _vector(part: Any, *, as_base64: bool) -> list[float] | str:
    length = len(part) if isinstance(part, str | list) else 1
    numbers = [round(1.0 / (length + place + 1), 6) for place in range(_EMBEDDING_SIZE)]
    if not as_base64:
        return numbers
    return base64.b64encode(struct.pack(f"<{_EMBEDDING_SIZE}f", *numbers)).decode()


def model_lists(path: str, models: Sequence[str]) -> dict[str, Any] | None:
    """What a healthy server says at its own paths; None for a path it does not know."""
    if path == "/v1/models":
        rows = [
            {"id": name, "object": "model", "created": _CREATED, "owned_by": "scripted"} for name in models
        ]
        return {"object": "list", "data": rows}
    if path == "/api/tags":
        return {"models": [{"name": name, "model": name, "size": 1, "details": {}} for name in models]}
    if path in {"/health", "/"}:
        return {"status": "ok"}
    return {"version": "0.0.0"} if path == "/api/version" else None

"""Reads the few fields of an inference body that routing needs. The body itself stays the client's bytes."""

import re
from typing import Any, Final

import msgspec

from nexus.core.request import Needs, Surface
from nexus.server.fields import ChatBody, CompletionBody, EmbeddingBody, RoutingFields

_BYTES_PER_TOKEN: Final = 4
_MESSAGE_TOKENS: Final = 4
_PATH: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING: Final = re.compile(r"missing required field `(?P<field>[^`]+)`")
_IMAGE_PARTS: Final = frozenset({"image_url", "input_image", "image"})


class BodyError(Exception):
    """What is wrong with a body or a hint, and with which field of the body (None: with all of it)."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


_decode_chat: Final = msgspec.json.Decoder(ChatBody).decode
_decode_completion: Final = msgspec.json.Decoder(CompletionBody).decode
_decode_embedding: Final = msgspec.json.Decoder(EmbeddingBody).decode


def read_body(surface: Surface, body: bytes) -> RoutingFields:
    """The routing fields of a request body.

    Raises:
        BodyError: there is something wrong with it.
    """
    try:
        if not body.isascii():
            # The decoder skips over fields it doesn't know without looking at their text.
            body.decode("utf-8")
        fields = _READERS[surface](body)
    except UnicodeDecodeError as error:
        raise BodyError(f"The body is not valid UTF-8 (byte {error.start}).") from None
    except RecursionError:
        raise BodyError("The body is nested too deeply.") from None
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from None
    except msgspec.DecodeError as error:
        raise BodyError(f"The body is not valid JSON: {error}.") from None
    if not fields.model:
        raise BodyError("`model` is empty: name the model that should answer.", "model")
    return fields


def _chat(body: bytes) -> RoutingFields:
    chat = _decode_chat(body)
    tokens = 0
    vision = False
    for message in chat.messages:
        content = message.content
        if isinstance(content, str):
            tokens += len(content) // _BYTES_PER_TOKEN
        elif content:
            found, sees = _parts(content)
            tokens += found
            vision = vision or sees
    form = chat.response_format
    needs = Needs(
        vision,
        bool(chat.tools or chat.functions),
        form is not None and form.type != "text",
        bool(chat.stream),
        tokens + _MESSAGE_TOKENS * len(chat.messages),
        chat.max_completion_tokens or chat.max_tokens,
    )
    return RoutingFields(chat.model, needs)


def _parts(parts: list[Any]) -> tuple[int, bool]:
    """Estimated tokens of a message's text parts, and whether it has an image."""
    tokens = 0
    vision = False
    for part in parts:
        if not isinstance(part, dict):
            continue
        if part.get("type") in _IMAGE_PARTS:
            vision = True
        text = part.get("text")
        if isinstance(text, str):
            tokens += len(text) // _BYTES_PER_TOKEN
    return tokens, vision


def _completion(body: bytes) -> RoutingFields:
    completion = _decode_completion(body)
    needs = Needs(
        stream=bool(completion.stream),
        input_tokens=_text_tokens(completion.prompt),
        max_output_tokens=completion.max_tokens,
    )
    return RoutingFields(completion.model, needs)


def _embedding(body: bytes) -> RoutingFields:
    embedding = _decode_embedding(body)
    return RoutingFields(embedding.model, Needs(input_tokens=_longest_tokens(embedding.input)))


def _longest_tokens(value: str | list[Any]) -> int:
    # Each input is embedded on its own, so the longest one decides about the context.
    if isinstance(value, str):
        return _text_tokens(value)
    if value and all(isinstance(each, int) for each in value):
        return len(value)
    return max((_text_tokens(each) for each in value), default=0)


def _text_tokens(value: Any) -> int:
    """Estimated tokens of a prompt: text, tokens already, or a list of such prompts."""
    return sum(map(_piece_tokens, value)) if isinstance(value, list) else _piece_tokens(value)


def _piece_tokens(value: Any) -> int:
    # No deeper: what nests further is no prompt, and a client must not say how deep a call goes.
    if isinstance(value, str):
        return len(value) // _BYTES_PER_TOKEN + 1
    if isinstance(value, list):
        return len(value)
    return 1 if isinstance(value, int) else 0


_READERS: Final = {Surface.CHAT: _chat, Surface.COMPLETION: _completion, Surface.EMBEDDING: _embedding}


def _field_error(text: str) -> BodyError:
    where = _PATH.search(text)
    path = where["path"] if where else ""
    sentence = text[: where.start()] if where else text
    missing = _MISSING.search(text)
    if missing:
        param = f"{path}.{missing['field']}" if path else missing["field"]
        return BodyError(f"`{param}` is missing.", param)
    if not path:
        return BodyError(f"The body must be a JSON object. {sentence}.")
    return BodyError(f"`{path}` has the wrong type. {sentence}.", path)

"""Looks at a whole (non-streaming) answer before it is let through: is it an answer at all? No I/O."""

from typing import Final

import msgspec

from nexus.core.outcome import FailureKind
from nexus.core.request import Surface
from nexus.proxy.answer_fields import AnswerChoice, Finding, WholeAnswer
from nexus.proxy.answer_text import AnswerText
from nexus.proxy.sse import error_text

MAX_INSPECTED_BYTES: Final = 1024 * 1024
"""Larger answers are relayed as they arrive, without a look inside: embeddings run to many megabytes."""

_MAX_TEXT: Final = 256
_EMBEDDING: Final = Surface.EMBEDDING  # members of an enumeration are looked up slowly
_decode_answer: Final = msgspec.json.Decoder(WholeAnswer).decode


def inspect_answer(surface: Surface, body: bytes, answer_text: AnswerText | None = None) -> Finding:
    """Judge the body of a 2xx answer to a request at `surface`; `answer_text` takes in what it says."""
    try:
        answer = _decode_answer(body)
    except msgspec.ValidationError as error:
        return Finding(FailureKind.MALFORMED, f"the answer does not have the expected form: {error}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Finding(FailureKind.MALFORMED, f"the answer is not JSON: {error}")
    if answer.error is not None:
        return Finding(FailureKind.ERROR_BODY, error_text(answer.error))
    if surface is _EMBEDDING:
        return Finding(None, "", answer.usage) if answer.data else _empty("no embeddings")
    if not answer.choices:
        return _empty("no choices")
    if not _has_substance(answer.choices[0]) and not any(map(_has_substance, answer.choices)):
        return _empty("neither content nor a finish reason")
    message = answer.choices[0].message
    if answer_text is not None and message is not None:
        answer_text.add(message.content, message.tool_calls)
    return Finding(None, "", answer.usage)


def upstream_error_text(body: bytes) -> str:
    """The message in an upstream's error body, however it is written; at most 256 characters."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace")
    else:
        error = document.get("error", document) if isinstance(document, dict) else document
        text = error_text(error)
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _empty(what: str) -> Finding:
    return Finding(FailureKind.EMPTY, f"the answer has {what}")


def _has_substance(choice: AnswerChoice) -> bool:
    message = choice.message
    return bool(
        choice.finish_reason is not None
        or choice.text
        or (
            message is not None
            and (
                message.content
                or message.tool_calls
                or message.reasoning_content
                or message.reasoning
                or message.function_call
                or message.refusal
                or message.audio
            )
        )
    )

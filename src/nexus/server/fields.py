"""The fields of inference bodies, as far as routing reads them."""

from typing import Any

import msgspec
from msgspec import Struct

from nexus.core.request import Needs


class RoutingFields(Struct, frozen=True, gc=False):
    """What routing needs of a body."""

    model: str
    needs: Needs


class ChatMessage(Struct, gc=False):
    """One message, as far as routing reads it."""

    role: str = ""
    content: str | list[Any] | None = None


class ResponseFormat(Struct, gc=False):
    """The form that the answer is to have."""

    type: str = "text"


class ChatBody(Struct, gc=False):
    """A chat request, as far as routing reads it; every other field goes to the backend untouched."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class CompletionBody(Struct, gc=False):
    """A legacy completion request, as far as routing reads it."""

    model: str
    prompt: str | list[Any] | None = None
    stream: bool | None = None
    max_tokens: int | None = None


class EmbeddingBody(Struct, gc=False):
    """An embedding request, as far as routing reads it."""

    model: str
    input: str | list[Any]

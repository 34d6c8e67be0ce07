"""The error a client sees: OpenAI's envelope plus a `context` that says what happened and what to do."""

from typing import Literal

import msgspec
from msgspec import Struct

from nexus.core.decision import Rejection


class AttemptSummary(Struct, frozen=True, omit_defaults=True):
    """One failed attempt, as an error lists it."""

    backend: str
    kind: str
    status: int = 0


class ErrorContext(Struct, frozen=True, omit_defaults=True):
    """Where and why; absent means absent."""

    trace_id: str = ""
    model: str | None = None
    retry_after_seconds: float | None = None
    available_backends: tuple[str, ...] | None = None
    rejections: tuple[Rejection, ...] | None = None
    attempts: tuple[AttemptSummary, ...] | None = None


class ErrorBody(Struct, frozen=True):
    """The object behind the envelope's `error` key."""

    message: str
    type: str
    param: str | None
    code: str
    context: ErrorContext


class ErrorReply(Struct, frozen=True):
    """A status and the body that goes with it."""

    status: int
    error: ErrorBody

    @property
    def retry_after(self) -> float | None:
        """Seconds for the `Retry-After` header, None for no header."""
        return self.error.context.retry_after_seconds

    def encode(self) -> bytes:
        """The JSON body."""
        return msgspec.json.encode({"error": self.error})


class NexusError(Exception):
    """Base of the errors Nexus raises on purpose; the message is one sentence for a person."""


ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "not_found_error",
    "rate_limit_error",
    "upstream_error",
    "service_unavailable",
    "timeout_error",
    "internal_error",
]


def error_reply(
    status: int,
    code: str,
    message: str,
    error_type: ErrorType,
    *,
    param: str | None = None,
    context: ErrorContext | None = None,
) -> ErrorReply:
    """Build an `ErrorReply`; `param` names the offending field of the request body."""
    return ErrorReply(status, ErrorBody(message, error_type, param, code, context or ErrorContext()))

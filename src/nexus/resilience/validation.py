"""Checks of what users send, before anything else looks at it."""

import re

from nexus.core.errors import NexusError

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
# Control characters but tab and line feed, and halves of surrogate pairs, which no UTF-8 text can hold.
_REMOVED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class ValidationError(NexusError, ValueError):
    """A value is not acceptable: `field` names it and `reason` says why, without repeating the value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


def validate_user_input(text: str, max_length: int = 1000, *, field: str = "user_input") -> str:
    """The text without control characters (line feed and tab stay).

    Raises ValidationError if it is no string, holds nothing but white space, or is longer than `max_length`
    characters; what was removed does not count.
    """
    _check_string(text, field)
    clean = _REMOVED.sub("", text)
    if not clean.strip():
        raise ValidationError(field, "must not be empty")
    if len(clean) > max_length:
        raise ValidationError(field, f"must have at most {max_length} characters, has {len(clean)}")
    return clean


def validate_user_id(user_id: str) -> str:
    """The id as it came: 1 to 128 ASCII letters, digits and `_ . : -`, else ValidationError."""
    return _validate_id(user_id, "user_id")


def validate_session_id(session_id: str) -> str:
    """The id as it came: 1 to 128 ASCII letters, digits and `_ . : -`, else ValidationError."""
    return _validate_id(session_id, "session_id")


def _validate_id(value: str, field: str) -> str:
    _check_string(value, field)
    if not value:
        raise ValidationError(field, "must not be empty")
    if not _ID.fullmatch(value):
        raise ValidationError(field, "must be 1 to 128 characters out of A-Z a-z 0-9 _ . : -")
    return value


def _check_string(value: object, field: str) -> None:
    if not isinstance(value, str):
        raise ValidationError(field, f"must be a string, is {type(value).__name__}")

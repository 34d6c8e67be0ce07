"""Recognises a message whose head is the one before it but for the length, so that nobody parses it again.

Who repeats a request or an answer on a connection repeats its head: from one client, or from one server
within a second, only `Content-Length` differs. What the parser made of the first holds for all that follow.
"""

import re
from typing import Generic, TypeVar

Head = TypeVar("Head")

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)(?=\r\n)", re.IGNORECASE)
_MOST_DIGITS = 9


class KnownHead(Generic[Head]):
    """`head` is what a parser made of a head; `body_of` finds the body of a message with the same one."""

    __slots__ = ("_after", "_before", "_begin", "_skip", "head")

    def __init__(self, before: bytes, after: bytes, head: Head) -> None:
        self.head = head
        self._before = before  # all that precedes the digits of the length
        self._after = after  # all that follows them, to the empty line
        self._begin = len(before)
        self._skip = len(after)

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if `data` is exactly one such message; None leaves it to the parser."""
        if not data.startswith(self._before):
            return None
        begin = self._begin
        end = data.find(b"\r", begin, begin + _MOST_DIGITS)
        digits = data[begin:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self._after, end):
            return None
        body = data[end + self._skip :]
        return body if len(body) == int(digits) else None


def known_head(data: bytes, body: bytes, head: Head) -> KnownHead[Head] | None:
    """What to know messages like this one by; None unless `data` is its head and `body` with a length, whole.

    It must have been parsed without objection, and the same head must mean the same thing again: no upgrade,
    no end of the connection, no body that depends on anything but the length.
    """
    size = len(data) - len(body)
    if data.find(_END) != size - len(_END) or not data.endswith(body):
        return None
    lengths = list(_LENGTH.finditer(data, 0, size))
    if len(lengths) != 1 or int(lengths[0][1]) != len(body):
        return None
    begin, end = lengths[0].span(1)
    return KnownHead(data[:begin], data[end:size], head)

"""Recognises a message whose head is the one before it but for the length, so that nobody parses it again.

Who repeats a request or an answer on a connection repeats its head: from one client, or from one server
within a second, only `Content-Length` differs. What the parser made of the first holds for all that follow.
"""

import re
from typing import Final, Generic, TypeVar

Head = TypeVar("Head")

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)(?=\r\n)", re.IGNORECASE)
_MOST_DIGITS: Final = 9


class KnownHead(Generic[Head]):
    """`head` is what a parser made of a head; `body_at` recognises a message with the same one."""

    __slots__ = ("_after", "_before", "_begin", "_digits", "_skip", "head")

    def __init__(self, before: bytes, after: bytes, head: Head) -> None:
        self.head = head
        self._before = before  # all that precedes the digits of the length
        self._after = after  # all that follows them, to the empty line
        self._begin = len(before)
        self._skip = len(after)
        self._digits = 1  # how many the last length had; the next one mostly has as many

    def body_at(self, data: bytes) -> tuple[int, int, int]:
        """Where in `data` the body begins, its size, and how much of it is missing; zeros: ask the parser.

        `data` must begin where a message does. The body may not be there yet, or only some of it; where more
        is there than a body, it is left to the parser, too.
        """
        begin = self._begin
        if not data.startswith(self._before):
            return 0, 0, 0
        end = begin + self._digits
        if data[end : end + self._skip] != self._after:
            end = data.find(b"\r", begin, begin + _MOST_DIGITS)
            if end < 0 or not data.startswith(self._after, end):
                return 0, 0, 0
            self._digits = end - begin
        digits = data[begin:end]
        if not digits.isdigit():
            return 0, 0, 0
        start = end + self._skip
        size = int(digits)
        missing = start + size - len(data)
        return (start, size, missing) if missing >= 0 else (0, 0, 0)


def known_head(data: bytes, body_size: int, head: Head) -> KnownHead[Head] | None:
    """What to know messages like this one by; None unless `data` is its head and `body_size` bytes of body.

    It must have been parsed without objection, and the same head must mean the same thing again: no upgrade,
    no end of the connection, no body that depends on anything but the length.
    """
    size = data.find(_END) + len(_END)
    if size < len(_END) or size + body_size != len(data):
        return None
    lengths = list(_LENGTH.finditer(data, 0, size))
    if len(lengths) != 1 or len(lengths[0][1]) >= _MOST_DIGITS:
        return None
    begin, end = lengths[0].span(1)
    return KnownHead(data[:begin], data[end:size], head)

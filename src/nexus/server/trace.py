"""Ids of requests: unique across processes and restarts, and cheap."""

import itertools
import secrets
from collections.abc import Callable, Iterator


class TraceIds:
    """Makes ids of 32 hexadecimal digits: 20 random ones for the process, 12 that count up."""

    next: Callable[[], str]
    """Gives a new id."""

    def __init__(self, prefix: str | None = None) -> None:
        numbers = _numbered(prefix if prefix is not None else secrets.token_hex(10))
        next(numbers)  # they count from 1
        self.next = numbers.__next__


def _numbered(prefix: str) -> Iterator[str]:
    # A number is made of two halves, the lower one from a table: formatting each would take twice as long.
    low = [f"{number:03x}" for number in range(4096)]
    for high in itertools.count():
        start = f"{prefix}{high:09x}"
        for digits in low:
            yield start + digits

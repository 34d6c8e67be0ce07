"""Ids of requests: unique across processes and restarts, and cheap."""

import itertools
import secrets


class TraceIds:
    """Makes ids of 32 hexadecimal digits: 20 random ones for the process, 12 that count up."""

    def __init__(self, prefix: str | None = None) -> None:
        self._prefix = prefix if prefix is not None else secrets.token_hex(10)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """A new id."""
        return f"{self._prefix}{next(self._numbers):012x}"

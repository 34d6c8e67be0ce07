"""Other processes that serve the same clients, as the surfaces see them."""

from collections.abc import Callable
from typing import Protocol


class Elsewhere(Protocol):
    """Asks the other processes, and answers them."""

    async def ask(self, topic: str, body: bytes) -> list[bytes]:
        """What the others know of it: one answer of each that knows something, in no order."""
        ...

    def answer(self, topic: str, known: Callable[[bytes], bytes]) -> None:
        """Let `known` answer questions on a topic; it gives nothing where it knows nothing."""
        ...


class Nobody:
    """There are no other processes."""

    async def ask(self, topic: str, body: bytes) -> list[bytes]:
        """No answers."""
        del topic, body
        return []

    def answer(self, topic: str, known: Callable[[bytes], bytes]) -> None:
        """Nobody will ask."""

"""Conversations, in memory. The oldest give way."""

from collections import OrderedDict
from dataclasses import dataclass

_MAX_SESSIONS = 1000
_MAX_TURNS = 50


@dataclass(frozen=True)
class Turn:
    """One question and its answer."""

    question: str
    answer: str
    degraded: bool


class Sessions:
    """The turns of each session, bounded in number and length."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, list[Turn]] = OrderedDict()

    def add(self, session_id: str, turn: Turn) -> None:
        """Remember a turn."""
        turns = self._turns.setdefault(session_id, [])
        turns.append(turn)
        del turns[:-_MAX_TURNS]
        self._turns.move_to_end(session_id)
        if len(self._turns) > _MAX_SESSIONS:
            self._turns.popitem(last=False)

    def get(self, session_id: str) -> list[Turn] | None:
        """The turns of a session, oldest first; None for an unknown one."""
        return self._turns.get(session_id)

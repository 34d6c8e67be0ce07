"""An attempt while it is under way, as the learner sees it."""

from msgspec import Struct

from nexus.core.learned import PairLearned
from nexus.core.outcome import AttemptResult


class Flight(Struct, eq=False, gc=False):
    """One attempt under way.

    `expected` are the seconds its prompt needs at slowness 1, and `patience` those after which the wait for
    it looks like slowness. `pending` are the attempts on the backend when it began, itself included. It
    `waits` until it has its first token or has ended. `counted` says what it was counted as so far: a success
    from its first token on, which its end may still take back.
    """

    pair: PairLearned
    tokens: int
    sent_at: float
    expected: float
    patience: float
    pending: int
    stream: bool
    waits: bool = True
    counted: AttemptResult | None = None

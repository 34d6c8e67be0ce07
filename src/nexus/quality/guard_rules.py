"""When a failing backend may go out, and the peers beside which that is judged."""

from collections.abc import Sequence

from msgspec import Struct


class GuardRules(Struct, frozen=True, kw_only=True):
    """When failures are enough, and when nobody may go out.

    Args:
        failure_threshold: failures in a row that are enough while the others hardly fail. The more the others
            fail, the more are asked for: as many as they would have in a row with a chance of `chance`.
        error_rate_threshold: share of failures that is too much, once `min_outcomes` recent outcomes show it
            with confidence (lower bound of the Wilson interval at `z`); None: the share never decides.
        margin: by how much that bound must also exceed the share of the others.
        fleet_problem_share: the others' share of failures from which on it is everybody's problem. As many of
            them as could still go out with it, and fail more than that themselves, are not counted: where a
            third of a fleet is dead, they must not protect each other.
        max_load: share of their concurrency that the remaining ones may be using.
        flawless: recent outcomes without a failure that the remaining ones must show before more than half of
            a pool goes out (which only a pool of an odd number can).
        window, window_seconds: outcomes per backend that count as recent, and for how long.
    """

    failure_threshold: int = 3
    error_rate_threshold: float | None = 0.5
    min_outcomes: int = 5
    margin: float = 0.2
    chance: float = 1e-3
    z: float = 1.96
    fleet_problem_share: float = 0.25
    max_load: float = 0.85
    flawless: int = 16
    window: int = 32
    window_seconds: float = 60.0


class Peer(Struct, frozen=True, gc=False):
    """One backend of a pool at this moment.

    `ejected`: taken out by us. `down`: out for another reason, so it can't stand in for anybody. `limit` is
    how many requests it takes at once, None where that is not known.
    """

    backend_id: str
    ejected: bool = False
    down: bool = False
    pending: int = 0
    limit: int | None = None

    @property
    def out(self) -> bool:
        """Whether it takes no requests, whatever the reason."""
        return self.ejected or self.down


Pools = Sequence[Sequence[Peer]]

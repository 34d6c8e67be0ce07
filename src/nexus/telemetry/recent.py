"""The last requests, for `GET /v1/requests/{trace_id}`."""

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from nexus.core.decision import Decision, Finished
from nexus.core.outcome import RequestOutcome

_CAPACITY = 1000


class RecentRequest(Struct, frozen=True):
    """A past request. `decision` is None where none was made."""

    outcome: RequestOutcome
    decision: Decision | None


class RecentRequests:
    """Remembers the last `capacity` requests, without what they said.

    Every request is kept and few are asked for, so keeping one is cheap and finding one is a search.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._requests: deque[tuple[RequestOutcome, Decision | None]] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._requests)

    def record_requests(self, finished: Sequence[Finished]) -> None:
        """Remember finished requests; the oldest are forgotten where there are too many."""
        self._requests.extend(finished)

    def get(self, trace_id: str) -> RecentRequest | None:
        """The newest request with this trace id, None where it is unknown or too long ago."""
        for outcome, decision in reversed(self._requests):
            if outcome.request.trace_id == trace_id:
                return RecentRequest(outcome, decision)
        return None

"""The last requests, for `GET /v1/requests/{trace_id}`."""

from collections import deque

from msgspec import Struct

from nexus.core.decision import Decision
from nexus.core.outcome import RequestOutcome

_CAPACITY = 1000


class RecentRequest(Struct, frozen=True):
    """A past request. `decision` is None where none was made."""

    outcome: RequestOutcome
    decision: Decision | None


class RecentRequests:
    """Remembers the last `capacity` requests by trace id, without what they said."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._capacity = capacity
        self._requests: dict[str, RecentRequest] = {}
        # The oldest key of a dict is found slowly once many before it were deleted.
        self._ids: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._requests)

    def record_request(self, outcome: RequestOutcome, decision: Decision | None = None) -> None:
        """Remember a finished request; the oldest is forgotten where there are too many."""
        requests = self._requests
        trace_id = outcome.request.trace_id
        if trace_id not in requests:
            self._ids.append(trace_id)
        requests[trace_id] = RecentRequest(outcome, decision)
        if len(requests) > self._capacity:
            del requests[self._ids.popleft()]

    def get(self, trace_id: str) -> RecentRequest | None:
        """The request with this trace id, None where it is unknown or too long ago."""
        return self._requests.get(trace_id)

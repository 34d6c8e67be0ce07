"""The last requests, for `GET /v1/requests/{trace_id}`."""

from collections import deque
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from nexus.core.decision import Decision, Finished
from nexus.core.outcome import RequestOutcome

_CAPACITY = 1000


class RecentRequest(Struct, frozen=True):
    """A past request. `decision` is None where none was made."""

    outcome: RequestOutcome
    decision: Decision | None


class _Batch(Struct, frozen=True, gc=False):
    """Requests that ended together: their outcomes, packed where that can be done, and their decisions."""

    outcomes: bytes | list[RequestOutcome]
    decisions: list[Decision | None]


class RecentRequests:
    """Remembers the last `capacity` requests and at most a turn's worth more, without what they said.

    Every request is kept and few are asked for, so keeping one is cheap and finding one is a search. Outcomes
    are packed: by the time a request is forgotten it has left the processor's caches, and a row of bytes is
    let go of at less cost than the fifteen records and numbers of an outcome.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._capacity = capacity
        self._batches: deque[_Batch] = deque()
        self._count = 0
        self._pack_into = msgspec.msgpack.Encoder().encode_into
        # Packed into again and again: a new place has to be grown step by step.
        self._room = bytearray()
        self._unpack = msgspec.msgpack.Decoder(list[RequestOutcome]).decode

    def __len__(self) -> int:
        return self._count

    def record_requests(self, finished: Sequence[Finished]) -> None:
        """Remember finished requests; the oldest are forgotten where there are too many."""
        outcomes = [outcome for outcome, _ in finished]
        packed: bytes | list[RequestOutcome]
        try:
            self._pack_into(outcomes, self._room)
            packed = bytes(self._room)
        except (OverflowError, UnicodeEncodeError):
            # A number or a text of a client or a backend that has no place in the format.
            packed = outcomes
        batches = self._batches
        batches.append(_Batch(packed, [decision for _, decision in finished]))
        self._count += len(outcomes)
        while self._count - len(batches[0].decisions) >= self._capacity:
            self._count -= len(batches.popleft().decisions)

    def get(self, trace_id: str) -> RecentRequest | None:
        """The newest request with this trace id, None where it is unknown or too long ago."""
        name = trace_id.encode("utf-8", "surrogatepass")
        for batch in reversed(self._batches):
            outcomes = batch.outcomes
            if isinstance(outcomes, bytes):
                if name not in outcomes:
                    continue
                outcomes = self._unpack(outcomes)
            for outcome, decision in zip(reversed(outcomes), reversed(batch.decisions), strict=True):
                if outcome.request.trace_id == trace_id:
                    return RecentRequest(outcome, decision)
        return None

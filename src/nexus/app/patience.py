"""How long a first token may take before another backend is asked too."""

from nexus.core.decision import Candidate
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.learned import slowness_now
from nexus.core.request import Request
from nexus.proxy.hedging import LEAST_PATIENCE
from nexus.quality import QualityMetricsStore

_TAIL = 0.99
_FACTOR = 3.0
_UNKNOWN_SECONDS = 10.0
_NEVER = float("inf")


class FirstTokenPatience:
    """Three times what this backend and a prompt of this length need, and at least two seconds.

    "Need" is the slower one of the backend's own 99th percentile of the last hour and of what is expected of
    it for a prompt of this length. A backend without a measured first token has ten seconds. Whole answers
    have no first token: nothing is started beside them.
    """

    def __init__(self, store: QualityMetricsStore, tuning: ExpectedTimeSettings) -> None:
        self._store = store
        self._tuning = tuning

    def __call__(self, candidate: Candidate, request: Request) -> float:
        """Seconds from sending an attempt; infinite for never."""
        if not request.needs.stream:
            return _NEVER
        tail_ms = self._store.ttft_quantile(candidate.view.backend.id, _TAIL)
        if tail_ms is None:
            return _UNKNOWN_SECONDS
        needed = tail_ms / 1000.0
        pair = candidate.view.live.learned.get(candidate.model)
        if pair is not None:
            expected = pair.model.streamed.seconds(request.needs.input_tokens)
            slowness = slowness_now(pair, self._tuning, request.received_at)
            # Not slower than it was ever measured: a backend that hangs must not earn itself more patience.
            slowness = min(slowness, max(pair.unhurried, pair.model.median))
            needed = max(needed, expected * slowness)
        return max(LEAST_PATIENCE, _FACTOR * needed)

"""What is published of one backend's (or backend and model's) recent behaviour."""

from collections.abc import Mapping

from msgspec import Struct

UNHEALTHY_ERROR_RATE = 0.5


class AgentQualityMetrics(Struct, frozen=True, gc=False):
    """Figures of one agent as of the last recompute. A new agent is innocent until proven guilty.

    `error_rate_1h` and `success_rate_24h` are in [0, 1]; `avg_ttft_ms` is the truncated mean over the last
    hour's successes (0: none yet); `last_failure_ts` is a monotonic reading, None if it never failed.
    """

    error_rate_1h: float = 0.0
    avg_ttft_ms: int = 0
    success_rate_24h: float = 1.0
    last_failure_ts: float | None = None
    request_count_1h: int = 0

    def is_healthy(self) -> bool:
        """Below half errors, and either used in the last hour or never failed."""
        return self.error_rate_1h < UNHEALTHY_ERROR_RATE and (
            self.request_count_1h > 0 or self.last_failure_ts is None
        )


class QualityView(Struct, frozen=True, gc=False):
    """What routing reads: the published metrics, and the rate that exclusion judges.

    `judged_rate` and `judged_count` are those of the last hour, but only since the last recovery through
    probes: a recovered backend's old failures no longer count against it.
    """

    metrics: AgentQualityMetrics
    judged_rate: float
    judged_count: int


class AgentFigures(Struct, frozen=True):
    """One agent as of the last recompute: the roll-up of everything, and each model's own figures."""

    rollup: QualityView
    models: Mapping[str, QualityView]


def exceeds(view: QualityView, threshold: float, min_samples: int) -> bool:
    """Whether the judged rate is at or over the threshold, on at least `min_samples` outcomes.

    A threshold of 1.0 or more never excludes; 0 excludes on any failure, but never a flawless backend.
    """
    return (
        threshold < 1.0
        and view.judged_count >= min_samples
        and view.judged_rate > 0.0
        and view.judged_rate >= threshold
    )

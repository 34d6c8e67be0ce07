"""What the quality store can be told."""

from msgspec import Struct


class QualityConfig(Struct, frozen=True, kw_only=True):
    """The rule and the limits of a `QualityMetricsStore`. ValueError where a value makes no sense.

    Args:
        error_rate_threshold: share of failures in the last hour from which on an agent is over the threshold;
            0 means any failure, 1.0 or more means never.
        ttft_penalty_threshold_ms: mean time to first token above which a scheduler should mark an agent down;
            0 means never. The store only carries it.
        metrics_interval_seconds: time that should lie between two calls of `recompute_all`.
        min_samples: outcomes a rate needs before it counts.
        max_models: models per agent that get figures of their own (up to 8 kB each). The outcomes of further
            models count for the agent only, until one of its models has been idle for an hour.
    """

    error_rate_threshold: float = 0.5
    ttft_penalty_threshold_ms: int = 3000
    metrics_interval_seconds: float = 30.0
    min_samples: int = 5
    max_models: int = 48

    def __post_init__(self) -> None:
        # `not a >= b` rather than `a < b`: a NaN is refused too.
        if not self.error_rate_threshold >= 0:
            raise ValueError(f"error_rate_threshold must be 0 or more, got {self.error_rate_threshold!r}")
        if not self.ttft_penalty_threshold_ms >= 0:
            raise ValueError(
                f"ttft_penalty_threshold_ms must be 0 or more, got {self.ttft_penalty_threshold_ms!r}"
            )
        if not 0 < self.metrics_interval_seconds < float("inf"):
            raise ValueError(
                f"metrics_interval_seconds must be over 0 and finite, got {self.metrics_interval_seconds!r}"
            )
        if not self.min_samples >= 1:
            raise ValueError(f"min_samples must be 1 or more, got {self.min_samples!r}")
        if not self.max_models >= 1:
            raise ValueError(f"max_models must be 1 or more, got {self.max_models!r}")

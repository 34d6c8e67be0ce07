"""The formulas of the scores. Every score is between 0 and 1000 before the optional reward."""

from typing import Final

from nexus.core.quality import QualityView

FULL_SCORE: Final = 1000.0
PRIORITY_HALF: Final = 50.0
LOAD_HALF: Final = 8.0
LATENCY_HALF_MS: Final = 1000.0

LOW_ERROR_RATE: Final = 0.05
LOW_ERROR_REWARD: Final = 0.2
FAST_TTFT_MS: Final = 1000
FAST_TTFT_REWARD: Final = 0.1


def normalised(value: float, half: float) -> float:
    """`half / (half + value)`: 1 at zero, 1/2 at `half`, falling towards 0; negative values count as zero."""
    return half / (half + value) if value > 0 else 1.0


def ttft_penalty_factor(avg_ttft_ms: float, threshold_ms: float) -> float:
    """What a slow first token leaves of a score, in [0, 1].

    1 up to the threshold (or when the threshold is 0), then falling in a straight line to 0 at twice the
    threshold: `1 - min(1, (avg_ttft_ms - threshold) / threshold)`.
    """
    if threshold_ms <= 0 or avg_ttft_ms <= threshold_ms:
        return 1.0
    return 1.0 - min(1.0, (avg_ttft_ms - threshold_ms) / threshold_ms)


def penalised(score: float, avg_ttft_ms: float, threshold_ms: float) -> float:
    """The score after the penalty for a slow first token."""
    return score * ttft_penalty_factor(avg_ttft_ms, threshold_ms)


def reward_factor(quality: QualityView | None, min_samples: int) -> float:
    """1, plus 0.2 for an error rate under 5 %, plus 0.1 for a mean time to first token under 1 s.

    Only shown merit counts: with fewer than `min_samples` outcomes there is no reward for the rate, and
    without a measured time none for speed.
    """
    factor = 1.0
    if quality is None:
        return factor
    if quality.judged_count >= min_samples and quality.judged_rate < LOW_ERROR_RATE:
        factor += LOW_ERROR_REWARD
    if 0 < quality.metrics.avg_ttft_ms < FAST_TTFT_MS:
        factor += FAST_TTFT_REWARD
    return factor

"""What is published of a model: how often it was called, how often it was of use, and how good it was."""

from msgspec import Struct

from nexus.core.request import Task

PRIOR_QUALITY = 0.5
_NO_EVIDENCE = 0.5


class TaskStats(Struct, frozen=True):
    """One model at one kind of task.

    `avg_latency_ms` is over the `latency_calls` calls whose latency is known (None: all of them), 0 without
    one. `ema_quality` is in [0, 1] and starts at 0.5.
    """

    calls: int = 0
    successes: int = 0
    failures: int = 0
    avg_latency_ms: float = 0.0
    ema_quality: float = PRIOR_QUALITY
    latency_calls: int | None = None

    def success_rate(self) -> float:
        """Successes among the calls that are known to be one or the other; 0.5 with no evidence."""
        return _rate(self.successes, self.failures)


class ModelProfile(Struct, frozen=True):
    """One model over all tasks, whose calls add up to `total_calls`.

    `total_latency_ms` is over the `latency_calls` calls whose latency is known (None: all of them).
    `ema_quality` is in [0, 1] and starts at 0.5; `quality_per_1k_tokens` is it, per thousand tokens of an
    average call (0 without tokens).
    `updated_at` is Unix time in seconds.
    """

    model_id: str
    total_calls: int = 0
    success_count: int = 0
    fail_count: int = 0
    total_latency_ms: float = 0.0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    task_stats: dict[Task, TaskStats] = {}
    ema_quality: float = PRIOR_QUALITY
    quality_per_1k_tokens: float = 0.0
    updated_at: float = 0.0
    latency_calls: int | None = None

    def success_rate(self) -> float:
        """Successes among the calls that are known to be one or the other; 0.5 with no evidence."""
        return _rate(self.success_count, self.fail_count)

    def avg_latency_ms(self) -> float:
        """Mean over the calls whose latency is known; 0.0 without one."""
        calls = self.total_calls if self.latency_calls is None else self.latency_calls
        return self.total_latency_ms / calls if calls else 0.0

    def should_degrade(self, threshold: int) -> bool:
        """Whether failures outnumber successes by more than `threshold`."""
        return self.fail_count > self.success_count + threshold


def _rate(successes: int, failures: int) -> float:
    judged = successes + failures
    return successes / judged if judged else _NO_EVIDENCE

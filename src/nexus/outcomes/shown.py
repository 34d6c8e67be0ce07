"""Profiles as the gateway answers them and the command line prints them."""

from msgspec import UNSET, Struct, UnsetType

from nexus.core.request import Task
from nexus.outcomes.profile import ModelProfile, TaskStats


class ShownTask(Struct, frozen=True):
    """One model at one kind of task."""

    calls: int
    successes: int
    failures: int
    success_rate: float
    avg_latency_ms: float
    ema_quality: float


class ShownProfile(Struct, frozen=True):
    """One model. `updated_at` is Unix time.

    `excluded`: a rate limit keeps it from being chosen now; absent where no running gateway was asked.
    """

    model_id: str
    total_calls: int
    success_count: int
    fail_count: int
    success_rate: float
    avg_latency_ms: float
    total_latency_ms: float
    total_input_tokens: int
    total_output_tokens: int
    ema_quality: float
    quality_per_1k_tokens: float
    task_stats: dict[str, ShownTask]
    updated_at: float
    excluded: bool | UnsetType = UNSET


class ShownProfiles(Struct, frozen=True):
    """All profiles, by model id."""

    profiles: tuple[ShownProfile, ...]


def shown_profile(profile: ModelProfile, *, excluded: bool | UnsetType = UNSET) -> ShownProfile:
    """A profile as it is answered and printed."""
    return ShownProfile(
        model_id=profile.model_id,
        total_calls=profile.total_calls,
        success_count=profile.success_count,
        fail_count=profile.fail_count,
        success_rate=profile.success_rate(),
        avg_latency_ms=profile.avg_latency_ms(),
        total_latency_ms=profile.total_latency_ms,
        total_input_tokens=profile.total_input_tokens,
        total_output_tokens=profile.total_output_tokens,
        ema_quality=profile.ema_quality,
        quality_per_1k_tokens=profile.quality_per_1k_tokens,
        task_stats={Task(task).value: _shown_task(stats) for task, stats in profile.task_stats.items()},
        excluded=excluded,
        updated_at=profile.updated_at,
    )


def _shown_task(stats: TaskStats) -> ShownTask:
    return ShownTask(
        calls=stats.calls,
        successes=stats.successes,
        failures=stats.failures,
        success_rate=stats.success_rate(),
        avg_latency_ms=stats.avg_latency_ms,
        ema_quality=stats.ema_quality,
    )

"""Counts that can be added up: what one process saw, what a file holds, and both together.

A quality average depends on the order of its updates, so it can't be added. Each update is of the form
q -> scale * q + shift, though, and so is any sequence of them. A tally keeps the two numbers of its
sequence: applied to the average in a file they give what a single process would have got, had it seen the
file's updates first and these after them.
"""

from collections.abc import Iterable
from typing import Final

from nexus.core.request import Task
from nexus.outcomes.profile import PRIOR_QUALITY, ModelProfile, TaskStats

EMA_KEEP: Final = 0.8
EMA_TAKE: Final = 0.2


class Tally:
    """Counts of calls, and the change they made to a quality average."""

    __slots__ = (
        "calls",
        "failures",
        "input_tokens",
        "latency_calls",
        "latency_ms",
        "output_tokens",
        "scale",
        "shift",
        "successes",
    )

    def __init__(self) -> None:
        self.calls = 0
        self.successes = 0
        self.failures = 0
        self.latency_ms = 0.0
        self.latency_calls = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.scale = 1.0
        self.shift = 0.0

    def move_quality(self, quality: float) -> None:
        """One more judgement: 0.8 of the average so far, 0.2 of `quality`."""
        self.scale *= EMA_KEEP
        self.shift = EMA_KEEP * self.shift + EMA_TAKE * quality

    def scale_quality(self, factor: float) -> None:
        """Multiply the average."""
        self.scale *= factor
        self.shift *= factor

    def quality(self) -> float:
        """The average, starting from the prior."""
        return min(1.0, max(0.0, self.scale * PRIOR_QUALITY + self.shift))

    def add(self, later: "Tally") -> None:
        """Take in what happened after this."""
        self.calls += later.calls
        self.successes += later.successes
        self.failures += later.failures
        self.latency_ms += later.latency_ms
        self.latency_calls += later.latency_calls
        self.input_tokens += later.input_tokens
        self.output_tokens += later.output_tokens
        self.scale *= later.scale
        self.shift = later.scale * self.shift + later.shift

    def difference(self, current: "Tally") -> "Tally":
        """What has to be added to `current` to get to this; it sets the average, whatever that was."""
        gap = Tally()
        gap.calls = self.calls - current.calls
        gap.successes = self.successes - current.successes
        gap.failures = self.failures - current.failures
        gap.latency_ms = self.latency_ms - current.latency_ms
        gap.latency_calls = self.latency_calls - current.latency_calls
        gap.input_tokens = self.input_tokens - current.input_tokens
        gap.output_tokens = self.output_tokens - current.output_tokens
        gap.scale, gap.shift = 0.0, self.quality()
        return gap


class ModelTally:
    """A model's tally over all tasks and for each; `updated_at` is Unix time."""

    __slots__ = ("tasks", "total", "updated_at")

    def __init__(self) -> None:
        self.total = Tally()
        self.tasks: dict[Task, Tally] = {}
        self.updated_at = 0.0

    def task(self, task: Task) -> Tally:
        """The tally of one task, made where there is none."""
        tally = self.tasks.get(task)
        if tally is None:
            tally = self.tasks[task] = Tally()
        return tally

    def add(self, later: "ModelTally") -> None:
        """Take in what happened after this."""
        self.total.add(later.total)
        for task, tally in later.tasks.items():
            self.task(task).add(tally)
        self.updated_at = max(self.updated_at, later.updated_at)

    def difference(self, current: "ModelTally") -> "ModelTally":
        """What has to be added to `current` to get to this."""
        gap = ModelTally()
        gap.total = self.total.difference(current.total)
        nothing = Tally()
        for task in {**current.tasks, **self.tasks}:
            wanted, there = self.tasks.get(task, nothing), current.tasks.get(task, nothing)
            gap.tasks[task] = wanted.difference(there)
        gap.updated_at = self.updated_at
        return gap


Tallies = dict[str, ModelTally]
"""By model id."""


def add_all(target: Tallies, later: Tallies) -> None:
    """Take what happened later into `target`."""
    for model_id, tally in later.items():
        mine = target.get(model_id)
        if mine is None:
            mine = target[model_id] = ModelTally()
        mine.add(tally)


def publish(model_id: str, tally: ModelTally) -> ModelProfile:
    """The profile that a tally amounts to."""
    total = tally.total
    quality = total.quality()
    tokens = total.input_tokens + total.output_tokens
    return ModelProfile(
        model_id=model_id,
        total_calls=total.calls,
        success_count=total.successes,
        fail_count=total.failures,
        total_latency_ms=total.latency_ms,
        total_input_tokens=total.input_tokens,
        total_output_tokens=total.output_tokens,
        task_stats={task: _task_stats(each) for task, each in sorted(tally.tasks.items()) if each.calls},
        ema_quality=quality,
        quality_per_1k_tokens=quality * 1000.0 * total.calls / tokens if tokens else 0.0,
        updated_at=tally.updated_at,
        latency_calls=total.latency_calls,
    )


def _task_stats(tally: Tally) -> TaskStats:
    return TaskStats(
        calls=tally.calls,
        successes=tally.successes,
        failures=tally.failures,
        avg_latency_ms=tally.latency_ms / tally.latency_calls if tally.latency_calls else 0.0,
        ema_quality=tally.quality(),
        latency_calls=tally.latency_calls,
    )


def from_profile(profile: ModelProfile) -> ModelTally:
    """The tally that a profile is made of.

    Raises:
        ValueError: its figures contradict each other.
    """
    tally = ModelTally()
    tally.updated_at = profile.updated_at
    total = tally.total
    total.calls, total.successes, total.failures = (
        profile.total_calls,
        profile.success_count,
        profile.fail_count,
    )
    total.latency_ms = profile.total_latency_ms
    total.latency_calls = _known(profile.latency_calls, profile.total_calls)
    total.input_tokens, total.output_tokens = profile.total_input_tokens, profile.total_output_tokens
    total.scale, total.shift = 0.0, profile.ema_quality
    for task, stats in profile.task_stats.items():
        each = tally.task(task)
        each.calls, each.successes, each.failures = stats.calls, stats.successes, stats.failures
        each.latency_calls = _known(stats.latency_calls, stats.calls)
        each.latency_ms = stats.avg_latency_ms * each.latency_calls
        each.scale, each.shift = 0.0, stats.ema_quality
    _check(profile.model_id, (total, *tally.tasks.values()))
    if sum(each.calls for each in tally.tasks.values()) > total.calls:
        raise ValueError(f"the profile of {profile.model_id!r} has tasks with more calls than it has itself")
    return tally


def _known(latency_calls: int | None, calls: int) -> int:
    return calls if latency_calls is None else latency_calls


def _check(model_id: str, tallies: Iterable[Tally]) -> None:
    for tally in tallies:
        counts = (tally.calls, tally.successes, tally.failures, tally.latency_calls)
        sums = (tally.latency_ms, tally.input_tokens, tally.output_tokens)
        if min(counts) < 0 or not all(0.0 <= each < float("inf") for each in sums):
            raise ValueError(f"the profile of {model_id!r} has a negative or infinite figure")
        if tally.successes + tally.failures > tally.calls:
            raise ValueError(f"the profile of {model_id!r} has more successes and failures than calls")
        if not 0.0 <= tally.shift <= 1.0:
            raise ValueError(f"the profile of {model_id!r} has a quality outside 0 to 1")

"""Quality as it is written down, so that a restart does not forget it: counts by age, not by clock."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from nexus.quality.agent import Agent
from nexus.quality.windows import (
    DAY_BUCKET_SECONDS,
    DAY_BUCKETS,
    HOUR_BUCKET_SECONDS,
    HOUR_BUCKETS,
    CounterRing,
    OutcomeWindow,
    latest,
)


class Bucket(Struct, frozen=True, gc=False):
    """Counts of one stretch of time that began `age_seconds` before the history was made."""

    age_seconds: float
    counts: tuple[Annotated[int, Meta(ge=0)], ...]


class WindowHistory(Struct, frozen=True):
    """One model's outcomes on one agent; None as its name: those without a window of their own.

    `hour` counts successes, failures, streams, their microseconds to the first token, other answers and their
    microseconds to the first byte; `day` and `forgiven` successes and failures. `forgiven` is None where
    nothing was.
    """

    model: str | None
    hour: tuple[Bucket, ...]
    day: tuple[Bucket, ...]
    forgiven: tuple[Bucket, ...] | None = None
    failure_age_seconds: float | None = None


class AgentHistory(Struct, frozen=True):
    """Everything that is kept of one agent but the sketches of its durations."""

    agent_id: str
    windows: tuple[WindowHistory, ...]


def history_of(agent_id: str, agent: Agent, now: float) -> AgentHistory:
    """The agent's history as of `now` (monotonic seconds)."""
    windows = []
    for model, window in agent.windows.items():
        window.settle(now)
        forgiven = window.forgiven
        windows.append(
            WindowHistory(
                model=model,
                hour=_buckets(window.hour, HOUR_BUCKETS, HOUR_BUCKET_SECONDS, now),
                day=_buckets(window.day, DAY_BUCKETS, DAY_BUCKET_SECONDS, now),
                forgiven=None
                if forgiven is None
                else _buckets(forgiven, HOUR_BUCKETS, HOUR_BUCKET_SECONDS, now),
                failure_age_seconds=None if window.last_failure is None else now - window.last_failure,
            )
        )
    return AgentHistory(agent_id, tuple(windows))


def add_history(agent: Agent, history: AgentHistory, *, now: float, elapsed: float, max_models: int) -> None:
    """Add what was written down `elapsed` seconds ago to the agent; what is too old by now is left out.

    An outcome may come to be half a minute (in the day's figures ten) older or younger than it is.
    """
    for written in history.windows:
        window = agent.open_window(written.model, now, max_models)
        window.settle(now)
        moment = now - elapsed
        _fill(window.hour, written.hour, HOUR_BUCKETS, HOUR_BUCKET_SECONDS, moment)
        _fill(window.day, written.day, DAY_BUCKETS, DAY_BUCKET_SECONDS, moment)
        if written.forgiven:
            _forgive(window, written.forgiven, moment)
        if written.failure_age_seconds is not None:
            window.last_failure = latest((window.last_failure, moment - written.failure_age_seconds))


def _buckets(ring: CounterRing, size: int, seconds: int, now: float) -> tuple[Bucket, ...]:
    if not any(ring.totals):
        return ()
    successes, failures = ring.columns[:2]
    found = []
    for number in range(ring.bucket - size + 1, ring.bucket + 1):
        slot = number % size
        if successes[slot] or failures[slot]:
            found.append(Bucket(now - number * seconds, tuple(column[slot] for column in ring.columns)))
    return tuple(found)


def _fill(ring: CounterRing, buckets: Iterable[Bucket], size: int, seconds: int, moment: float) -> None:
    for bucket in buckets:
        # The nearest bucket, but never one that is not there yet.
        number = min(ring.bucket, round((moment - bucket.age_seconds) / seconds))
        if number <= ring.bucket - size or len(bucket.counts) != len(ring.columns):
            continue
        for index, count in enumerate(bucket.counts):
            ring.columns[index][number % size] += count
            ring.totals[index] += count


def _forgive(window: OutcomeWindow, buckets: Iterable[Bucket], moment: float) -> None:
    """Take over what was forgiven."""
    forgiven = CounterRing(HOUR_BUCKETS, "II", window.hour.bucket)
    _fill(forgiven, buckets, HOUR_BUCKETS, HOUR_BUCKET_SECONDS, moment)
    if any(forgiven.totals):
        if window.forgiven is not None:
            forgiven.merge(window.forgiven)
        window.forgiven = forgiven

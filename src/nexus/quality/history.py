"""Quality as it is written down, so that a restart does not forget it: counts by age, not by clock."""

from typing import Annotated

from msgspec import Meta, Struct

from nexus.quality.agent import Agent
from nexus.quality.windows import (
    DAY_BUCKET_SECONDS,
    HOUR_BUCKET_SECONDS,
    HOUR_BUCKETS,
    CounterRing,
    OutcomeWindow,
    latest,
)

Count = Annotated[int, Meta(ge=0)]


class Counts(Struct, frozen=True, gc=False):
    """Counters of a window: one row each, of numbers per bucket, the oldest first.

    The last bucket began `age_seconds` before the history was made.
    """

    age_seconds: float
    rows: tuple[tuple[Count, ...], ...]


class WindowHistory(Struct, frozen=True):
    """One model's outcomes on one agent; None as its name: those without a window of their own.

    `hour` counts successes, failures, streams, their microseconds to the first token, other answers and their
    microseconds to the first byte; `day` and `forgiven` successes and failures. None: nothing was counted.
    """

    model: str | None
    hour: Counts | None = None
    day: Counts | None = None
    forgiven: Counts | None = None
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
                hour=_counts(window.hour, HOUR_BUCKET_SECONDS, now),
                day=_counts(window.day, DAY_BUCKET_SECONDS, now),
                forgiven=None if forgiven is None else _counts(forgiven, HOUR_BUCKET_SECONDS, now),
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
        _fill(window.hour, written.hour, HOUR_BUCKET_SECONDS, moment)
        _fill(window.day, written.day, DAY_BUCKET_SECONDS, moment)
        if written.forgiven is not None:
            _forgive(window, written.forgiven, moment)
        if written.failure_age_seconds is not None:
            window.last_failure = latest((window.last_failure, moment - written.failure_age_seconds))


def _counts(ring: CounterRing, seconds: int, now: float) -> Counts | None:
    rows = ring.rows()
    begun = [next((place for place, count in enumerate(row) if count), len(row)) for row in rows]
    first = min(begun)
    if first == ring.size:
        return None
    return Counts(now - ring.bucket * seconds, tuple(row[first:] for row in rows))


def _fill(ring: CounterRing, counts: Counts | None, seconds: int, moment: float) -> None:
    if counts is None or len(counts.rows) != len(ring.columns):
        return
    newest = round((moment - counts.age_seconds) / seconds)
    for index, row in enumerate(counts.rows):
        for age, count in enumerate(reversed(row)):
            # The nearest bucket, but never one that is not there yet.
            number = min(ring.bucket, newest - age)
            if number > ring.bucket - ring.size:
                ring.columns[index][number % ring.size] += count
                ring.totals[index] += count


def _forgive(window: OutcomeWindow, counts: Counts, moment: float) -> None:
    """Take over what was forgiven."""
    forgiven = CounterRing(HOUR_BUCKETS, "II", window.hour.bucket)
    _fill(forgiven, counts, HOUR_BUCKET_SECONDS, moment)
    if any(forgiven.totals):
        if window.forgiven is not None:
            forgiven.merge(window.forgiven)
        window.forgiven = forgiven

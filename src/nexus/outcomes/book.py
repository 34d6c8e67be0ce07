"""The profiles of all models: what the file said, what is being written to it, and what came since."""

from collections.abc import Iterable

from nexus.core.request import Task
from nexus.outcomes.call import Call
from nexus.outcomes.profile import ModelProfile
from nexus.outcomes.tally import ModelTally, Tallies, Tally, add_all, from_profile, publish


class ProfileBook:
    """Three layers of tallies; a profile is their sum. Not safe under threads by itself.

    `base` is what the file held when it was last read or written, `_flying` what a save has taken and not yet
    confirmed, `_live` what happened after that. A save that fails puts the second under the third again.
    """

    def __init__(self) -> None:
        self._base: Tallies = {}
        self._flying: Tallies = {}
        self._live: Tallies = {}

    def tally(self, model_id: str, timestamp: float) -> ModelTally:
        """Where to count what happens to a model now; `timestamp` is Unix time."""
        tally = self._live.get(model_id)
        if tally is None:
            tally = self._live[model_id] = ModelTally()
        tally.updated_at = timestamp
        return tally

    @property
    def is_dirty(self) -> bool:
        """Whether anything is not in the file yet."""
        return bool(self._live or self._flying)

    def profile(self, model_id: str) -> ModelProfile | None:
        """The profile of a model, None where nothing was ever counted for it."""
        tally = self._total(model_id)
        return None if tally is None else publish(model_id, tally)

    def profiles(self) -> list[ModelProfile]:
        """All profiles by model id."""
        return [each for name in sorted(self._names()) if (each := self.profile(name)) is not None]

    def replace(self, profiles: list[ModelProfile], timestamp: float) -> None:
        """Make these the profiles of their models; others stay. ValueError (and no change) for a bad one."""
        wanted = {profile.model_id: from_profile(profile) for profile in profiles}
        for model_id, tally in wanted.items():
            current = self._total(model_id) or ModelTally()
            self.tally(model_id, timestamp).add(tally.difference(current))
            self._live[model_id].updated_at = tally.updated_at or timestamp

    # --- saving

    def take(self) -> tuple[Tallies, Tallies]:
        """What is to be added to the file, and what that held; `settle` or `give_back` must follow."""
        self._flying, self._live = self._live, {}
        return self._flying, self._base

    def settle(self, base: Tallies) -> None:
        """The file holds `base` now, with what was taken in it."""
        self._base = base
        self._flying = {}

    def give_back(self) -> None:
        """The file could not be written."""
        add_all(self._flying, self._live)
        self._live, self._flying = self._flying, {}

    def rebase(self, base: Tallies) -> None:
        """Stand on the content of a file that was read."""
        self._base = base

    def totals(self) -> Tallies:
        """Everything, in one layer of its own."""
        found: Tallies = {}
        for layer in (self._base, self._flying, self._live):
            add_all(found, layer)
        return found

    def _names(self) -> set[str]:
        return {*self._base, *self._flying, *self._live}

    def _total(self, model_id: str) -> ModelTally | None:
        found = None
        for layer in (self._base, self._flying, self._live):
            tally = layer.get(model_id)
            if tally is not None:
                found = found or ModelTally()
                found.add(tally)
        return found


def count_completions(book: ProfileBook, calls: Iterable[Call], timestamp: float) -> None:
    """Calls that ended without an error at Unix time `timestamp`; one with output is a success."""
    model, task = "", None
    for call in calls:
        if call.model_id != model or call.task is not task:
            model, task = call.model_id, call.task
            tally = book.tally(model, timestamp)
            total, own = tally.total, tally.task(task)
        total.calls += 1
        own.calls += 1
        if call.has_output:
            total.successes += 1
            own.successes += 1
        latency_ms = call.latency_ms
        if latency_ms:
            total.latency_ms += latency_ms
            total.latency_calls += 1
            own.latency_ms += latency_ms
            own.latency_calls += 1
        total.input_tokens += call.input_tokens
        total.output_tokens += call.output_tokens


def count_failure(tally: ModelTally, task: Task, *, is_new: bool, credited: bool, factor: float) -> None:
    """One failure; a new call unless it was counted at its completion, whose credit is then taken back."""
    for each in (tally.total, tally.task(task)):
        each.calls += is_new
        each.successes -= credited
        each.failures += 1
        each.scale_quality(factor)


def count_judgement(
    tally: ModelTally, task: Task, *, success: bool | None, quality: float | None, credited: bool
) -> None:
    """A judgement of a call that is counted already."""
    for each in (tally.total, tally.task(task)):
        _judge(each, success=success, quality=quality, credited=credited)


def _judge(each: Tally, *, success: bool | None, quality: float | None, credited: bool) -> None:
    if success is True and not credited:
        each.successes += 1
    elif success is False:
        each.successes -= credited
        each.failures += 1
    if quality is not None:
        each.move_quality(quality)

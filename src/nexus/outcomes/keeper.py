"""The profiles of a tracker: looked at, exported, and kept in a file."""

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nexus.core.clock import Clock, SystemClock
from nexus.outcomes.book import ProfileBook
from nexus.outcomes.profile import ModelProfile
from nexus.outcomes.profile_file import ProfileFile


class ProfileKeeper:
    """What a tracker knows of models, without the calls it is made of. Safe under threads.

    `_lock` guards everything in memory; it is never held while a file is read or written.
    """

    def __init__(self, clock: Clock | None) -> None:
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._monotonic = self._clock.monotonic
        self._time = self._clock.time
        self._lock = threading.Lock()
        self._save_lock = threading.Lock()
        self._store: Path | None = None
        self._book = ProfileBook()

    def profile(self, model_id: str) -> ModelProfile | None:
        """The profile of a model; None before its first call ends."""
        with self._lock:
            return self._book.profile(model_id)

    def all_profiles(self) -> list[ModelProfile]:
        """Every profile, by model id."""
        with self._lock:
            return self._book.profiles()

    def export_profiles(self) -> list[ModelProfile]:
        """Every profile, by model id: what `import_profiles` takes."""
        return self.all_profiles()

    def import_profiles(self, profiles: Iterable[ModelProfile | Mapping[str, Any]]) -> None:
        """Make these the profiles of their models; other models keep theirs. The tracker is dirty then.

        A profile may be a mapping too, as a JSON reader gives it.

        Raises:
            ValueError: a profile is none, or contradicts itself; nothing was imported.
        """
        wanted = [msgspec.convert(each, ModelProfile) for each in profiles]
        with self._lock:
            self._book.replace(wanted, self._time())

    def is_dirty(self) -> bool:
        """Whether profiles changed since they were last saved."""
        with self._lock:
            return self._book.is_dirty

    def save_to_file(self, path: str | os.PathLike[str]) -> None:
        """Write the profiles to a file, in one step; only its owner can read it.

        The file that was loaded, or saved to first, is the tracker's store: only the changes since the last
        time are added to it, under a lock, so several processes may share it, and what they wrote is taken
        in. Any other file becomes a plain copy.

        Raises:
            OSError: it can't be written; the changes are kept for the next time.
        """
        target = Path(path).absolute()
        file = ProfileFile(target, self._clock)
        with self._save_lock:
            if self._store is not None and target != self._store:
                with self._lock:
                    totals = self._book.totals()
                file.replace(totals)
                return
            self._store = target
            with self._lock:
                changes, known = self._book.take()
            try:
                base = file.merge(changes, known)
            except BaseException:
                with self._lock:
                    self._book.give_back()
                raise
            with self._lock:
                self._book.settle(base)

    def save_if_dirty(self, path: str | os.PathLike[str]) -> bool:
        """As `save_to_file` if anything changed; whether it did."""
        if not self.is_dirty():
            return False
        self.save_to_file(path)
        return True

    def load_from_file(self, path: str | os.PathLike[str]) -> int:
        """Take the profiles of a file, which becomes the store; returns how many there are.

        What was counted before stays and is added. A file that is not there is empty; a damaged one is moved
        aside with a warning.

        Raises:
            OSError: it can't be read.
        """
        target = Path(path).absolute()
        with self._save_lock:
            base = ProfileFile(target, self._clock).read()
            self._store = target
            with self._lock:
                self._book.rebase(base)
        return len(base)

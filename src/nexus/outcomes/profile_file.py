"""Profiles in a file that several processes share."""

import logging
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from nexus.core.clock import Clock
from nexus.ledger.shared_file import locked, replace_file
from nexus.outcomes.profile import ModelProfile
from nexus.outcomes.tally import Tallies, add_all, from_profile, publish

_LOG = logging.getLogger(__name__)
PROFILES_FILE = "profiles.json"
"""The name of the file in a data directory."""
_LOCK_SECONDS = 10.0


class _Content(Struct, frozen=True):
    """The form of the file."""

    profiles: list[ModelProfile]
    version: int = 1


class ProfileFile:
    """One file of profiles.

    It is replaced in one step, so a reader never sees half of it, and changed under a lock (a second file
    beside it), so two processes lose nothing of each other's. A damaged file is moved aside with a warning.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock

    def read(self) -> Tallies:
        """What the file holds; nothing where there is none. OSError if it can't be read."""
        try:
            return self._content()
        except ValueError:
            # Only under the lock: otherwise another process may be about to repair what is moved away here.
            with locked(self.path, self._clock, seconds=_LOCK_SECONDS):
                return self._content_or_aside({})

    def look(self) -> list[ModelProfile]:
        """The profiles in the file, which stays as it is; nothing where there is none.

        Raises:
            ValueError: it is damaged.
            OSError: it can't be read.
        """
        return [publish(model_id, tally) for model_id, tally in sorted(self._content().items())]

    def merge(self, changes: Tallies, known: Tallies) -> Tallies:
        """Add changes to what the file holds, and return that. OSError if it can't be written.

        `known` is what the file held the last time: it stands in for a file that was damaged since.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path, self._clock, seconds=_LOCK_SECONDS):
            content = self._content_or_aside(known)
            add_all(content, changes)
            self._put(content)
        return content

    def replace(self, content: Tallies) -> None:
        """Write a copy over whatever is there. OSError if it can't be written."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path, self._clock, seconds=_LOCK_SECONDS):
            self._put(content)

    def _content(self) -> Tallies:
        try:
            profiles = msgspec.json.decode(self.path.read_bytes(), type=_Content).profiles
            return {profile.model_id: from_profile(profile) for profile in profiles}
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(str(error)) from None

    def _content_or_aside(self, known: Tallies) -> Tallies:
        try:
            return self._content()
        except ValueError as error:
            aside = self.path.with_name(f"{self.path.name}.corrupt-{self._clock.time():.0f}-{os.getpid()}")
            self.path.rename(aside)
            what = "what this process knew is written anew" if known else "profiles start anew"
            _LOG.warning("%s is damaged (%s): it was moved to %s; %s", self.path, error, aside, what)
            content: Tallies = {}
            add_all(content, known)
            return content

    def _put(self, content: Tallies) -> None:
        profiles = [publish(model_id, tally) for model_id, tally in sorted(content.items())]
        replace_file(self.path, msgspec.json.encode(_Content(profiles)))

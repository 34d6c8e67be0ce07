"""Suggestions and verdicts as they travel between a gateway and whoever looks into a repository."""

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from nexus.outcomes.code.winnow import Fingerprint, pack, unpack
from nexus.outcomes.outcome import CodeOutcome

MAX_ENTRIES = 10_000


class ShownSuggestion(Struct, frozen=True):
    """A call whose answer suggested code, `age_seconds` ago; one fingerprint for each code block."""

    trace_id: str
    model_id: str
    age_seconds: float
    fingerprints: tuple[Fingerprint, ...]


class ShownSuggestions(Struct, frozen=True):
    """What waits for a repository, oldest first, each until it is `deadline_seconds` old."""

    deadline_seconds: float
    suggestions: tuple[ShownSuggestion, ...]


class GivenVerdict(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of the code of one call."""

    trace_id: str
    code_outcome: CodeOutcome


class GivenCheck(Struct, frozen=True, forbid_unknown_fields=True):
    """A call whose code was looked for and not found.

    `elsewhere` has for each fingerprint those of its hashes that are there, in code that came from others.
    """

    trace_id: str
    elsewhere: tuple[bytes, ...] = ()


class GivenVerdicts(Struct, frozen=True, forbid_unknown_fields=True):
    """The result of a look into a repository; at most 10,000 of each."""

    verdicts: Annotated[tuple[GivenVerdict, ...], Meta(max_length=MAX_ENTRIES)] = ()
    checked: Annotated[tuple[GivenCheck, ...], Meta(max_length=MAX_ENTRIES)] = ()


def with_elsewhere(
    fingerprints: tuple[Fingerprint, ...], elsewhere: tuple[bytes, ...]
) -> tuple[Fingerprint, ...]:
    """The fingerprints with what a check found elsewhere; hashes that are not theirs are left out.

    Raises:
        ValueError: there is not one entry for each fingerprint, or one is no list of hashes.
    """
    if len(elsewhere) != len(fingerprints):
        raise ValueError(f"{len(fingerprints)} fingerprints need as many entries, got {len(elsewhere)}")
    return tuple(
        replace(each, elsewhere=pack(unpack(each.hashes) & unpack(found)))
        for each, found in zip(fingerprints, elsewhere, strict=True)
    )

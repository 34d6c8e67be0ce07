"""Suggestions for misspelled names."""

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str:
    """`did you mean x?` for the most similar known name, empty where none is near."""
    spelled = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=0.6)
    return f"did you mean {spelled[matches[0]]}?" if matches else ""

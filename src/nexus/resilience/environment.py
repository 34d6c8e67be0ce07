"""Numbers from environment variables, with an error that names the variable."""

import os
from collections.abc import Mapping


def read_int(name: str, default: int, *, minimum: int, environ: Mapping[str, str] | None = None) -> int:
    """The whole number in variable `name`, `default` where it is unset or blank.

    Raises ValueError, naming the variable, for anything but a whole number of at least `minimum`.
    """
    text = _text(name, environ)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        raise ValueError(f"{name} must be a whole number of at least {minimum}, got {text!r}")
    return value


def read_seconds(
    name: str, default: float, *, zero: bool = False, environ: Mapping[str, str] | None = None
) -> float:
    """The number in variable `name`, `default` where it is unset or blank.

    Raises ValueError, naming the variable, for anything but a finite number above 0 (`zero`: 0 is fine too).
    """
    text = _text(name, environ)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not is_positive(value, zero=zero):
        raise ValueError(f"{name} must be a number {'of at least' if zero else 'above'} 0, got {text!r}")
    return value


def is_positive(value: float, *, zero: bool = False) -> bool:
    """Whether a number is finite and above 0 (`zero`: or 0)."""
    return 0 < value < float("inf") or (zero and value == 0)


def _text(name: str, environ: Mapping[str, str] | None) -> str:
    return (os.environ if environ is None else environ).get(name, "").strip()

"""Reading JSON answers of servers nobody here controls: strict about the form, lenient about extras."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from nexus.dialects.base import DialectError

_SHOWN_CHARACTERS: Final = 80


def json_object(body: bytes) -> Mapping[str, Any]:
    """The answer as a mapping.

    Raises:
        DialectError: it is not JSON, not an object, or an object that reports an error.
    """
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DialectError(f"the answer is not JSON ({error}): {_start_of(body)}") from None
    if not isinstance(answer, dict):
        raise DialectError(f"the answer is not a JSON object: {_start_of(body)}")
    if answer.get("error"):
        raise DialectError(f"the answer is an error: {_start_of(body)}")
    return answer


def entries(
    answer: Mapping[str, Any], key: str, name_keys: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each object of the list at `key` with its name: the first of `name_keys` that holds one.

    A list that is null is empty, as servers written in Go send it.

    Raises:
        DialectError: there is no such list, or something in it is not an object with a name.
    """
    listed = answer.get(key, "")
    if listed is None:
        return
    if not isinstance(listed, list):
        raise DialectError(f"the answer has no list `{key}`")
    for index, entry in enumerate(listed):
        if not isinstance(entry, dict):
            raise DialectError(f"`{key}[{index}]` is not an object")
        name = next((entry[each] for each in name_keys if entry.get(each)), None)
        if not isinstance(name, str):
            raise DialectError(f"`{key}[{index}]` has no `{name_keys[0]}` that is a string")
        yield name, entry


def mapping_at(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at `key`; empty where there is none."""
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def strings_at(entry: Mapping[str, Any], key: str) -> frozenset[str] | None:
    """The strings in the list at `key`; None where there is no list."""
    value = entry.get(key)
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else None


def first_count(entry: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    """The first whole number above 0 at one of `keys`, in their order."""
    for key in keys:
        value = entry.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def first_flag(entry: Mapping[str, Any], keys: Sequence[str]) -> bool | None:
    """The first true or false at one of `keys`, in their order."""
    for key in keys:
        value = entry.get(key)
        if isinstance(value, bool):
            return value
    return None


def _start_of(body: bytes) -> str:
    text = " ".join(body[: 2 * _SHOWN_CHARACTERS].decode("utf-8", "replace").split())
    return text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "") or "(empty)"

"""Turning a validation error into a sentence that says what is wrong and what is allowed."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from nexus.config.catalogue import Kind, Setting, all_settings, section_class, setting_at
from nexus.config.suggest import closest

_NEEDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "tuple_type": "a list",
}
_LONGEST_SHOWN = 60


def complaint(error: ErrorDetails) -> tuple[str, str]:
    """The message and the hint for one error of the model."""
    path = error["loc"]
    if error["type"] == "extra_forbidden":
        return unknown_key(path)
    if error["type"] == "missing":
        return f"{_dotted(path)} is missing", ""
    setting = setting_at(path)
    secret = _is_secret(path, setting)
    if error["type"] == "value_error":
        return f"{_dotted(path)}: {error['ctx']['error']}", ""
    value = error["input"]
    allowed = setting.allowed if setting else _NEEDS.get(error["type"], "")
    wording = f"must be {allowed}" if allowed else error["msg"].removeprefix("Input should be ")
    if not allowed and error["msg"].startswith("Input should be "):
        wording = "must be " + wording
    message = f"{_dotted(path)} {wording}" + ("" if secret else f", not {show(value)}")
    choices = setting.choices if setting and setting.kind is Kind.CHOICE else ()
    return message, closest(value, choices) if isinstance(value, str) else ""


def unknown_key(path: tuple[str | int, ...]) -> tuple[str, str]:
    """The message and the hint for a key or section that does not exist."""
    name = str(path[-1])
    model = section_class(path[:-1])
    known = list(model.model_fields) if model else []
    if len(path) == 1:
        return f"unknown section {name!r}", closest(name, known)
    hint = closest(name, known)
    if not hint:
        homes = [setting.section for setting in all_settings() if setting.name == name and setting.section]
        hint = f"there is one in [{homes[0]}]" if homes else ""
    return f"unknown key {name!r} in {_dotted(path[:-1])}", hint


def show(value: Any) -> str:
    """A value in a message, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _is_secret(path: tuple[str | int, ...], setting: Setting | None) -> bool:
    parent = setting_at(path[:-1])
    return bool((setting and setting.secret) or (parent and parent.secret))


def _dotted(path: tuple[str | int, ...]) -> str:
    """`backends[2].url`, counted from 1 as a reader of the file does."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text

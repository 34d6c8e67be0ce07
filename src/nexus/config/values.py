"""Reading a value from the text of a variable or a flag, and showing one."""

import json
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from nexus.config.catalogue import Kind, Setting
from nexus.core.masking import MASK, mask_secrets


def read_value(setting: Setting, raw: str) -> Any:
    """What `raw` means for this setting.

    Numbers and booleans are read as TOML does, lists and tables as JSON or TOML, text as it stands (quotes
    around the whole of it are dropped). What can't be read is returned as text, and validation refuses it.

    Raises:
        ValueError: A list or a table is neither JSON nor TOML.
    """
    if setting.optional and raw.strip().lower() == "none":
        return None
    if setting.kind in {Kind.LIST, Kind.TABLE}:
        return _read_structure(raw)
    if setting.kind in {Kind.TEXT, Kind.CHOICE}:
        value = _toml(raw) if raw[:1] in {'"', "'"} else None
        return value if isinstance(value, str) else raw
    return _read_scalar(setting.kind, raw.strip())


def _read_scalar(kind: Kind, raw: str) -> Any:
    if raw.lower() in {"true", "false"}:
        return raw.lower() == "true"
    value = _toml(raw)
    if value is None and kind in {Kind.WHOLE, Kind.NUMBER}:
        # `.5` and `08` are numbers to a shell, but not to TOML
        convert: Callable[[str], Any] = int if kind is Kind.WHOLE else float
        try:
            value = convert(raw)
        except ValueError:
            return raw
    return raw if value is None else value


def _read_structure(raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        value = _toml(raw)
    if value is None:
        raise ValueError("is neither JSON nor TOML")
    return value


def _toml(raw: str) -> Any:
    """The one TOML value in `raw`, None where it isn't exactly one."""
    try:
        parsed = tomllib.loads("x = " + raw)
    except tomllib.TOMLDecodeError:
        return None
    return parsed["x"] if len(parsed) == 1 else None


def plain(value: Any) -> Any:
    """A setting's value in the terms of JSON."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def masked(value: Any) -> Any:
    """A secret's value with its shape but not its content: header values, the user of a URL."""
    if isinstance(value, Mapping):
        return dict.fromkeys(value, MASK)
    return mask_secrets(value) if isinstance(value, str) else value


def to_toml(value: Any) -> str:
    """A value as TOML writes it, on one line. A key without a value is left out: TOML has no null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        given = {key: item for key, item in value.items() if item is not None}
        pairs = ", ".join(f"{to_toml(key)} = {to_toml(item)}" for key, item in given.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    return str(value)

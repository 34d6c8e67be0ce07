"""Every setting as a list: its key, variable, flag, type in words, default and notes. Read off the model."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nexus.config.model import Config
from nexus.config.section import mark


class Kind(StrEnum):
    """The shape of a value, as far as reading it from a variable or a flag goes."""

    TEXT = "text"
    BOOLEAN = "boolean"
    WHOLE = "whole number"
    NUMBER = "number"
    CHOICE = "choice"
    LIST = "list"
    TABLE = "table"


@dataclass(frozen=True)
class Setting:
    """One key of the file.

    `path` is where it sits, such as `("routing", "budget", "soft_limit_percent")`. `is_table` marks a section
    inside a section, which can also be given whole.
    """

    path: tuple[str, ...]
    field: FieldInfo
    kind: Kind
    optional: bool
    is_table: bool = False

    @property
    def key(self) -> str:
        """The dotted name."""
        return ".".join(self.path)

    @property
    def section(self) -> str:
        """The dotted name of the table it stands in; empty for `data_dir`."""
        return ".".join(self.path[:-1])

    @property
    def name(self) -> str:
        """The key within its section."""
        return self.path[-1]

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "NEXUS_" + "__".join(self.path).upper()

    @property
    def legacy_variable(self) -> str:
        """An older variable that is read too, or empty."""
        return str(mark(self.field, "legacy") or "")

    @property
    def flag(self) -> str:
        """The flag of `serve`."""
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def short_flag(self) -> str:
        """A second, shorter flag, or empty."""
        return str(mark(self.field, "short") or "")

    @property
    def live(self) -> bool:
        """Whether a reload changes it without a restart."""
        return bool(mark(self.field, "live"))

    @property
    def secret(self) -> bool:
        """Whether its value is masked wherever it is shown."""
        return bool(mark(self.field, "secret"))

    @property
    def example(self) -> str:
        """A TOML value, or empty."""
        return str(mark(self.field, "example") or "")

    @property
    def description(self) -> str:
        """What it does, in a sentence."""
        return self.field.description or ""

    @property
    def default(self) -> Any:
        """The value without any configuration; None where there is none."""
        return None if self.field.is_required() else self.field.default

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a choice, without the empty one."""
        annotation = _without_none(self.field.annotation)
        return tuple(value for value in get_args(annotation) if value) if self.kind is Kind.CHOICE else ()

    @property
    def allowed(self) -> str:
        """What the value must be, in words: `a whole number from 0 to 65535`."""
        return _allowed(self)


def walk(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[Setting]:
    """The settings of a section and of the sections inside it, in the order of the model."""
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        inner = _section_of(field.annotation)
        if inner is None:
            yield Setting(path, field, _kind(field.annotation), optional=_is_optional(field.annotation))
            continue
        if prefix:
            yield Setting(path, field, Kind.TABLE, optional=False, is_table=True)
        yield from walk(inner, path)


@cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting that a variable and a flag exist for."""
    return tuple(walk(Config))


def by_section() -> Mapping[str, tuple[Setting, ...]]:
    """The settings of every table of the file; those above the tables come first, under an empty name."""
    grouped: dict[str, list[Setting]] = {"": []}
    for setting in all_settings():
        if not setting.is_table:
            grouped.setdefault(setting.section, []).append(setting)
    return {section: tuple(settings) for section, settings in grouped.items()}


def section_about(section: str) -> str:
    """What a table is for, in a sentence."""
    model = section_class(tuple(section.split(".")))
    about = (model.__doc__ or "").partition(": ")[2] if model else ""
    return about[:1].upper() + about[1:]


def section_class(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model of the table at `path` (indexes and all), None where there is no such table."""
    model: type[BaseModel] = Config
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = None if field is None else _section_of(field.annotation) or _element_of(field.annotation)
        if inner is None:
            return None
        model = inner
    return model


def setting_at(path: tuple[str | int, ...]) -> Setting | None:
    """The setting at `path`, inside arrays of tables too; None where there is no such key."""
    if not path or not isinstance(path[-1], str):
        return None
    model = section_class(path[:-1])
    field = None if model is None else model.model_fields.get(path[-1])
    if field is None or (len(path) == 1 and _section_of(field.annotation)):
        return None
    names = tuple(part for part in path if isinstance(part, str))
    table = _section_of(field.annotation) is not None
    return Setting(names, field, _kind(field.annotation), _is_optional(field.annotation), is_table=table)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in {Union, types.UnionType}:
        return next(part for part in get_args(annotation) if part is not types.NoneType)
    return annotation


def _is_optional(annotation: Any) -> bool:
    return _without_none(annotation) is not annotation


def _section_of(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _element_of(annotation: Any) -> type[BaseModel] | None:
    arguments = get_args(annotation)
    return _section_of(arguments[0]) if get_origin(annotation) is tuple and arguments else None


_KINDS: dict[Any, Kind] = {
    bool: Kind.BOOLEAN,
    int: Kind.WHOLE,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    Path: Kind.TEXT,
    Literal: Kind.CHOICE,
    tuple: Kind.LIST,
    dict: Kind.TABLE,
}


def _kind(annotation: Any) -> Kind:
    plain = _without_none(annotation)
    if _section_of(plain):
        return Kind.TABLE
    return _KINDS[get_origin(plain) or plain]


def _allowed(setting: Setting) -> str:
    if setting.kind is Kind.BOOLEAN:
        return "true or false"
    if setting.kind is Kind.CHOICE:
        return "one of " + ", ".join(setting.choices)
    if setting.kind is Kind.LIST:
        return "a list of " + ("tables" if _element_of(setting.field.annotation) else "text")
    if setting.kind is Kind.TABLE:
        return "a table" if setting.is_table else "a table of " + _items(setting.field.annotation)
    words = {Kind.TEXT: "text", Kind.WHOLE: "a whole number", Kind.NUMBER: "a number"}[setting.kind]
    return words + _range(setting.field.metadata)


def _items(annotation: Any) -> str:
    value = get_args(annotation)[1]
    if get_origin(value) is Annotated:
        value = get_args(value)[0]
    if get_origin(value) is Literal:
        return ", ".join(get_args(value))
    return "lists of text" if get_origin(value) is tuple else "text"


def _range(metadata: list[Any]) -> str:
    low: Any = None
    high: Any = None
    for constraint in metadata:
        if isinstance(constraint, annotated_types.Gt):
            return f" over {constraint.gt}"
        if isinstance(constraint, annotated_types.Ge):
            low = constraint.ge
        elif isinstance(constraint, annotated_types.Le):
            high = constraint.le
        elif isinstance(constraint, annotated_types.MinLen):
            return ", not empty"
    if low is None:
        return ""
    return f" of at least {low}" if high is None else f" from {low} to {high}"

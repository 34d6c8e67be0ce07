"""What every section of the model has in common."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A frozen table of settings that refuses unknown keys and converts no types behind the user's back."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
    )


def setting(
    default: Any,
    description: str,
    *,
    live: bool = False,
    secret: bool = False,
    example: str = "",
    short: str = "",
    legacy: str = "",
    **constraints: Any,
) -> Any:
    """A field of a section.

    `live`: a reload changes it without a restart. `secret`: its value is masked wherever it is shown.
    `example` is a TOML value for the template where the default says too little. `short` is a second flag,
    `legacy` a variable with a name of its own that is read below the `NEXUS_` one.
    """
    extra: dict[str, Any] = {
        "live": live,
        "secret": secret,
        "example": example,
        "short": short,
        "legacy": legacy,
    }
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def mark(field: Any, name: str) -> Any:
    """What `setting` noted of a field under `name`, None for a field that was declared otherwise."""
    extra = field.json_schema_extra
    return extra.get(name) if isinstance(extra, Mapping) else None


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_level(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    lowered = value.lower()
    return "warning" if lowered == "warn" else lowered


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""A list of strings, kept as a tuple."""

AsTuple = BeforeValidator(_as_tuple)
"""Turns the list that TOML and JSON give into a tuple."""

AnyCase = BeforeValidator(_as_level)
"""Accepts a log level in any case, and `warn` for `warning`."""

"""The effective values with the source of each, secrets masked: what `nexus config show` prints."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from nexus.config.backend import BackendSettings
from nexus.config.catalogue import by_section, walk
from nexus.config.load import LoadedConfig
from nexus.config.sources import Origin
from nexus.config.values import masked, plain


class Effective(NamedTuple):
    """One setting in effect. `table` is the section, or `backends.<id>` for a key of a backend."""

    table: str
    key: str
    value: Any
    origin: Origin


def effective(loaded: LoadedConfig) -> Iterator[Effective]:
    """Every setting in the order of the file, then the keys of every backend."""
    for section, settings in by_section().items():
        for setting in settings:
            if setting.key == "backends":
                continue
            value: Any = loaded.config
            for name in setting.path:
                value = getattr(value, name)
            shown = plain(masked(value) if setting.secret else value)
            yield Effective(section, setting.name, shown, loaded.sources[setting.path])
    for index, backend in enumerate(loaded.config.backends):
        for setting in walk(BackendSettings):
            value = getattr(backend, setting.name)
            shown = plain(masked(value) if setting.secret else value)
            origin = loaded.sources["backends", index, setting.name]
            yield Effective(f"backends.{backend.id}", setting.name, shown, origin)


def as_tables(loaded: LoadedConfig) -> dict[str, Any]:
    """The same for machines: `{"<section>": {"<key>": {"value", "source"}}}`.

    `data_dir` stands above the sections, and `backends` has a table of keys per id.
    """
    tables: dict[str, Any] = {}
    for entry in effective(loaded):
        cell = {"value": entry.value, "source": entry.origin.source}
        table = tables
        for name in _nesting(entry.table):
            table = table.setdefault(name, {})
        table[entry.key] = cell
    tables.setdefault("backends", {})
    return tables


def _nesting(table: str) -> tuple[str, ...]:
    if table.startswith("backends."):
        return ("backends", table.removeprefix("backends."))
    return (table,) if table else ()

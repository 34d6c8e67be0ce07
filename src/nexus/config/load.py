"""Reading the configuration: flag over environment over file over default, and every mistake at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from nexus.config.backend import BackendSettings
from nexus.config.catalogue import all_settings
from nexus.config.checks import cross_check
from nexus.config.complaints import complaint
from nexus.config.data_dir import default_data_dir, resolve_data_dir
from nexus.config.errors import ConfigError
from nexus.config.model import Config
from nexus.config.sources import DEFAULT, Layers, Origin, Where

FILE_NAME = "nexus.toml"


@dataclass(frozen=True)
class Asked:
    """Where a configuration was to be read from, besides the environment; see `load_config`."""

    path: Path | None
    flags: Mapping[str, str]
    cwd: Path


@dataclass(frozen=True)
class LoadedConfig:
    """A valid configuration and where it came from.

    `sources` has an entry for every setting, by its path: `("quality", "min_samples")`, and for the keys of
    each backend: `("backends", 0, "url")`. `file` is None where no file was read. `again` reads it all once
    more, from the same places, and raises what `load_config` raises; `asked` says which places these are.
    """

    config: Config
    sources: Mapping[Where, Origin]
    file: Path | None
    again: "Callable[[], LoadedConfig] | None" = field(default=None, compare=False, repr=False)
    asked: Asked | None = field(default=None, compare=False, repr=False)

    def source(self, key: str) -> Origin:
        """Where the setting with this dotted name was set; a default for a name nobody set."""
        return self.sources.get(tuple(key.split(".")), DEFAULT)


def load_config(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str], cwd: Path
) -> LoadedConfig:
    """The effective configuration.

    Args:
        path: The file; None: the one that `NEXUS_CONFIG` names, else `nexus.toml` in `cwd` if there is one.
        environ: The environment variables.
        flags: Flags as they are written on the command line, each with its text:
            `{"--quality-min-samples": "3"}`.
        cwd: The working directory.

    Raises:
        ConfigError: It is not valid; the error carries every problem with its place.
    """
    layers = Layers()
    file = _find_file(path, environ, cwd)
    if file is not None:
        layers.apply_file(file, _label(file, cwd))
    layers.apply_environment(environ)
    layers.apply_flags(flags)
    _fill_places(layers, file, environ, cwd)
    config = _validate(layers, environ)
    if config is None or layers.problems:
        raise ConfigError(layers.problems)
    again = partial(load_config, path, environ, flags, cwd)
    return LoadedConfig(config, _sources(layers, config), file, again, Asked(path, flags, cwd))


def restart_needed(old: Config, new: Config) -> tuple[str, ...]:
    """The dotted names of settings that differ and that a running gateway can't change."""
    return tuple(
        setting.key
        for setting in all_settings()
        if not (setting.live or setting.is_table) and _value(old, setting.path) != _value(new, setting.path)
    )


def _find_file(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = path or (Path(environ["NEXUS_CONFIG"]) if environ.get("NEXUS_CONFIG") else None)
    if named is not None:
        return cwd / named
    default = cwd / FILE_NAME
    return default if default.is_file() else None


def _label(file: Path, cwd: Path) -> str:
    return str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)


def _fill_places(layers: Layers, file: Path | None, environ: Mapping[str, str], cwd: Path) -> None:
    """Put absolute places where a relative one or none was given."""
    given = layers.data.get("data_dir") or ""
    if not isinstance(given, str):
        return
    origin = layers.origin(("data_dir",)) if given else DEFAULT
    base = file.parent if file is not None and origin.source == "file" else cwd
    data_dir = resolve_data_dir(given, base, environ) if given else default_data_dir(environ)
    layers.put(("data_dir",), str(data_dir), origin)
    ledger = layers.data.get("ledger", {})
    if isinstance(ledger, Mapping) and ledger.get("url", "") == "":
        layers.put(("ledger", "url"), f"sqlite:///{data_dir}/nexus.db", DEFAULT)


def _validate(layers: Layers, environ: Mapping[str, str]) -> Config | None:
    if layers.readable:
        for finding in cross_check(layers.data, environ):
            layers.report(layers.origin(finding.path), finding.message, finding.hint)
    try:
        return Config.model_validate(layers.data)
    except ValidationError as error:
        for details in error.errors():
            layers.report(layers.origin(details["loc"]), *complaint(details))
    return None


def _sources(layers: Layers, config: Config) -> Mapping[Where, Origin]:
    paths: list[Where] = [setting.path for setting in all_settings() if not setting.is_table]
    paths += [
        ("backends", index, name)
        for index in range(len(config.backends))
        for name in BackendSettings.model_fields
    ]
    return {path: layers.origin(path) if layers.holds(path) else DEFAULT for path in paths}


def _value(config: Config, path: tuple[str, ...]) -> object:
    value: object = config
    for name in path:
        value = getattr(value, name)
    return value

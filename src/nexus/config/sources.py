"""Where values come from: file, environment and flags, laid over each other in the order of precedence."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nexus.config.catalogue import Kind, Setting, all_settings
from nexus.config.errors import Problem
from nexus.config.locate import locate
from nexus.config.suggest import closest
from nexus.config.values import read_value

Where = tuple[str | int, ...]

_SYNTAX = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)", re.DOTALL)
_RANKS = {"file": 0, "env": 1, "flag": 2, "default": 3}


class Origin(NamedTuple):
    """Where a value was set. `place` is a file and line, a variable or a flag; empty for a default."""

    source: Literal["flag", "env", "file", "default"]
    place: str = ""
    line: int = 0


DEFAULT = Origin("default")


class Layers:
    """The raw values of all sources, one over the other, and the place of each.

    Apply the sources from the weakest to the strongest. `data` is what they add up to, `problems` what could
    not be read. `readable` is False when the file was lost to an error as a whole.
    """

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.readable = True
        self._file = ""
        self._lines: dict[Where, int] = {}
        self._set: dict[Where, Origin] = {}
        self._found: list[tuple[tuple[int, int], Problem]] = []

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found, ordered by place: file lines, then variables, then flags."""
        return tuple(problem for _, problem in sorted(self._found, key=lambda found: found[0]))

    def report(self, origin: Origin, message: str, hint: str = "") -> None:
        """Add a problem."""
        place = origin.place or "configuration"
        self._found.append(((_RANKS[origin.source], origin.line), Problem(place, message, hint)))

    def origin(self, path: Where) -> Origin:
        """Where the value at `path`, or the nearest table around it, was set."""
        for length in range(len(path), 0, -1):
            prefix = path[:length]
            if prefix in self._set:
                return self._set[prefix]
            if prefix in self._lines:
                return self._in_file(self._lines[prefix])
        return DEFAULT

    def holds(self, path: Where) -> bool:
        """Whether any source gave a value at `path`; its tables must be tables."""
        value: Any = self.data
        for part in path:
            if not isinstance(part, int) and part not in value:
                return False
            value = value[part]
        return True

    def put(self, path: tuple[str, ...], value: Any, origin: Origin) -> None:
        """Lay `value` over what is there."""
        table = self.data
        for part in path[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                return  # a section that is no table is refused anyway
            table = inner
        table[path[-1]] = value
        for known in (self._lines, self._set):
            for below in [where for where in known if where[: len(path)] == path]:
                del known[below]
        self._set[path] = origin

    def apply_file(self, path: Path, label: str) -> None:
        """Read a TOML file; `label` is what messages call it."""
        self._file = label
        try:
            text = path.read_text(encoding="utf-8-sig")
            self.data = tomllib.loads(text)
        except OSError as error:
            self._lose_file(0, f"can't read the file: {error.strerror}")
        except UnicodeDecodeError:
            self._lose_file(0, "the file is not UTF-8 text")
        except tomllib.TOMLDecodeError as error:
            match = _SYNTAX.fullmatch(str(error))
            line = int(match["line"] or text.count("\n") + 1) if match else 0
            self._lose_file(line, f"not valid TOML: {match['what'] if match else error}")
        else:
            self._lines = dict(locate(text))

    def apply_environment(self, environ: Mapping[str, str]) -> None:
        """Read the variables with names of their own, and over them the `NEXUS_` ones."""
        legacy = {setting.legacy_variable: setting for setting in all_settings() if setting.legacy_variable}
        self._apply_variables(legacy, environ)
        known = {setting.variable: setting for setting in all_settings()}
        self._apply_variables(known, environ)
        for name in environ:
            if name.startswith("NEXUS_") and "__" in name and name not in known:
                self.report(Origin("env", name), "no such setting", closest(name, known))

    def apply_flags(self, flags: Mapping[str, str]) -> None:
        """Read flags, keyed as they are written: `--quality-min-samples`."""
        known = {setting.flag: setting for setting in all_settings()}
        known |= {setting.short_flag: setting for setting in all_settings() if setting.short_flag}
        found: list[tuple[Setting, str, Origin]] = []
        for flag, raw in flags.items():
            if flag in known:
                found.append((known[flag], raw, Origin("flag", flag)))
            else:
                self.report(Origin("flag", flag), "no such flag", closest(flag, known))
        self._apply_texts(found)

    def _apply_variables(self, known: Mapping[str, Setting], environ: Mapping[str, str]) -> None:
        # an empty variable is what scripts pass for "not set"; only for text can it be meant
        self._apply_texts(
            (setting, environ[name], Origin("env", name))
            for name, setting in known.items()
            if environ.get(name, "").strip() or (name in environ and _may_be_empty(setting))
        )

    def _apply_texts(self, found: Iterable[tuple[Setting, str, Origin]]) -> None:
        for setting, raw, origin in sorted(found, key=lambda item: len(item[0].path)):
            try:
                value = read_value(setting, raw)
            except ValueError as error:
                self.report(origin, f"{setting.key} must be {setting.allowed}; this {error}")
            else:
                self.put(setting.path, value, origin)

    def _lose_file(self, line: int, message: str) -> None:
        self.readable = False
        self.report(self._in_file(line), message)

    def _in_file(self, line: int) -> Origin:
        return Origin("file", f"{self._file}:{line}" if line else self._file, line)


def _may_be_empty(setting: Setting) -> bool:
    return setting.kind is Kind.TEXT and setting.path != ("data_dir",)

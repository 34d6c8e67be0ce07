"""Line numbers of the keys of a TOML text, which the standard parser does not give."""

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Where a value sits: keys, and an index for each element of an array."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_LITERAL = re.compile(r"[^,\]}#\r\n]*")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"""+', re.DOTALL),
    re.compile(r"'''.*?'''+", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)


def locate(text: str) -> Mapping[Path, int]:
    """The line (from 1) of every table, key and array element.

    `text` must be TOML that `tomllib` accepts. Each element of an array of tables has an index in its path:
    `("backends", 1, "url")`.
    """
    return _Locator(text).run()


class _Locator:
    """One walk over a text that is known to be well-formed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._last: dict[Path, int] = {}

    def run(self) -> Mapping[Path, int]:
        table: Path = ()
        self._skip(_GAP)
        while self._at < len(self._text):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_GAP)
        return self._lines

    def _header(self) -> Path:
        line = self._line()
        array = self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        keys = self._keys()
        self._at += 2 if array else 1
        path: Path = ()
        for key in keys[:-1]:
            path = self._enter((*path, key))
            self._lines.setdefault(path, line)
        path = (*path, keys[-1])
        self._lines.setdefault(path, line)
        if array:
            self._last[path] = self._last.get(path, -1) + 1
            path = self._enter(path)
            self._lines[path] = line
        return path

    def _enter(self, path: Path) -> Path:
        """Inside an array of tables a name means its last element."""
        last = self._last.get(path)
        return path if last is None else (*path, last)

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self._lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
            if not self._peek("."):
                return keys
            self._at += 1

    def _key(self) -> str:
        bare = _BARE.match(self._text, self._at)
        if bare:
            self._at = bare.end()
            return bare.group()
        start = self._at
        self._string()
        return next(iter(tomllib.loads(self._text[start : self._at] + " = 0")))

    def _value(self, path: Path) -> None:
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        elif not self._string():
            self._skip(_LITERAL)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        self._skip(_GAP)
        while not self._peek("]"):
            self._lines[(*path, index)] = self._line()
            self._value((*path, index))
            index += 1
            self._comma()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_GAP)
        while not self._peek("}"):
            self._pair(path)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        self._skip(_GAP)
        if self._peek(","):
            self._at += 1
            self._skip(_GAP)

    def _string(self) -> bool:
        for pattern in _STRINGS:
            match = pattern.match(self._text, self._at)
            if match:
                self._at = match.end()
                return True
        return False

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()

    def _peek(self, character: str) -> bool:
        return self._text.startswith(character, self._at)

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

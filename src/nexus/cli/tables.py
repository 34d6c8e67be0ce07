"""Tables for people, on standard output."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

# a pipe has no width: nothing is cut or wrapped there
_WIDTH_OF_A_PIPE = 1000


class Column(NamedTuple):
    """A heading, and whether its numbers stand to the right."""

    title: str
    right: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """Print rows under their headings; a cell that is None shows a dash."""
    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    _console().print(table)


def print_pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print `name  value` lines, the values one below the other."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name, style="bold"), Text(cell(value)))
    _console().print(table)


def cell(value: Any) -> str:
    """A value as a table shows it. Control characters of a foreign text never reach the terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) or "-"
    return "".join(character if character.isprintable() else "?" for character in str(value))


def _console() -> Console:
    terminal = sys.stdout.isatty()
    return Console(width=None if terminal else _WIDTH_OF_A_PIPE, highlight=False, soft_wrap=False)


def percent(share: Any) -> str | None:
    """A share in [0, 1] as `12.5%`."""
    return f"{share * 100:.1f}%" if isinstance(share, int | float) else None


def milliseconds(value: Any) -> str | None:
    """`250 ms`."""
    return f"{value:.0f} ms" if isinstance(value, int | float) else None


def duration(seconds: Any) -> str | None:
    """`3h 05m 09s`, without the leading parts that are zero."""
    if not isinstance(seconds, int | float):
        return None
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m {rest:02d}s"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"

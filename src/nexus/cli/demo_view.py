"""How `nexus demo` looks: a live picture on a terminal, plain lines anywhere else."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nexus.cli.demo_story import CAPTIONS, Phase, Standing
from nexus.cli.demo_traffic import Served
from nexus.cli.tables import cell, milliseconds, percent

_SHOWN_REQUESTS = 12
_TEXT_WIDTH = 36
_STATE_STYLES = {"ok": "green", "excluded": "bold red", "probing": "yellow", "degraded": "yellow"}


class View(Protocol):
    """Shows the demo while it runs."""

    def show(self, phase: Phase, elapsed: float, rows: Sequence[Standing], served: Sequence[Served]) -> None:
        """Show the state of things; `served` are the recent answers, oldest first."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LiveView:
    """A picture that is drawn over itself; it stays on the screen after the end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, phase: Phase, elapsed: float, rows: Sequence[Standing], served: Sequence[Served]) -> None:
        """Draw the picture anew."""
        self._live.update(picture(phase, elapsed, rows, served), refresh=True)


class LineView:
    """One line per phase, per request, and per change of a backend's state. `write` None shows nothing."""

    def __init__(self, write: Callable[[str], None] | None) -> None:
        self._write = write
        self._phase: Phase | None = None
        self._written: set[int] = set()
        self._states: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, phase: Phase, elapsed: float, rows: Sequence[Standing], served: Sequence[Served]) -> None:
        """Write what is new since the last time."""
        if self._write is None:
            return
        for answer in served:
            if answer.number not in self._written:
                self._written.add(answer.number)
                self._write(request_line(answer))
        for row in rows:
            if self._states.get(row.id, row.state) != row.state:
                reason = f": {row.excluded_reason}" if row.excluded_reason else ""
                self._write(f"{elapsed:5.1f} s  {row.id} is now {row.state}{reason}")
            self._states[row.id] = row.state
        if phase is not self._phase:
            self._phase = phase
            self._write(f"{elapsed:5.1f} s  [{phase}] {CAPTIONS[phase]}")


def request_line(answer: Served) -> str:
    """One request in one line."""
    kind = "stream" if answer.stream else "whole "
    speed = (
        f"TTFT {answer.ttft_ms:.0f} ms" if answer.ttft_ms is not None else f"total {answer.total_ms:.0f} ms"
    )
    return (
        f"#{answer.number:<4} {kind}  {answer.backend or '-':<5} status {answer.status or '-'}  {speed}  "
        f"attempts {answer.attempts or '-'}  {answer.reason}"
    )


def picture(
    phase: Phase, elapsed: float, rows: Sequence[Standing], served: Sequence[Served]
) -> RenderableType:
    """The whole live picture: the story so far, the backends, the latest requests."""
    chapters = Text()
    for chapter in (Phase.WARM_UP, Phase.EXCLUDED, Phase.HEALED, Phase.RECOVERED):
        chapters.append(f" {chapter} ", style="reverse bold" if chapter is phase else "dim")
        chapters.append(" ")
    chapters.append(f" {elapsed:.0f} s")
    story = Panel(Group(chapters, Text(CAPTIONS[phase])), title="nexus demo", subtitle="Ctrl-C ends it all")
    return Group(story, _backends(rows), _requests(served))


def _backends(rows: Sequence[Standing]) -> Table:
    table = Table(box=SIMPLE_HEAD, title="Backends", title_justify="left", expand=True)
    for title in ("BACKEND", "HEALTH", "STATE", "ERRORS 1H", "TTFT", "REQUESTS", "PENDING", "WHY IT IS OUT"):
        right = title in {"ERRORS 1H", "TTFT", "REQUESTS", "PENDING"}
        table.add_column(title, justify="right" if right else "left")
    for row in rows:
        table.add_row(
            row.id,
            row.status,
            Text(row.state, style=_STATE_STYLES.get(row.state, "")),
            percent(row.error_rate) or "-",
            milliseconds(row.avg_ttft_ms) or "-",
            str(row.requests),
            str(row.pending),
            Text(cell(row.excluded_reason), style="red" if row.excluded_reason else "dim"),
        )
    return table


def _requests(served: Sequence[Served]) -> Table:
    table = Table(box=SIMPLE_HEAD, title="Requests, newest first", title_justify="left", expand=True)
    for title in ("#", "KIND", "SERVED BY", "STATUS", "TTFT", "TOTAL", "ATTEMPTS", "REASON", "ANSWER"):
        table.add_column(title, justify="right" if title in {"#", "TTFT", "TOTAL"} else "left")
    for answer in reversed(served[-_SHOWN_REQUESTS:]):
        table.add_row(
            str(answer.number),
            "stream" if answer.stream else "whole",
            answer.backend or "-",
            Text(str(answer.status or "-"), style="green" if answer.good else "bold red"),
            milliseconds(answer.ttft_ms) or "-",
            milliseconds(answer.total_ms) or "-",
            answer.attempts or "-",
            answer.reason or "-",
            Text(cell(" ".join(answer.text.split())[:_TEXT_WIDTH]), overflow="ellipsis", no_wrap=True),
        )
    return table

"""The figures of one bench run: medians and spreads, their ratios to the peers, the table and the file."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from bench.machine import Machine

PEERS = ("vllm-router", "sglang-router", "envoy", "nginx", "portkey", "litellm")


class Figure(Struct, frozen=True):
    """Several runs of one measurement: the median, the extremes, and each run in order."""

    median: float
    low: float
    high: float
    runs: tuple[float, ...]


class Row(Struct, frozen=True, omit_defaults=True):
    """One subject. A figure that could not be had is None; `reason` says why.

    `rps` and `p50_ms`: requests/s and median latency with all connections. `added_us`: median latency at one
    connection over going direct. `chunks`: streamed events/s. `busy` and `stream_busy`: the share of its core
    the proxy used (well under 1: something else was the limit, and its rate is a lower bound).
    `rps_per_core` and `chunks_per_core`: the same rates per second of processor time the proxy used.
    """

    name: str
    note: str
    rps: Figure | None = None
    rps_per_core: Figure | None = None
    p50_ms: Figure | None = None
    added_us: Figure | None = None
    chunks: Figure | None = None
    chunks_per_core: Figure | None = None
    busy: Figure | None = None
    stream_busy: Figure | None = None
    reason: str = ""


class Report(Struct, frozen=True):
    """Everything a run leaves behind."""

    date: str
    commit: str
    machine: Machine
    settings: dict[str, int | float | str]
    rows: tuple[Row, ...]
    ratios: dict[str, dict[str, float]]


def write_json(path: Path, document: object) -> None:
    """Write a report, structs or what is made of them, as indented JSON; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def figure(runs: Iterable[float], digits: int) -> Figure | None:
    """The summary of `runs`, rounded; None without any."""
    values = [round(run, digits) for run in runs]
    if not values:
        return None
    return Figure(round(median(values), digits), min(values), max(values), tuple(values))


def ratios(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Nexus over each peer, by figure: more is better, except for `added_us`."""
    by_name = {row.name: row for row in rows}
    ours = by_name.get("nexus")
    found: dict[str, dict[str, float]] = {}
    for peer in PEERS:
        if ours is None or (theirs := by_name.get(peer)) is None:
            continue
        pairs = {
            "rps": (ours.rps, theirs.rps),
            "rps_per_core": (ours.rps_per_core, theirs.rps_per_core),
            "chunks": (ours.chunks, theirs.chunks),
            "chunks_per_core": (ours.chunks_per_core, theirs.chunks_per_core),
            "added_us": (ours.added_us, theirs.added_us),
        }
        found[peer] = {
            name: round(mine.median / other.median, 2)
            for name, (mine, other) in pairs.items()
            if mine is not None and other is not None and other.median > 0
        }
    return found


_COLUMNS = (
    "",
    "req/s",
    "spread",
    "p50 ms",
    "core",
    "per core s",
    "added µs",
    "chunks/s",
    "spread",
    "core",
    "per core s",
)


def table(rows: Iterable[Row]) -> str:
    """The rows as text with aligned columns, then the ratios; a missing figure is a dash."""
    rows = tuple(rows)
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(_COLUMNS))]
    lines = []
    for line, row in zip(cells, (None, *rows), strict=True):
        text = "  ".join(
            [line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        )
        lines.append(text + (f"  {row.reason or row.note}" if row else ""))
    lines += ["", *_ratio_lines(ratios(rows))]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        _median(row.rps, 0),
        _spread(row.rps),
        _median(row.p50_ms, 2),
        _share(row.busy),
        _median(row.rps_per_core, 0),
        _median(row.added_us, 0),
        _median(row.chunks, 0),
        _spread(row.chunks),
        _share(row.stream_busy),
        _median(row.chunks_per_core, 0),
    )


def _median(value: Figure | None, digits: int) -> str:
    return "-" if value is None else f"{value.median:,.{digits}f}"


def _spread(value: Figure | None) -> str:
    """Half the distance of the extremes, as a share of the median."""
    return "" if value is None or not value.median else f"±{(value.high - value.low) / 2 / value.median:.0%}"


def _share(value: Figure | None) -> str:
    return "-" if value is None else f"{value.median:.0%}"


def _ratio_lines(found: dict[str, dict[str, float]]) -> list[str]:
    names = {
        "rps": "throughput",
        "rps_per_core": "per core second",
        "chunks": "chunk rate",
        "chunks_per_core": "per core second",
        "added_us": "added latency",
    }
    return [
        f"nexus ÷ {peer}: " + ", ".join(f"{names[key]} {value:.2f}" for key, value in values.items())
        for peer, values in found.items()
        if values
    ]

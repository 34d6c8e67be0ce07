"""`nexus ledger`: read, copy and shorten the ledger of receipts."""

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from nexus.cli.ledger_place import Place, ledger_place, place_options
from nexus.cli.ledger_replay import replay
from nexus.cli.tables import Column, milliseconds, print_table
from nexus.core.clock import SystemClock
from nexus.core.masking import mask_secrets
from nexus.core.receipt import LedgerEntry
from nexus.ledger.lines import encode
from nexus.ledger.store import LedgerStore
from nexus.ledger.transfer import Lines, copy_receipts, write_lines
from nexus.ledger.writer import PRUNED_AT_ONCE

_STREAM = "-"
_PAUSE_SECONDS = 0.1
_COLUMNS = (
    Column("TIME"),
    Column("MODEL"),
    Column("TASK"),
    Column("SUCCESS"),
    Column("QUALITY", right=True),
    Column("LATENCY", right=True),
    Column("TOKENS", right=True),
    Column("BACKEND"),
    Column("SIGNAL"),
    Column("TRACE"),
)


@click.group()
def ledger() -> None:
    """Read, copy and shorten the ledger of receipts.

    Each verb works on the configured ledger, by default the one in the data directory, or on the one that
    `--url` names: sqlite:/// or jsonl:/// and an absolute path, or postgresql://. The gateway may be running.
    """


@ledger.command()
@place_options
@click.option(
    "--limit", "-n", type=click.IntRange(min=0), default=20, show_default=True, help="How many; 0: all."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def tail(url: str | None, data_dir: str | None, file: str | None, *, limit: int, as_json: bool) -> None:
    """Show the newest receipts, the newest last."""
    place = ledger_place(url, data_dir, file)
    entries: list[LedgerEntry] = []
    if place.is_missing:
        click.echo(f"there is no ledger at {place.shown} yet", err=True)
    else:
        with place.open() as store:
            entries = store.read(limit)
    if as_json:
        click.echo(b"[" + b",\n ".join(encode(entry).json for entry in entries) + b"]")
    elif entries:
        print_table(_COLUMNS, map(_row, entries))
    elif not place.is_missing:
        click.echo("No receipts.")


ledger.add_command(tail, "show")
ledger.add_command(replay)


@ledger.command()
@place_options
@click.option(
    "--to",
    "target",
    required=True,
    metavar="FILE|URL",
    help="A new file of JSON lines, - for standard output, or the URL of a ledger.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
def export(url: str | None, data_dir: str | None, file: str | None, *, target: str, force: bool) -> None:
    """Copy all receipts to a file, or to another ledger.

    A ledger gets those receipts that it does not have yet. The ledger read from stays as it is.
    """
    place = ledger_place(url, data_dir, file)
    place.must_exist()
    with place.open() as store:
        if target == _STREAM:
            write_lines(store.scan(), sys.stdout.buffer)
        elif "://" in target:
            with Place(target, None).open() as other:
                _say_copied(copy_receipts(store.scan(), other), mask_secrets(target))
        else:
            with _new_file(Path(target), force=force) as output:
                count = write_lines(store.scan(), output)
            click.echo(f"{_count(count, 'receipt')} written to {target}")


@ledger.command("import")
@place_options
@click.option(
    "--from",
    "source",
    required=True,
    metavar="FILE|URL",
    help="A file of JSON lines, - for standard input, or the URL of a ledger.",
)
def import_receipts(url: str | None, data_dir: str | None, file: str | None, *, source: str) -> None:
    """Add the receipts of a file, or of another ledger.

    Those that the ledger has already are left out, so an import may be repeated.
    """
    place = ledger_place(url, data_dir, file)
    if "://" in source:
        origin = Place(source, None)
        origin.must_exist()
        with origin.open() as other, place.open() as store:
            _say_copied(copy_receipts(other.scan(), store), place.shown)
        return
    with _input(source) as opened, place.open() as store:
        lines = Lines(opened)
        copied = copy_receipts(lines, store)
    _say_copied(copied, place.shown)
    if lines.skipped:
        click.echo(f"left out {_count(lines.skipped, 'line')} of {source} without a receipt", err=True)


@ledger.command()
@place_options
@click.option(
    "--max-entries",
    type=click.IntRange(min=1),
    help="How many of the newest to keep; without it, what ledger.max_entries says.",
)
def prune(url: str | None, data_dir: str | None, file: str | None, *, max_entries: int | None) -> None:
    """Remove the oldest receipts."""
    place = ledger_place(url, data_dir, file)
    kept = max_entries or place.max_entries
    if not kept:
        raise click.UsageError("nothing says how many receipts to keep: give --max-entries")
    place.must_exist()
    with place.open() as store:
        removed = _prune(store, kept)
    click.echo(f"{_count(removed, 'receipt')} removed from {place.shown}")


def _prune(store: LedgerStore, kept: int) -> int:
    """Remove what is too much, with pauses in which a running gateway writes its receipts."""
    clock = SystemClock()
    removed = 0
    while gone := store.prune(kept, PRUNED_AT_ONCE):
        removed += gone
        clock.sleep(_PAUSE_SECONDS)
    return removed


@contextlib.contextmanager
def _new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file for its owner only; what was there stays until the new one is complete."""
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already; --force replaces it")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as output:
                yield output
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise click.ClickException(f"can't write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _input(source: str) -> Iterator[BinaryIO]:
    if source == _STREAM:
        yield sys.stdin.buffer
        return
    try:
        opened = Path(source).open("rb")  # noqa: SIM115 - closed below; only opening it may fail in this way
    except OSError as error:
        raise click.ClickException(f"can't read {source}: {error.strerror}") from error
    with opened:
        yield opened


def _say_copied(copied: tuple[int, int], target: str) -> None:
    stored, known = copied
    also = f", {known} were there already" if known else ""
    click.echo(f"{_count(stored, 'receipt')} added to {target}{also}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _row(entry: LedgerEntry) -> tuple[Any, ...]:
    return (
        _moment(entry.timestamp),
        entry.model_id,
        entry.task.value,
        entry.success,
        None if entry.quality is None else f"{entry.quality:.2f}",
        milliseconds(entry.latency_ms),
        f"{entry.input_tokens}+{entry.output_tokens}",
        entry.backend_id,
        entry.signal,
        entry.trace_id,
    )


def _moment(timestamp: float) -> str:
    try:
        return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return str(timestamp)

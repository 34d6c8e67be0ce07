"""Which ledger the verbs of `nexus ledger` work on."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from nexus.cli.settings import config_option, print_problems
from nexus.config.errors import ConfigError
from nexus.config.load import load_config
from nexus.config.model import Config
from nexus.core.masking import mask_secrets
from nexus.ledger.open import ledger_file, open_ledger
from nexus.ledger.store import LedgerError, LedgerStore


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--url`, `--data-dir` and `--config`; `ledger_place` makes of them what a verb works on."""
    command = config_option(command)
    command = click.option(
        "--data-dir", metavar="PATH", help="The data directory whose ledger is meant [env: NEXUS_DATA_DIR]."
    )(command)
    return click.option("--url", metavar="URL", help="The URL of another ledger.")(command)


class Place:
    """Which ledger a verb works on: its `url`, and the configured number of receipts to keep.

    Raises:
        click.UsageError: the URL names no ledger.
    """

    def __init__(self, url: str, max_entries: int | None) -> None:
        self.url = url
        self.max_entries = max_entries
        self.shown = mask_secrets(url)
        try:
            file = ledger_file(url)
        except LedgerError as error:
            raise click.UsageError(str(error), click.get_current_context(silent=True)) from error
        self.is_missing = file is not None and not file.exists()

    @contextlib.contextmanager
    def open(self) -> Iterator[LedgerStore]:
        """The store, closed at the end of the block."""
        store = open_ledger(self.url)
        try:
            yield store
        finally:
            store.close()

    def must_exist(self) -> None:
        """End the command if there is no such file: a new, empty one is not what was meant."""
        if self.is_missing:
            raise click.ClickException(f"there is no ledger at {self.shown} yet")


def ledger_place(url: str | None, data_dir: str | None, file: str | None) -> Place:
    """The ledger that the options of `place_options` name; ends the command if they are wrong."""
    if url is not None:
        if url.startswith(("http://", "https://")):
            raise click.BadParameter(
                "a gateway does not give out its receipts; name its ledger (sqlite:///, jsonl:///, "
                "postgresql://) or its --data-dir",
                param_hint="--url",
            )
        return Place(url, None)
    config = _config(data_dir, file)
    return Place(config.ledger.url, config.ledger.max_entries)


def _config(data_dir: str | None, file: str | None) -> Config:
    flags = {} if data_dir is None else {"--data-dir": data_dir}
    try:
        return load_config(Path(file) if file else None, os.environ, flags, Path.cwd()).config
    except ConfigError as error:
        print_problems(error)
        raise click.exceptions.Exit(2) from error

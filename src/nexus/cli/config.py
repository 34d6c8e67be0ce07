"""`nexus config`: write, check and show the configuration."""

import json
from pathlib import Path

import click

from nexus.cli.settings import SettingsCommand, config_option, load_or_exit
from nexus.cli.tables import Column, print_table
from nexus.config.effective import as_tables, effective
from nexus.config.load import FILE_NAME, LoadedConfig
from nexus.config.template import template
from nexus.config.values import to_toml


@click.group()
def config() -> None:
    """Write, check and show the configuration."""


@config.command()
@click.option(
    "--config", "file", metavar="PATH", default=FILE_NAME, help="Where to write it.", show_default=True
)
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
def init(file: str, *, force: bool) -> None:
    """Write a commented file with every setting and its default."""
    try:
        with Path(file).open("w" if force else "x", encoding="utf-8") as target:
            target.write(template())
    except FileExistsError as error:
        raise click.ClickException(f"{file} is there already; --force replaces it") from error
    except OSError as error:
        raise click.ClickException(f"can't write {file}: {error.strerror}") from error
    click.echo(f"Wrote {file}. Every setting in it is commented out; `nexus serve` uses the defaults.")


@config.command(cls=SettingsCommand)
@config_option
@click.pass_context
def check(ctx: click.Context, file: str | None) -> None:
    """Validate the configuration and name every mistake with its place."""
    loaded = load_or_exit(ctx, file)
    count = len(loaded.config.backends)
    backends = f"{count} backend{'' if count == 1 else 's'}" if count else "no backends"
    click.echo(f"{_source(loaded)}: valid, {backends}")


@config.command(cls=SettingsCommand)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(ctx: click.Context, file: str | None, *, as_json: bool) -> None:
    """Print the values in effect, each with its source. Secrets are masked."""
    loaded = load_or_exit(ctx, file)
    if as_json:
        click.echo(json.dumps(as_tables(loaded), indent=2, ensure_ascii=False))
        return
    rows = [
        (
            f"{entry.table}.{entry.key}".lstrip("."),
            "" if entry.value is None else to_toml(entry.value),
            entry.origin.place or "default",
        )
        for entry in effective(loaded)
    ]
    print_table((Column("SETTING"), Column("VALUE"), Column("SOURCE")), rows)


def _source(loaded: LoadedConfig) -> str:
    if loaded.file is None:
        return "defaults and environment (no file)"
    here = Path.cwd()
    return str(loaded.file.relative_to(here) if loaded.file.is_relative_to(here) else loaded.file)

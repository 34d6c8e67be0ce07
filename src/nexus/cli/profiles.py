"""`nexus profiles`: what is known of each model's answers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nexus.cli.client import Gateway
from nexus.cli.settings import config_option, print_problems
from nexus.cli.tables import Column, milliseconds, percent, print_table

_COLUMNS = (
    Column("MODEL"),
    Column("TASK"),
    Column("CALLS", right=True),
    Column("SUCCESS", right=True),
    Column("FAILED", right=True),
    Column("RATE", right=True),
    Column("QUALITY", right=True),
    Column("LATENCY", right=True),
    Column("EXCLUDED"),
)


@click.command()
@click.option("--url", metavar="URL", help="Ask the running gateway at this address.")
@click.option(
    "--api-key", envvar="NEXUS_API_KEY", default="", help="A key the gateway accepts [env: NEXUS_API_KEY]."
)
@click.option(
    "--data-dir", metavar="PATH", help="The data directory whose profiles are meant [env: NEXUS_DATA_DIR]."
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def profiles(url: str | None, api_key: str, data_dir: str | None, file: str | None, *, as_json: bool) -> None:
    """Show the profile of each model: calls, successes, quality.

    Reads the store in the data directory, or asks a running gateway with `--url`. A gateway writes its store
    every few seconds.
    """
    text = Gateway(url, api_key).get("/v1/profiles").text if url else _stored(data_dir, file)
    found = json.loads(text)["profiles"]
    if as_json:
        click.echo(text)
    elif found:
        print_table(_COLUMNS, [row for profile in found for row in _rows(profile)])
    else:
        click.echo("No profiles yet: they are made of the calls that a gateway answers.")


def _stored(data_dir: str | None, file: str | None) -> str:
    # Imported here: `--url` needs none of it.
    import msgspec  # noqa: PLC0415

    from nexus.config.errors import ConfigError  # noqa: PLC0415
    from nexus.config.load import load_config  # noqa: PLC0415
    from nexus.core.clock import SystemClock  # noqa: PLC0415
    from nexus.outcomes.profile_file import PROFILES_FILE, ProfileFile  # noqa: PLC0415
    from nexus.outcomes.shown import ShownProfiles, shown_profile  # noqa: PLC0415

    flags = {} if data_dir is None else {"--data-dir": data_dir}
    try:
        config = load_config(Path(file) if file else None, os.environ, flags, Path.cwd()).config
    except ConfigError as error:
        print_problems(error)
        raise click.exceptions.Exit(2) from error
    path = config.data_dir / PROFILES_FILE
    try:
        stored = ProfileFile(path, SystemClock()).look()
    except ValueError as error:
        raise click.ClickException(
            f"{path} is damaged ({error}); a gateway that starts sets it aside"
        ) from error
    except OSError as error:
        raise click.ClickException(f"can't read {path}: {error.strerror}") from error
    return msgspec.json.encode(ShownProfiles(tuple(map(shown_profile, stored)))).decode()


def _rows(profile: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The model in all, then each of its tasks if there is more than one."""
    whole = (
        profile["model_id"],
        None,
        profile["total_calls"],
        profile["success_count"],
        profile["fail_count"],
        percent(profile["success_rate"]),
        f"{profile['ema_quality']:.3f}",
        milliseconds(profile["avg_latency_ms"]),
        profile.get("excluded"),
    )
    tasks = profile["task_stats"]
    if len(tasks) == 1:
        return [(whole[0], next(iter(tasks)), *whole[2:])]
    return [whole, *(_task_row(task, stats) for task, stats in tasks.items())]


def _task_row(task: str, stats: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        " ",
        task,
        stats["calls"],
        stats["successes"],
        stats["failures"],
        percent(stats["success_rate"]),
        f"{stats['ema_quality']:.3f}",
        milliseconds(stats["avg_latency_ms"]),
        " ",
    )

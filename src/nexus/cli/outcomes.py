"""`nexus outcomes`: tell a gateway what became of its answers."""

import json
from typing import Any

import click

from nexus.cli.client import Gateway, gateway_options
from nexus.cli.outcomes_hook import install_hook, remove_hook
from nexus.cli.tables import Column, print_table

_COLUMNS = (
    Column("VERDICT"),
    Column("MODEL"),
    Column("FILE"),
    Column("FOUND IN"),
    Column("SHARE", right=True),
    Column("TRACE"),
    Column("NOTE"),
)


@click.group()
def outcomes() -> None:
    """Tell a gateway what became of its answers."""


@outcomes.command()
@click.option(
    "--repo",
    "directory",
    default=".",
    show_default=True,
    metavar="DIR",
    help="A directory in the repository.",
)
@click.option("--install-hook", "hook", flag_value="install", help="Run this after every commit from now on.")
@click.option("--remove-hook", "hook", flag_value="remove", help="Do not any more.")
@gateway_options
@click.pass_context
def git(
    ctx: click.Context, directory: str, hook: str | None, url: str, api_key: str, *, as_json: bool
) -> None:
    """Look in a git repository for code that answers suggested, and report what became of it.

    Looks at the working tree, untracked files, the index, and commits since the answers. The code stays here:
    the gateway sends fingerprints and gets verdicts. Each answer is judged once, however often this runs;
    what is not found waits until its deadline (outcomes.git_deadline_seconds) makes it ignored.
    """
    if hook:
        source = ctx.get_parameter_source("url")
        address = None if source is click.core.ParameterSource.DEFAULT else url
        click.echo(install_hook(directory, address) if hook == "install" else remove_hook(directory))
        return
    _report(directory, Gateway(url, api_key), as_json=as_json)


def _report(directory: str, gateway: Gateway, *, as_json: bool) -> None:
    # Imported here: `--help` and the hook need none of it.
    from nexus.cli.outcomes_report import look_and_report  # noqa: PLC0415

    report = look_and_report(directory, gateway)
    if as_json:
        click.echo(json.dumps(report._asdict()))
        return
    if report.verdicts:
        print_table(_COLUMNS, map(_row, report.verdicts))
    if report.left_out:
        click.echo(f"Left out, because they are binary, too large or too many: {report.left_out}", err=True)
    if report.verdicts or report.waiting:
        click.echo(f"{len(report.verdicts)} found, {report.waiting} not found yet.")
    else:
        click.echo("No suggested code waits.")


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    return (
        found["code_outcome"],
        found["model_id"],
        found["path"],
        found["place"],
        f"{found['share']:.0%}",
        found["trace_id"],
        None if found["applied"] else found.get("reason"),
    )

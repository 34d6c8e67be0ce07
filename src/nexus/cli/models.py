"""`nexus models`: what can be asked for, and who serves it."""

import click

from nexus.cli.client import Gateway, gateway_options
from nexus.cli.tables import Column, print_table

_COLUMNS = (
    Column("MODEL"),
    Column("BACKENDS"),
    Column("CONTEXT", right=True),
    Column("CAPABILITIES"),
    Column("ALIASES"),
)


@click.command()
@gateway_options
def models(url: str, api_key: str, *, as_json: bool) -> None:
    """List the models of a running gateway.

    Shows the backends that serve each, and what it can do.
    """
    reply = Gateway(url, api_key).get("/v1/models")
    if as_json:
        click.echo(reply.text)
        return
    found = reply.data.get("data", [])
    if not found:
        click.echo("The gateway knows no models.")
        return
    rows = []
    for model in found:
        about = model.get("nexus") or {}
        capabilities = about.get("capabilities") or {}
        rows.append(
            (
                model.get("id"),
                about.get("backends"),
                about.get("context_length"),
                [name for name, able in capabilities.items() if able],
                about.get("aliases"),
            )
        )
    print_table(_COLUMNS, rows)

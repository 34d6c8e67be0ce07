"""`nexus backends`: every backend of a running gateway and how it is doing."""

import click

from nexus.cli.client import Gateway, gateway_options
from nexus.cli.tables import Column, milliseconds, percent, print_table

_COLUMNS = (
    Column("ID"),
    Column("TYPE"),
    Column("ZONE"),
    Column("TIER", right=True),
    Column("PRIORITY", right=True),
    Column("STATUS"),
    Column("BREAKER"),
    Column("QUALITY"),
    Column("ERRORS 1H", right=True),
    Column("TTFT", right=True),
    Column("LATENCY", right=True),
    Column("REQUESTS", right=True),
    Column("PENDING", right=True),
    Column("MODELS"),
)


@click.command()
@gateway_options
def backends(url: str, api_key: str, *, as_json: bool) -> None:
    """List the backends of a running gateway.

    Shows the health, quality and load of each, and why one is left out.
    """
    reply = Gateway(url, api_key).get("/v1/stats")
    if as_json:
        click.echo(reply.text)
        return
    found = reply.data.get("backends", [])
    if not found:
        click.echo("The gateway has no backends.")
        return
    rows = []
    for backend in found:
        quality = backend.get("quality") or {}
        rows.append(
            (
                backend.get("id"),
                backend.get("type"),
                backend.get("zone"),
                backend.get("tier"),
                backend.get("priority"),
                backend.get("status"),
                backend.get("breaker"),
                quality.get("state"),
                percent(quality.get("error_rate_1h")),
                milliseconds(quality.get("avg_ttft_ms") or None),
                milliseconds(backend.get("average_latency_ms") or None),
                backend.get("requests"),
                backend.get("pending"),
                backend.get("models"),
            )
        )
    print_table(_COLUMNS, rows)
    for backend in found:
        reason = (backend.get("quality") or {}).get("excluded_reason")
        if reason:
            click.echo(f"{backend.get('id')} is excluded: {reason}")

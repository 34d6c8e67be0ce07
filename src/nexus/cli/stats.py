"""`nexus stats`: the figures of a running gateway."""

import click

from nexus.cli.client import Gateway, gateway_options
from nexus.cli.tables import Column, duration, milliseconds, percent, print_pairs, print_table

_BACKEND_COLUMNS = (
    Column("BACKEND"),
    Column("REQUESTS", right=True),
    Column("PENDING", right=True),
    Column("LATENCY", right=True),
    Column("TTFT P50", right=True),
    Column("TTFT P95", right=True),
    Column("ERRORS 1H", right=True),
    Column("SUCCESS 24H", right=True),
)
_MODEL_COLUMNS = (Column("MODEL"), Column("REQUESTS", right=True), Column("BACKENDS"))


@click.command()
@gateway_options
def stats(url: str, api_key: str, *, as_json: bool) -> None:
    """Show the figures of a running gateway.

    Counts, latencies and error rates, by backend and by model.
    """
    reply = Gateway(url, api_key).get("/v1/stats")
    if as_json:
        click.echo(reply.text)
        return
    data = reply.data
    requests = data.get("requests") or {}
    print_pairs(
        [
            ("version", data.get("version")),
            ("uptime", duration(data.get("uptime_seconds"))),
            ("requests", ", ".join(f"{count} {name}" for name, count in requests.items())),
        ]
    )
    rows = []
    for backend in data.get("backends", []):
        quality = backend.get("quality") or {}
        rows.append(
            (
                backend.get("id"),
                backend.get("requests"),
                backend.get("pending"),
                milliseconds(backend.get("average_latency_ms") or None),
                milliseconds(quality.get("ttft_p50_ms")),
                milliseconds(quality.get("ttft_p95_ms")),
                percent(quality.get("error_rate_1h")),
                percent(quality.get("success_rate_24h")),
            )
        )
    if rows:
        print_table(_BACKEND_COLUMNS, rows)
    models = data.get("models", [])
    if models:
        print_table(
            _MODEL_COLUMNS, [(each.get("id"), each.get("requests"), each.get("backends")) for each in models]
        )

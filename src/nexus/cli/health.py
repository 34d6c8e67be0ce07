"""`nexus health`: whether a running gateway can serve."""

import click

from nexus.cli.client import Gateway, gateway_options
from nexus.cli.tables import Column, duration, print_pairs, print_table

_UNAVAILABLE = 503


@click.command()
@gateway_options
def health(url: str, api_key: str, *, as_json: bool) -> int:
    """Show whether a running gateway can serve.

    The exit code is 1 when it can't.
    """
    reply = Gateway(url, api_key).get("/health", also={_UNAVAILABLE})
    if as_json:
        click.echo(reply.text)
    else:
        _print(reply.data)
    return 1 if reply.status == _UNAVAILABLE else 0


def _print(data: dict[str, object]) -> None:
    backends = data.get("backends")
    counts = backends if isinstance(backends, dict) else {}
    print_pairs(
        [
            ("status", data.get("status")),
            ("version", data.get("version")),
            ("uptime", duration(data.get("uptime_seconds"))),
            ("backends", ", ".join(f"{number} {name}" for name, number in counts.items())),
            ("models", data.get("models")),
        ]
    )
    for title, key in (("SERVICE", "services"), ("BREAKER OF", "circuit_breakers")):
        states = data.get(key)
        if isinstance(states, dict) and states:
            print_table((Column(title), Column("STATE")), list(states.items()))

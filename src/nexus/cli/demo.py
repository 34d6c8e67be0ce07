"""`nexus demo`: two real models, an unreliable twin, the gateway and a little traffic, on this machine."""

import json
import statistics
from typing import Any

import click
from rich.console import Console

from nexus.cli.demo_fleet import MODEL, TWIN, Fleet
from nexus.cli.demo_story import Phase, Story, standings
from nexus.cli.demo_traffic import Traffic
from nexus.cli.demo_view import LineView, LiveView, View
from nexus.core.clock import Clock, SystemClock
from nexus.core.errors import NexusError

_LIMIT_SECONDS = 120.0
_FRAME_SECONDS = 0.25


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=1), help="End after this time, whether or not the story is over."
)
@click.option("--json", "as_json", is_flag=True, help="Print only a summary, as JSON, at the end.")
def demo(seconds: float | None, *, as_json: bool) -> int:
    """Watch a bad backend being left out and taken back.

    Starts two llama.cpp servers with a small real model, a twin that fails every second request, the gateway
    in front of them, and two clients. Nothing leaves this machine. It ends by itself after about twenty
    seconds; Ctrl-C ends it earlier.
    """
    console = Console(highlight=False)
    view = (
        LiveView(console)
        if console.is_terminal and not as_json
        else LineView(None if as_json else click.echo)
    )
    if not as_json:
        click.echo("Starting two model servers, their twin and the gateway.")
    try:
        with Fleet() as fleet:
            story, traffic, elapsed = play(fleet, view, SystemClock(), seconds or _LIMIT_SECONDS)
    except NexusError as error:
        raise click.ClickException(str(error)) from error
    told = summary(story, traffic, elapsed)
    click.echo(json.dumps(told, indent=2) if as_json else in_words(told))
    unfinished = not story.over and seconds is None
    return 1 if unfinished or traffic.total == traffic.failed else 0


def play(fleet: Fleet, view: View, clock: Clock, limit: float) -> tuple[Story, Traffic, float]:
    """Tell the story to its end, or for `limit` seconds; returns it, the traffic and the time it took."""
    story = Story(TWIN, fleet.heal)
    started = clock.monotonic()
    elapsed = 0.0
    with Traffic(fleet.url, MODEL, clock) as traffic, view:
        while not story.over and elapsed < limit:
            clock.sleep(_FRAME_SECONDS)
            elapsed = clock.monotonic() - started
            rows = standings(fleet.stats())
            story.observe(rows, elapsed)
            view.show(story.phase, elapsed, rows, traffic.recent)
    return story, traffic, elapsed


def summary(story: Story, traffic: Traffic, elapsed: float) -> dict[str, Any]:
    """The figures of a finished demo, for machines."""
    first_tokens = [answer.ttft_ms for answer in traffic.recent if answer.ttft_ms is not None]
    return {
        "seconds": round(elapsed, 1),
        "requests": traffic.total,
        "served": traffic.total - traffic.failed,
        "failed": traffic.failed,
        "by_backend": dict(sorted(traffic.by_backend.items())),
        "ttft_ms_median": round(statistics.median(first_tokens), 1) if first_tokens else None,
        "excluded_reason": story.reason or None,
        "recovered": Phase.RECOVERED in story.began,
        "phases": {str(phase): round(at, 1) for phase, at in story.began.items()},
    }


def in_words(told: dict[str, Any]) -> str:
    """The same for people."""
    shares = ", ".join(f"{name} {count}" for name, count in told["by_backend"].items())
    lines = [
        f"{told['served']} of {told['requests']} requests were answered in {told['seconds']} s: {shares}.",
        f"Median time to first token: {told['ttft_ms_median'] or '-'} ms.",
    ]
    phases = told["phases"]
    if Phase.EXCLUDED in phases:
        lines.append(f"The twin was left out after {phases[Phase.EXCLUDED]} s: {told['excluded_reason']}.")
    if told["recovered"]:
        took = phases[Phase.RECOVERED] - phases[Phase.HEALED]
        lines.append(f"Repaired at {phases[Phase.HEALED]} s, it was back {took:.1f} s later.")
    lines.append("Next: `nexus config init`, add your backends, `nexus serve`.")
    return "\n".join(lines)

"""The figures as JSON, as a table for a terminal and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.routing_sim.measures import Figures
from bench.routing_sim.scenarios import SCENARIOS

Results = Mapping[str, Mapping[str, Figures]]
"""By scenario, then by policy."""

_KEYS = (
    "success",
    "wasted_per_request",
    "ttft_p50_s",
    "ttft_p99_s",
    "time_to_exclude_s",
    "time_to_recover_s",
    "regret_s",
)


def mean_regret(results: Results) -> dict[str, float]:
    """Seconds per policy, every scenario counting alike."""
    policies = list(next(iter(results.values())))
    return {
        policy: sum(figures[policy].regret_s for figures in results.values()) / len(results)
        for policy in policies
    }


def as_json(results: Results, seeds: Sequence[int], replicas: int) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "seeds": list(seeds),
        "replicas": replicas,
        "mean_regret": {policy: round(seconds, 4) for policy, seconds in mean_regret(results).items()},
        "scenarios": {
            name: {policy: _entry(figures) for policy, figures in by_policy.items()}
            for name, by_policy in results.items()
        },
    }


def _entry(figures: Figures) -> dict[str, float | None]:
    values = {key: getattr(figures, key) for key in _KEYS}
    return {key: None if value is None else round(value, 4) for key, value in values.items()}


def show(results: Results, console: Console) -> None:
    """One table per figure that people look at, and the mean regret below."""
    policies = list(next(iter(results.values())))
    for title, cell in _COLUMNS:
        table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
        table.add_column("scenario")
        for policy in policies:
            table.add_column(policy, justify="right")
        for name, by_policy in results.items():
            cells = [cell(by_policy[policy]) for policy in policies]
            if any(each != "" for each in cells):
                table.add_row(f"{name} {SCENARIOS[name].title}", *cells)
        if title.startswith("regret"):
            table.add_section()
            regrets = mean_regret(results)
            table.add_row("mean", *(f"{regrets[policy]:.3f}" for policy in policies))
        if table.row_count:
            console.print(table)
            console.print()


def markdown(results: Results) -> str:
    """The same tables for the documentation."""
    policies = list(next(iter(results.values())))
    parts = []
    for title, cell in _COLUMNS:
        rows = []
        for name, by_policy in results.items():
            cells = [cell(by_policy[policy]) for policy in policies]
            if any(each != "" for each in cells):
                rows.append(f"| {name} {SCENARIOS[name].title} | {' | '.join(cells)} |")
        if not rows:
            continue
        if title.startswith("regret"):
            regrets = mean_regret(results)
            means = (f"**{regrets[policy]:.3f}**" for policy in policies)
            rows.append(f"| **mean** | {' | '.join(means)} |")
        head = f"| {title} | {' | '.join(policies)} |\n|---|{'---:|' * len(policies)}"
        parts.append(f"{head}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


_COLUMNS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("regret, s per request", lambda figures: f"{figures.regret_s:.3f}"),
    ("success, %", lambda figures: f"{100 * figures.success:.2f}"),
    ("wasted attempts per 100 requests", lambda figures: f"{100 * figures.wasted_per_request:.2f}"),
    ("TTFT p50, s", lambda figures: f"{figures.ttft_p50_s:.2f}"),
    ("TTFT p99, s", lambda figures: f"{figures.ttft_p99_s:.2f}"),
    ("time to exclude, s", lambda figures: _seconds(figures.time_to_exclude_s)),
    ("time to recover, s", lambda figures: _seconds(figures.time_to_recover_s)),
)

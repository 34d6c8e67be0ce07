"""Bar charts as SVG, without a plotting library."""

from collections.abc import Callable
from html import escape
from math import log10
from pathlib import Path

from bench.routing_sim.measures import Figures
from bench.routing_sim.report import Results, mean_regret

_COLOURS = {
    "expected_time": "#0b6e4f",
    "smart": "#8a8d91",
    "round_robin": "#c9ccd1",
    "litellm_shuffle": "#c8553d",
    "envoy_outlier": "#2d6cdf",
    "peak_ewma": "#e0a030",
    "prequal": "#7d4fb3",
    "oracle": "#222222",
}
_WIDTH = 1080
_LEFT = 60
_PANEL = 190
_TOP = 46
_BAR_SHARE = 0.84
_DECADES = (0.01, 0.1, 1.0, 10.0, 100.0)


def write_plots(results: Results, folder: Path, stem: str) -> list[Path]:
    """`<stem>-regret.svg`, `<stem>-latency.svg`, `<stem>-wasted.svg` and `<stem>-recovery.svg`."""
    charts: tuple[tuple[str, str, Callable[[Figures], float | None]], ...] = (
        ("regret", "Regret beside the oracle, seconds per request", lambda each: each.regret_s),
        ("latency", "Time to first token, 99th percentile, seconds", lambda each: each.ttft_p99_s),
        ("wasted", "Wasted attempts per 100 requests", lambda each: 100 * each.wasted_per_request),
        ("recovery", "Seconds from the end of a fault to an even share", lambda each: each.time_to_recover_s),
    )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, title, value in charts:
        path = folder / f"{stem}-{name}.svg"
        path.write_text(chart(results, title, value), encoding="utf-8")
        written.append(path)
    return written


def chart(results: Results, title: str, value: Callable[[Figures], float | None]) -> str:
    """Grouped bars on a logarithmic scale from 0.01 to 100; a group per scenario that has values."""
    groups = {
        name: {policy: number for policy, each in by_policy.items() if (number := value(each)) is not None}
        for name, by_policy in results.items()
    }
    groups = {name: values for name, values in groups.items() if values}
    policies = [policy for policy in mean_regret(results) if policy != "oracle"]
    height = _TOP + _PANEL + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">',
        f'<g font-family="sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(title)}</text>',
        *_legend(policies),
    ]
    for decade in _DECADES:
        y = _TOP + _PANEL - _height(decade)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e6e9"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{decade:g}</text>')
    room = (_WIDTH - 8 - _LEFT) / max(1, len(groups))
    for number, (name, values) in enumerate(groups.items()):
        left = _LEFT + number * room
        parts.extend(_bars(left, room, policies, values))
        parts.append(
            f'<text x="{left + room / 2:.1f}" y="{_TOP + _PANEL + 18}" text-anchor="middle">{name}</text>'
        )
    parts.append("</g></svg>\n")
    return "\n".join(parts)


def _legend(policies: list[str]) -> list[str]:
    parts = []
    x = float(_LEFT)
    for policy in policies:
        colour = _COLOURS.get(policy, "#000000")
        parts.append(f'<rect x="{x:.1f}" y="24" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14:.1f}" y="33">{escape(policy)}</text>')
        x += 30 + 7.2 * len(policy)
    return parts


def _bars(left: float, room: float, policies: list[str], values: dict[str, float]) -> list[str]:
    width = room * _BAR_SHARE / max(1, len(policies))
    parts = []
    for position, policy in enumerate(policies):
        number = values.get(policy)
        if number is None:
            continue
        height = _height(number)
        x = left + room * (1 - _BAR_SHARE) / 2 + position * width
        colour = _COLOURS.get(policy, "#000000")
        place = f'x="{x:.1f}" y="{_TOP + _PANEL - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
        parts.append(f'<rect {place} fill="{colour}"><title>{escape(policy)} {number:.3g}</title></rect>')
    return parts


def _height(number: float) -> float:
    """Pixels: 0 at 0.01 and below, the whole panel at 100 and above."""
    decades = log10(min(100.0, max(0.01, number))) + 2.0
    return _PANEL * decades / 4.0

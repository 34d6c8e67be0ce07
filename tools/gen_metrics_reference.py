"""Write docs/reference/metrics.md from the table of metrics.

    python tools/gen_metrics_reference.py [--check]

With --check nothing is written; exit code 1 says that the page is out of date.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nexus.telemetry.metric_table import OWN_METRICS, PROCESS_METRICS, MetricSpec

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "metrics.md"
START = """\
<!-- Written by tools/gen_metrics_reference.py. Change the code it is made from, then run `make format`. -->

# Metrics

What `GET /metrics` exposes. How to use it: [metrics.md](../metrics.md).

`agent_id` and `backend_id` are the id of a backend. Counters and histograms start at zero with the process.
The quality gauges are those of the last recompute (`quality.metrics_interval_seconds`). When a backend is
removed its series end, and start at zero if it is added again.
"""
KINDS = {"info": "gauge"}


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` compare it; the exit code."""
    unknown = [each for each in arguments if each != "--check"]
    if unknown:
        print(f"unknown argument: {unknown[0]}; usage: gen_metrics_reference.py [--check]", file=sys.stderr)
        return 2
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print(f"{PAGE.name} is out of date: run `make format`", file=sys.stderr)
    return 1


def page() -> str:
    """The whole page."""
    return "\n".join(
        (
            START,
            *table("Nexus", OWN_METRICS),
            *bounds(OWN_METRICS),
            *table("The process (Linux)", PROCESS_METRICS),
        )
    )


def table(title: str, specs: Iterable[MetricSpec]) -> Iterator[str]:
    """A section with one row per metric."""
    yield f"## {title}\n\n| metric | type | labels | what |\n|---|---|---|---|"
    for spec in specs:
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        yield f"| `{spec.name}` | {KINDS.get(spec.type, spec.type)} | {labels} | {spec.help} |"
    yield ""


def bounds(specs: Iterable[MetricSpec]) -> Iterator[str]:
    """A section with the buckets of each histogram."""
    yield "## Buckets\n\nUpper bounds in seconds; every histogram also has `+Inf`.\n"
    yield "| histogram | bounds |\n|---|---|"
    for spec in specs:
        if spec.bounds:
            yield f"| `{spec.name}` | {' '.join(f'{each:g}' for each in spec.bounds)} |"
    yield ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`make bench-routing`: see docs/routing-bench.md."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.figures import write_json
from bench.routing_sim.ablation import ablate, ablation_markdown
from bench.routing_sim.measures import Figures
from bench.routing_sim.plots import write_plots
from bench.routing_sim.report import as_json, markdown, show
from bench.routing_sim.runner import POLICIES, compare
from bench.routing_sim.scenarios import SCENARIOS

_DEFAULT_SEEDS = "1,2,3"
_RESULTS = Path(__file__).resolve().parent.parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0, or 2 where it makes no sense."""
    options = _parser().parse_args(arguments)
    with _without_logs():
        return _answer(options)


def _answer(options: argparse.Namespace) -> int:
    if options.ablation:
        text = ablation_markdown(ablate(options.scenarios, options.seeds, jobs=options.jobs))
        print(text)
        if options.markdown:
            options.markdown.write_text(text, encoding="utf-8")
        return 0
    results = _run(options)
    show(results, Console(width=max(160, Console().width)))
    document = as_json(results, options.seeds, options.replicas)
    if options.json:
        write_json(options.json, document)
    if options.markdown:
        options.markdown.write_text(markdown(results), encoding="utf-8")
    if options.plots:
        write_plots(results, options.plots, "routing")
    return 0


def _run(options: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    work = partial(_one_scenario, seeds=options.seeds, policies=options.policies, replicas=options.replicas)
    if options.jobs == 1:
        return dict(map(work, options.scenarios))
    with ProcessPoolExecutor(options.jobs) as pool:
        return dict(pool.map(work, options.scenarios))


def _one_scenario(
    name: str, *, seeds: Sequence[int], policies: Sequence[str], replicas: int
) -> tuple[str, dict[str, Figures]]:
    told = partial(print, file=sys.stderr)
    with _without_logs():  # a process of the pool starts anew
        return name, compare(SCENARIOS[name], seeds, policies, replicas=replicas, told=told)


@contextmanager
def _without_logs() -> Iterator[None]:
    """What gateways in trouble log is of no interest here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-routing", description="Routing policies side by side, in virtual time."
    )
    parser.add_argument("--seeds", type=_seeds, default=_seeds(_DEFAULT_SEEDS), help="such as 1,2,3")
    parser.add_argument(
        "--scenarios", type=_chosen(SCENARIOS), default=list(SCENARIOS), help="such as S1,S7; default: all"
    )
    parser.add_argument(
        "--policies",
        type=_chosen(POLICIES),
        default=list(POLICIES),
        help=f"of {', '.join(POLICIES)}; default: all",
    )
    parser.add_argument("--replicas", type=_positive, default=1, help="gateways that share the traffic")
    parser.add_argument("--jobs", type=_positive, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    parser.add_argument("--plots", type=Path, help="write SVG charts into this folder")
    parser.add_argument(
        "--ablation", action="store_true", help="halve and double each constant of expected_time instead"
    )
    return parser


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, such as 1,2,3") from None
    return list(dict.fromkeys(seeds))


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return number


def _chosen(known: Iterable[str]) -> Callable[[str], list[str]]:
    return partial(_names, tuple(known))


def _names(known: Sequence[str], text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; known: {', '.join(known)}")
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    sys.exit(main())

"""What choosing models with `auto` is worth, on rewards that are known for every model.

    python -m bench.eval_auto --data FILE [--seeds 1,2,3] [--requests N] [--json PATH]

FILE has one JSON object per line, with the same models in every line; other fields are ignored:

    {"source": "<question family>", "arms": {"<model>": {"reward": <0 to 1>, "cost": <USD>}, ...}}
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev

from bench.eval_auto_replay import POLICIES, SETTINGS, DataError, evaluate, load

ROOT = Path(__file__).resolve().parent.parent
# Rewards are third-party data: kept beside the checkout, in whatever folder, and never inside it.
DEFAULT_DATA = next(ROOT.parent.glob("*/data/model-rewards/val_k4.jsonl"), Path("val_k4.jsonl"))
DEFAULT_SEEDS = ",".join(str(seed) for seed in range(1001, 1011))
DEFAULT_REQUESTS = 14_000


def main(argv: list[str] | None = None) -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(prog="eval-auto", description="Compare ways to choose a model.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="file of full-information rewards")
    parser.add_argument("--seeds", type=_seeds, default=DEFAULT_SEEDS, help="comma-separated whole numbers")
    parser.add_argument("--requests", type=_count, default=DEFAULT_REQUESTS, help="length of one run")
    parser.add_argument("--json", type=Path, help="write the mean utilities here")
    options = parser.parse_args(argv)
    if not options.data.is_file():
        print(f"eval-auto: skipped, there is no file {options.data.name}; name one with --data FILE")
        return 0
    try:
        data = load(options.data)
    except DataError as error:
        print(f"eval-auto: {error}", file=sys.stderr)
        return 1
    found = evaluate(data, options.seeds, options.requests)
    print(
        f"{len(data.rows)} rows, {len(data.models)} models, {options.requests} requests per run, "
        f"{len(options.seeds)} seeds; utility = quality - 0.1 * cost term"
    )
    print(table(found))
    if options.json is not None:
        means = {name: {policy: mean(runs) for policy, runs in row.items()} for name, row in found.items()}
        options.json.write_text(json.dumps(means, indent=2) + "\n")
    return 0


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """The mean utility of each policy in each setting, with its standard deviation over the seeds."""
    lines = [f"{'policy':<14}" + "".join(f"{setting:>20}" for setting in SETTINGS)]
    for policy in POLICIES:
        cells = []
        for setting in SETTINGS:
            runs = found[setting][policy]
            spread = stdev(runs) if len(runs) > 1 else 0.0
            cells.append(f"{mean(runs):.4f} ± {spread:.4f}")
        lines.append(f"{policy:<14}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return count


if __name__ == "__main__":
    sys.exit(main())

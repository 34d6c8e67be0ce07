"""The measures of a probability's worth, folds and intervals, in plain Python."""

import math
import random
from collections.abc import Callable, Sequence

from msgspec import Struct

BINS = 10


def average_precision(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Area under the precision-recall curve as a step function; equal scores are taken as one step."""
    total = sum(labels)
    if not total:
        return math.nan
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    area = 0.0
    found = seen = 0
    position = 0
    while position < len(order):
        score, before = scores[order[position]], found
        while position < len(order) and scores[order[position]] == score:
            found += labels[order[position]]
            seen += 1
            position += 1
        area += (found - before) / total * found / seen
    return area


def brier(chances: Sequence[float], labels: Sequence[bool]) -> float:
    """Mean squared difference of probability and outcome."""
    return sum((chance - label) ** 2 for chance, label in zip(chances, labels, strict=True)) / len(labels)


def calibration_error(chances: Sequence[float], labels: Sequence[bool]) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins: list[list[int]] = [[] for _ in range(BINS)]
    for at, chance in enumerate(chances):
        bins[min(BINS - 1, int(chance * BINS))].append(at)
    gaps = 0.0
    for members in bins:
        if members:
            gaps += abs(sum(chances[at] for at in members) - sum(labels[at] for at in members))
    return gaps / len(labels)


def folds(groups: Sequence[str], count: int, seed: int) -> list[list[int]]:
    """The positions of each fold; a group is never split."""
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    place = {name: at % count for at, name in enumerate(names)}
    members: list[list[int]] = [[] for _ in range(min(count, len(names)))]
    for at, group in enumerate(groups):
        members[place[group]].append(at)
    return members


class Interval(Struct, frozen=True):
    """A bootstrap interval."""

    low: float
    high: float


def bootstrap(
    groups: Sequence[str], statistic: Callable[[Sequence[int]], float], *, seed: int, rounds: int = 1000
) -> Interval:
    """The 90 % interval of a statistic of positions, drawing whole groups with replacement."""
    members: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    pool = list(members.values())
    rng = random.Random(seed)
    values = []
    for _ in range(rounds):
        drawn = [at for group in rng.choices(pool, k=len(pool)) for at in group]
        value = statistic(drawn)
        if not math.isnan(value):
            values.append(value)
    if not values:
        return Interval(math.nan, math.nan)
    values.sort()
    return Interval(values[int(0.05 * len(values))], values[min(len(values) - 1, int(0.95 * len(values)))])

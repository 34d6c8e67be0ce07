"""Replays rewards that are known for every model: who would have earned how much."""

import heapq
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from bench.eval_auto_policies import Ema, Fixed, Hierarchical, Policy, Thompson
from nexus.core.request import Task
from nexus.outcomes.choice.settings import ChoiceSettings

POLICIES = ("hierarchical", "ema", "thompson", "best_single", "oracle")
SETTINGS = ("stationary", "regression")
COST_WEIGHT = 0.1
# What is left of the best model's rewards after its silent regression half-way.
REGRESSED = 0.74
SIGNAL_SHARES = (0.05, 0.30)
LONGEST_DELAY = 100
_TAIL = 0.05
_CODE = frozenset({"mbpp", "humaneval"})
_REASONING = frozenset({"gsm8k", "math", "aime"})
_GENERATE = frozenset({"hellaswag", "mt_bench", "alpaca"})


class _Arm(Struct):
    reward: float
    cost: float


class _Line(Struct):
    source: str
    arms: dict[str, _Arm]


class Row(Struct, frozen=True):
    """One prompt: its task, and for every model the reward in [0, 1], the cost in USD and the cost term."""

    task: Task
    rewards: tuple[float, ...]
    costs: tuple[float, ...]
    terms: tuple[float, ...]


class Data(Struct, frozen=True):
    """A file of full-information rewards. `best` is the position of the model of highest mean utility."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    settings: ChoiceSettings
    best: int


class DataError(Exception):
    """The file can't be used; the message says why."""


def task_of(source: str) -> Task:
    """The task that a family of benchmark questions stands for; multiple choice unless it is known better."""
    family = source.split("/", maxsplit=1)[0].lower()
    if family in _CODE:
        return Task.CODE
    if family in _REASONING or family == "bbh":
        return Task.REASONING
    return Task.GENERATE if family in _GENERATE else Task.CLASSIFY


def load(path: Path) -> Data:
    """Read a file; `DataError` names the line that can't be read."""
    lines = []
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        if not raw.strip():
            continue
        try:
            lines.append(msgspec.json.decode(raw, type=_Line))
        except msgspec.DecodeError as error:
            raise DataError(f"{path.name}, line {number}: {error}") from error
    if not lines:
        raise DataError(f"{path.name} holds no rows")
    models = tuple(sorted(lines[0].arms))
    if any(tuple(sorted(line.arms)) != models for line in lines) or len(models) < 2:
        raise DataError(f"{path.name}: every row must have the same models, two or more")
    costs = sorted(arm.cost for line in lines for arm in line.arms.values())
    low, high = costs[int(_TAIL * (len(costs) - 1))], costs[int((1 - _TAIL) * (len(costs) - 1))]
    settings = ChoiceSettings(
        cost_weight=COST_WEIGHT, cost_low_usd=max(low, 1e-9), cost_high_usd=max(high, low * 1.001, 2e-9)
    )
    rows = tuple(_row(line, models, settings) for line in lines)
    return Data(models, rows, settings, _best(rows, range(len(models)), (1.0,) * len(models)))


def _row(line: _Line, models: tuple[str, ...], settings: ChoiceSettings) -> Row:
    arms = [line.arms[model] for model in models]
    costs = tuple(arm.cost for arm in arms)
    terms = tuple(settings.cost_term(cost) for cost in costs)
    return Row(task_of(line.source), tuple(arm.reward for arm in arms), costs, terms)


def _best(rows: tuple[Row, ...], arms: range, kept: tuple[float, ...]) -> int:
    """The model with the highest mean utility, where each one's rewards are multiplied by what is `kept`."""
    return max(
        arms, key=lambda arm: sum(row.rewards[arm] * kept[arm] - COST_WEIGHT * row.terms[arm] for row in rows)
    )


def replay(data: Data, policy: Policy, *, seed: int, requests: int, regression: bool) -> float:
    """The mean utility of a policy over one run.

    The rows come in random order, over and over. A signal arrives for a share of the requests, drawn for each
    task, one to a hundred requests later; it is 1 with the reward as its probability, else 0.
    """
    rng = Random(seed)
    shares = {task: rng.uniform(*SIGNAL_SHARES) for task in Task}
    waiting: list[tuple[int, int, int, Task, float]] = []
    total = 0.0
    for at, row in enumerate(_stream(data.rows, requests, rng)):
        while waiting and waiting[0][0] <= at:
            _, _, arm, task, quality = heapq.heappop(waiting)
            policy.told(arm, task, quality)
        arm = policy.choose(row.task, at)
        reward = row.rewards[arm]
        if regression and arm == data.best and at >= requests // 2:
            reward *= REGRESSED
        total += reward - COST_WEIGHT * row.terms[arm]
        policy.paid(arm, row.task, row.costs[arm])
        has_signal, delay, accepted = (
            rng.random() < shares[row.task],
            rng.randint(1, LONGEST_DELAY),
            rng.random(),
        )
        if has_signal:
            heapq.heappush(waiting, (at + delay, at, arm, row.task, float(accepted < reward)))
    return total / requests


def _stream(rows: tuple[Row, ...], requests: int, rng: Random) -> Iterator[Row]:
    left = requests
    while left > 0:
        order = list(rows)
        rng.shuffle(order)
        yield from order[:left]
        left -= len(order)


def make_policy(name: str, data: Data, *, seed: int, requests: int, regression: bool) -> Policy:
    """The policy of this name, fresh."""
    rng = Random(f"policy {seed}")
    match name:
        case "hierarchical":
            return Hierarchical(data.models, data.settings, rng)
        case "thompson":
            return Thompson(data.models, data.settings, rng)
        case "ema":
            return Ema(data.models, data.settings, rng)
        case "best_single":
            always = dict.fromkeys(Task, data.best)
            return Fixed((always, always), requests)
        case _:
            return Fixed((_oracle(data, regressed=False), _oracle(data, regressed=regression)), requests // 2)


def _oracle(data: Data, *, regressed: bool) -> dict[Task, int]:
    """The best model of each task, from the true means."""
    arms = range(len(data.models))
    kept = tuple(REGRESSED if regressed and arm == data.best else 1.0 for arm in arms)
    best = {}
    for task in Task:
        rows = tuple(row for row in data.rows if row.task is task)
        best[task] = _best(rows, arms, kept) if rows else data.best
    return best


def evaluate(data: Data, seeds: tuple[int, ...], requests: int) -> dict[str, dict[str, list[float]]]:
    """The mean utility of each run: by setting, by policy, in the order of the seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for setting in SETTINGS:
        regression = setting == "regression"
        found[setting] = {
            name: [
                replay(
                    data,
                    make_policy(name, data, seed=seed, requests=requests, regression=regression),
                    seed=seed,
                    requests=requests,
                    regression=regression,
                )
                for seed in seeds
            ]
            for name in POLICIES
        }
    return found

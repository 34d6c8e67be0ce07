"""The tables of the evaluation: each signal alone, the classifier, and the kinds beside the hand labels."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from time import perf_counter

from msgspec import Struct

from bench.eval_signals_data import Followed, Turn
from bench.eval_signals_stats import (
    Interval,
    average_precision,
    bootstrap,
    brier,
    calibration_error,
    fit_logistic,
    folds,
)
from nexus.outcomes.outcome import InferredKind
from nexus.outcomes.signals.kinds import FollowUp
from nexus.outcomes.signals.reader import SignalReader
from nexus.outcomes.signals.weights import MIN_RELIABILITY, Evidence, Weights, judge

FOLDS = 10
HELD_OUT = 0.3
PRIOR = 10.0
"""A signal's rate is drawn towards the base rate as if by so many more answers."""
QUICK = "quick_follow_up"
REPEATED = "asked_again or regenerated"


class SignalRow(Struct, frozen=True):
    """One signal alone, among answers with code; `lift_all` is among all answers.

    `says` is the verdict its lift speaks for. `precision` and `recall` are of that verdict; `pr_auc`, `ece`
    and `brier` of probabilities from other programmers' answers, means over the seeds; `pr_auc_base` and
    `brier_base` are what the base rate alone gets. `reliability` is the part of the doubt that it removes.
    """

    name: str
    count: int
    adopted: float
    lift: float
    lift_interval: Interval
    lift_all: float
    lift_all_interval: Interval
    says: str
    precision: float
    recall: float
    pr_auc: float
    pr_auc_base: float
    ece: float
    brier: float
    brier_base: float
    reliability: float
    weighted: bool


class ClassifierRow(Struct, frozen=True):
    """The classifier over some answers with code. `coverage` is the share of them that get a verdict."""

    answers: float
    base_rate: float
    pr_auc_adopted: float
    pr_auc_rejected: float
    ece: float
    brier: float
    brier_base: float
    coverage: float
    rejected: float
    rejected_precision: float
    rejected_lift: float
    accepted: float
    accepted_precision: float
    accepted_lift: float


class KindRow(Struct, frozen=True):
    """How the rules agree with the hand labels, for one kind. `labelled` and `found` are counts."""

    kind: str
    labelled: int
    found: int
    precision: float
    recall: float


class Replay(Struct, frozen=True):
    """The product's own reader, run over the file as if it were traffic. Times are of one `read`."""

    turns: int
    followed: int
    matched: int
    wrong_matches: int
    signals: int
    read_us_p50: float
    read_us_p95: float


def signal_members(follow_ups: Sequence[Followed]) -> dict[str, list[bool]]:
    """For each signal, which follow-ups give it."""
    members = {kind.value: [entry.kind is kind for entry in follow_ups] for kind in FollowUp}
    members[REPEATED] = [entry.evidence.repeated for entry in follow_ups]
    members[QUICK] = [entry.quick for entry in follow_ups]
    return members


def signal_rows(follow_ups: Sequence[Followed], seeds: Sequence[int]) -> list[SignalRow]:
    """A row for each signal that occurs."""
    coded = [entry for entry in follow_ups if entry.turn.code]
    everywhere = signal_members(follow_ups)
    return [
        _signal_row(name, (coded, fires), (follow_ups, everywhere[name]), seeds)
        for name, fires in signal_members(coded).items()
        if any(fires)
    ]


def _signal_row(
    name: str,
    with_code: tuple[Sequence[Followed], Sequence[bool]],
    everywhere: tuple[Sequence[Followed], Sequence[bool]],
    seeds: Sequence[int],
) -> SignalRow:
    coded, fires = with_code
    labels = [entry.turn.adopted for entry in coded]
    base = fmean(labels)
    count = sum(fires)
    hits = sum(label for label, fired in zip(labels, fires, strict=True) if fired)
    lift, interval = _lift(coded, fires, seeds[0])
    lift_all, interval_all = _lift(*everywhere, seeds[0])
    positive = lift > 1
    right, total = (hits, sum(labels)) if positive else (count - hits, len(labels) - sum(labels))
    measures = [_alone(coded, fires, positive=positive, seed=seed) for seed in seeds]
    reliability = _reliability(_shrunken(hits, count, base), base)
    both = (interval.low, interval_all.low) if positive else (interval.high, interval_all.high)
    clear = all(end > 1 for end in both) if positive else all(end < 1 for end in both)
    return SignalRow(
        name=name,
        count=count,
        adopted=hits / count,
        lift=lift,
        lift_interval=interval,
        lift_all=lift_all,
        lift_all_interval=interval_all,
        says="accepted" if positive else "rejected",
        precision=right / count,
        recall=right / total if total else math.nan,
        pr_auc=fmean(one[0] for one in measures),
        pr_auc_base=base if positive else 1 - base,
        ece=fmean(one[1] for one in measures),
        brier=fmean(one[2] for one in measures),
        brier_base=base * (1 - base),
        reliability=reliability,
        weighted=clear and reliability >= MIN_RELIABILITY,
    )


def _lift(entries: Sequence[Followed], fires: Sequence[bool], seed: int) -> tuple[float, Interval]:
    labels = [entry.turn.adopted for entry in entries]

    def lift(positions: Sequence[int]) -> float:
        fired = [labels[at] for at in positions if fires[at]]
        base = sum(labels[at] for at in positions)
        return fmean(fired) * len(positions) / base if fired and base else math.nan

    groups = [entry.turn.programmer for entry in entries]
    return lift(range(len(labels))), bootstrap(groups, lift, seed=seed)


def _shrunken(hits: int, count: int, base: float) -> float:
    return (hits + PRIOR * base) / (count + PRIOR)


def _reliability(rate: float, base: float) -> float:
    if not 0 < base < 1:
        return 0.0
    return (rate - base) / (1 - base) if rate > base else (base - rate) / base


def _alone(
    entries: Sequence[Followed], fires: Sequence[bool], *, positive: bool, seed: int
) -> tuple[float, float, float]:
    """PR-AUC, ECE and Brier of the signal alone, each answer predicted from other programmers' answers."""
    labels = [entry.turn.adopted for entry in entries]

    def fit(train: Sequence[int]) -> Callable[[int], float]:
        base = fmean(labels[at] for at in train)
        rates = []
        for state in (False, True):
            members = [labels[at] for at in train if fires[at] is state]
            rates.append(_shrunken(sum(members), len(members), base))
        return lambda at: rates[fires[at]]

    chances = _cross_validated(entries, fit, seed)
    scores = chances if positive else [-chance for chance in chances]
    wanted = labels if positive else [not label for label in labels]
    return average_precision(scores, wanted), calibration_error(chances, labels), brier(chances, labels)


def _cross_validated(
    entries: Sequence[Followed], fit: Callable[[Sequence[int]], Callable[[int], float]], seed: int
) -> list[float]:
    chances = [math.nan] * len(entries)
    parts = folds([entry.turn.programmer for entry in entries], FOLDS, seed)
    for part in parts:
        inside = set(part)
        model = fit([at for at in range(len(entries)) if at not in inside])
        for at in part:
            chances[at] = model(at)
    return chances


def _columns(evidence: Evidence) -> tuple[float, float, float]:
    return float(evidence.repeated), float(evidence.quick), float(evidence.failed)


def fit_weights(entries: Sequence[Followed]) -> Weights:
    """A logistic regression on the three weighted signals, with a ridge penalty of 1.

    Fitted to the label itself, its output is the calibrated probability; no second scaling follows.
    """
    rows = [_columns(entry.evidence) for entry in entries]
    labels = [entry.turn.adopted for entry in entries]
    return Weights(fmean(labels), *fit_logistic(rows, labels))


def cross_validated(entries: Sequence[Followed], seeds: Sequence[int]) -> ClassifierRow:
    """The classifier on programmers it was not fitted to, in turn; means over the seeds."""
    results = []
    for seed in seeds:
        pairs: list[tuple[Followed, Weights]] = []
        for part in folds([entry.turn.programmer for entry in entries], FOLDS, seed):
            inside = set(part)
            weights = fit_weights([entry for at, entry in enumerate(entries) if at not in inside])
            pairs.extend((entries[at], weights) for at in part)
        results.append(_classified(pairs))
    return _mean(results)


def held_out(entries: Sequence[Followed], seeds: Sequence[int]) -> ClassifierRow:
    """Fitted to 70 % of the programmers, measured on the rest, drawn anew for each seed; means."""
    results = []
    for seed in seeds:
        parts = folds([entry.turn.programmer for entry in entries], FOLDS, seed)
        test = {at for part in parts[: round(HELD_OUT * len(parts))] for at in part}
        weights = fit_weights([entry for at, entry in enumerate(entries) if at not in test])
        results.append(_classified([(entries[at], weights) for at in sorted(test)]))
    return _mean(results)


def as_shipped(entries: Sequence[Followed], weights: Weights) -> ClassifierRow:
    """Fixed weights on all entries."""
    return _classified([(entry, weights) for entry in entries])


def _classified(pairs: Sequence[tuple[Followed, Weights]]) -> ClassifierRow:
    labels = [entry.turn.adopted for entry, _ in pairs]
    base = fmean(labels)
    chances = [weights.adopted(entry.evidence) for entry, weights in pairs]
    verdicts = [judge(entry.evidence, weights) for entry, weights in pairs]
    known = [(verdict.accepted, label) for verdict, label in zip(verdicts, labels, strict=True) if verdict]
    rejected = [not label for accepted, label in known if not accepted]
    accepted = [label for accepted, label in known if accepted]
    return ClassifierRow(
        answers=len(pairs),
        base_rate=base,
        pr_auc_adopted=average_precision(chances, labels),
        pr_auc_rejected=average_precision([-chance for chance in chances], [not label for label in labels]),
        ece=calibration_error(chances, labels),
        brier=brier(chances, labels),
        brier_base=brier([weights.base_rate for _, weights in pairs], labels),
        coverage=len(known) / len(pairs),
        rejected=len(rejected),
        rejected_precision=_share(rejected),
        rejected_lift=_share(rejected) / (1 - base) if base < 1 else math.nan,
        accepted=len(accepted),
        accepted_precision=_share(accepted),
        accepted_lift=_share(accepted) / base if base else math.nan,
    )


def _share(values: Sequence[bool]) -> float:
    return fmean(values) if values else math.nan


def _mean(rows: Sequence[ClassifierRow]) -> ClassifierRow:
    means = []
    for name in ClassifierRow.__struct_fields__:
        values = [value for value in (getattr(row, name) for row in rows) if not math.isnan(value)]
        means.append(fmean(values) if values else math.nan)
    return ClassifierRow(*means)


def kind_rows(follow_ups: Sequence[Followed], labels: Mapping[str, FollowUp]) -> tuple[float, list[KindRow]]:
    """The share of labelled follow-ups whose kind the rules find, and a row per kind."""
    known = [(labels[entry.turn.id], entry.kind) for entry in follow_ups if entry.turn.id in labels]
    if not known:
        return math.nan, []
    rows = []
    for kind in FollowUp:
        both = sum(label is kind and found is kind for label, found in known)
        labelled = sum(label is kind for label, _ in known)
        found = sum(found is kind for _, found in known)
        precision = both / found if found else math.nan
        rows.append(
            KindRow(kind.value, labelled, found, precision, both / labelled if labelled else math.nan)
        )
    return fmean(label is found for label, found in known), rows


def replay(turns: Sequence[Turn], follow_ups: Sequence[Followed]) -> Replay:
    """Send each programmer's turns through a `SignalReader` of their own, and count."""
    expected = {entry.turn.id: judge(entry.evidence) for entry in follow_ups}
    readers: dict[str, SignalReader] = {}
    times = []
    matched = signals = wrong = 0
    for turn in turns:
        reader = readers.setdefault(turn.programmer, SignalReader())
        began = perf_counter()
        reading = reader.read(turn.messages, turn.time)
        times.append((perf_counter() - began) * 1e6)
        matched += reading.kind is not None
        for signal in reading.signals:
            signals += 1
            verdict = expected.get(signal.trace_id)
            wrong += verdict is None or verdict.accepted is (signal.outcome.kind is InferredKind.REJECTED)
        if reading.conversation is not None:
            hasher = reader.hasher()
            hasher.add(turn.answer)
            reader.remember(turn.id, hasher, reading.conversation, turn.time)
    times.sort()
    middle, slow = times[len(times) // 2], times[int(0.95 * len(times))]
    return Replay(len(turns), len(follow_ups), matched, wrong, signals, middle, slow)

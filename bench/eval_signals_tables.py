"""The tables of the evaluation: each signal alone, the classifier, and the kinds beside the hand labels."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from time import perf_counter

from msgspec import Struct

from bench.eval_signals_data import REPEATED, Followed, Turn
from bench.eval_signals_stats import (
    Interval,
    average_precision,
    bootstrap,
    brier,
    calibration_error,
    folds,
)
from nexus.outcomes.outcome import InferredKind
from nexus.outcomes.signals.kinds import FollowUp
from nexus.outcomes.signals.reader import SignalReader
from nexus.outcomes.signals.weights import MIN_RELIABILITY, QUICK, Evidence, Rates, judge, reliability

FOLDS = 10
HELD_OUT = 0.3
PRIOR = 10.0
"""A signal's rate is drawn towards the base rate as if by so many more answers."""
PUT_AGAIN = "asked_again or regenerated"


class SignalRow(Struct, frozen=True):
    """One signal alone, among answers with code; `lift_all` is among all answers.

    `says` is the verdict its lift speaks for. `precision` and `recall` are of that verdict; `pr_auc`, `ece`
    and `brier` of probabilities from other programmers' answers, means over the seeds; `pr_auc_base` and
    `brier_base` are what the base rate alone gets. `reliability` is the part of the doubt that it removes.
    `passes`: the interval of `lift_all` excludes 1, and the reliability is enough.
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
    passes: bool


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


def signal_members(follow_ups: Sequence[Followed], *, by_hand: bool) -> dict[str, list[bool]]:
    """For each signal, which follow-ups give it; the kinds by the rules, or by hand where labelled."""
    kinds = [entry.known if by_hand else entry.kind for entry in follow_ups]
    members = {kind.value: [found is kind for found in kinds] for kind in FollowUp}
    members[PUT_AGAIN] = [found in REPEATED for found in kinds]
    members[QUICK] = [entry.quick for entry in follow_ups]
    return members


def signal_rows(follow_ups: Sequence[Followed], seeds: Sequence[int], *, by_hand: bool) -> list[SignalRow]:
    """A row for each signal that occurs among answers with code."""
    coded = [entry for entry in follow_ups if entry.turn.code]
    everywhere = signal_members(follow_ups, by_hand=by_hand)
    return [
        _signal_row(name, (coded, fires), (follow_ups, everywhere[name]), seeds)
        for name, fires in signal_members(coded, by_hand=by_hand).items()
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
    removed = reliability(_shrunken(hits, count, base), base)
    clear = interval_all.low > 1 if positive else interval_all.high < 1
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
        reliability=removed,
        passes=clear and removed >= MIN_RELIABILITY,
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


def fit_rates(entries: Sequence[Followed]) -> Rates:
    """The rates of the weighted signals, drawn towards the base rate; asked again by hand where labelled."""
    labels = [entry.turn.adopted for entry in entries]
    base = fmean(labels)

    def rate(fires: Sequence[bool]) -> float:
        found = [label for label, fired in zip(labels, fires, strict=True) if fired]
        return _shrunken(sum(found), len(found), base)

    return Rates(
        base=base,
        repeated=rate([entry.known in REPEATED for entry in entries]),
        quick=rate([entry.quick for entry in entries]),
        failed=rate([entry.evidence.failed for entry in entries]),
        quiet=rate([entry.evidence == Evidence() for entry in entries]),
    )


def cross_validated(entries: Sequence[Followed], seeds: Sequence[int]) -> ClassifierRow:
    """The classifier on programmers it was not fitted to, in turn; means over the seeds."""
    results = []
    for seed in seeds:
        pairs: list[tuple[Followed, Rates]] = []
        for part in folds([entry.turn.programmer for entry in entries], FOLDS, seed):
            inside = set(part)
            rates = fit_rates([entry for at, entry in enumerate(entries) if at not in inside])
            pairs.extend((entries[at], rates) for at in part)
        results.append(_classified(pairs))
    return _mean(results)


def held_out(entries: Sequence[Followed], seeds: Sequence[int]) -> ClassifierRow:
    """Fitted to 70 % of the programmers, measured on the rest, drawn anew for each seed; means."""
    results = []
    for seed in seeds:
        parts = folds([entry.turn.programmer for entry in entries], FOLDS, seed)
        test = {at for part in parts[: round(HELD_OUT * len(parts))] for at in part}
        rates = fit_rates([entry for at, entry in enumerate(entries) if at not in test])
        results.append(_classified([(entries[at], rates) for at in sorted(test)]))
    return _mean(results)


def as_shipped(entries: Sequence[Followed], rates: Rates) -> ClassifierRow:
    """Fixed rates on all entries."""
    return _classified([(entry, rates) for entry in entries])


def _classified(pairs: Sequence[tuple[Followed, Rates]]) -> ClassifierRow:
    labels = [entry.turn.adopted for entry, _ in pairs]
    base = fmean(labels)
    chances = [rates.adopted(entry.evidence) for entry, rates in pairs]
    verdicts = [judge(entry.evidence, rates) for entry, rates in pairs]
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
        brier_base=brier([rates.base for _, rates in pairs], labels),
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


def kind_rows(follow_ups: Sequence[Followed]) -> tuple[float, list[KindRow]]:
    """The share of labelled follow-ups whose kind the rules find, and a row per kind."""
    known = [(entry.label, entry.kind) for entry in follow_ups if entry.label is not None]
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

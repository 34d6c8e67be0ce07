"""How well follow-ups tell whether an answer was adopted.

    python -m bench.eval_signals [--data FILE] [--labels FILE] [--seeds 1,2,3] [--json PATH]

FILE is the chat log of the RealHumanEval study: a CSV with programmer_id, timestamp, task_name, request,
response and copy_events. Without it there is nothing to measure; that is said, and the exit code is 0.
"""

import argparse
import math
import sys
from pathlib import Path

from msgspec import Struct

from bench.eval_signals_data import follow_ups, read_labels, read_turns
from bench.eval_signals_tables import (
    ClassifierRow,
    KindRow,
    Replay,
    SignalRow,
    as_shipped,
    cross_validated,
    fit_rates,
    held_out,
    kind_rows,
    replay,
    signal_rows,
)
from bench.figures import write_json
from nexus.outcomes.signals.weights import SHIPPED, Rates

ROOT = Path(__file__).resolve().parent.parent
LABELS = ROOT / "bench" / "labels" / "followup_kinds.csv"
# Third-party data: kept beside the checkout, in whatever folder, and never inside it.
DEFAULT_DATA = next(ROOT.parent.glob("*/data/followups/*.csv"), Path("chat_data.csv"))


class Report(Struct, frozen=True):
    """Everything that is printed. A measure that cannot be had is null."""

    seeds: list[int]
    programmers: int
    turns: int
    followed: int
    followed_with_code: int
    base_rate_all: float
    base_rate: float
    signals: list[SignalRow]
    signals_by_hand: list[SignalRow]
    classifier: dict[str, ClassifierRow]
    rates_fitted: Rates
    rates_shipped: Rates
    kinds_labelled: int
    kinds_accuracy: float
    kinds: list[KindRow]
    replay: Replay


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    if not options.data.is_file():
        print(f"eval-signals: skipped, there is no file {options.data.name}; name one with --data FILE")
        return 0
    try:
        report = evaluate(options.data, options.labels, options.seeds)
    except ValueError as error:
        print(f"eval-signals: {error}", file=sys.stderr)
        return 2
    show(report)
    if options.json is not None:
        write_json(options.json, report)
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="eval-signals", description="Measure the signals of follow-ups.")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the chat log to measure on")
    parser.add_argument("--labels", type=Path, default=LABELS, help="hand-labelled kinds of follow-up")
    parser.add_argument("--seeds", type=_seeds, default=[1, 2, 3], help="comma-separated, default 1,2,3")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args(arguments)


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def evaluate(data: Path, labels: Path, seeds: list[int]) -> Report:
    """All figures. Raises ValueError where the file cannot be read or holds too little."""
    turns = read_turns(data)
    found = follow_ups(turns, read_labels(labels))
    coded = [entry for entry in found if entry.turn.code]
    adopted = sum(entry.turn.adopted for entry in coded)
    if len({entry.turn.programmer for entry in coded}) < 2 or not 0 < adopted < len(coded):
        raise ValueError(
            f"{data}: too few followed answers with code, from two programmers or more, to measure"
        )
    accuracy, kinds = kind_rows(found)
    classifier = {
        "cross_validated": cross_validated(coded, seeds),
        "held_out": held_out(coded, seeds),
        "shipped": as_shipped(coded, SHIPPED),
    }
    return Report(
        seeds=seeds,
        programmers=len({turn.programmer for turn in turns}),
        turns=len(turns),
        followed=len(found),
        followed_with_code=len(coded),
        base_rate_all=sum(entry.turn.adopted for entry in found) / len(found),
        base_rate=adopted / len(coded),
        signals=signal_rows(found, seeds, by_hand=False),
        signals_by_hand=signal_rows(found, seeds, by_hand=True) if kinds else [],
        classifier=classifier,
        rates_fitted=fit_rates(coded),
        rates_shipped=SHIPPED,
        kinds_labelled=sum(row.labelled for row in kinds),
        kinds_accuracy=accuracy,
        kinds=kinds,
        replay=replay(turns, found),
    )


def show(report: Report) -> None:
    """Print the tables."""
    seeds = ", ".join(map(str, report.seeds))
    print(
        f"{report.turns} answers in {report.programmers} programmers' conversations, "
        f"{report.followed} followed up ({report.base_rate_all:.3f} adopted), "
        f"{report.followed_with_code} of them with code ({report.base_rate:.3f} adopted); seeds {seeds}"
    )
    heading = "among answers with code (lift with its 90 % interval, programmers drawn anew)"
    if report.signals_by_hand:
        _show_signals(f"Signals alone, kinds by hand, {heading}", report.signals_by_hand)
    _show_signals(f"Signals alone, kinds by the product's rules, {heading}", report.signals)
    _show_classifier(report)
    if report.kinds:
        print(f"\nKinds beside {report.kinds_labelled} hand labels: accuracy {report.kinds_accuracy:.3f}")
        print(f"{'kind':<28}{'labelled':>9}{'found':>7}{'precision':>11}{'recall':>8}")
        for row in report.kinds:
            print(f"{row.kind:<28}{row.labelled:>9}{row.found:>7}{_f(row.precision, 11)}{_f(row.recall, 8)}")
    else:
        print("\nKinds: none of these follow-ups has a hand label")
    run = report.replay
    print(
        f"\nReplayed through the reader: {run.matched} of {run.followed} follow-ups matched by hash, "
        f"{run.signals} verdicts, {run.wrong_matches} of them not the expected ones; "
        f"one read takes {run.read_us_p50:.0f} us (median), {run.read_us_p95:.0f} us (95th percentile)"
    )


def _show_signals(heading: str, rows: list[SignalRow]) -> None:
    print(f"\n{heading}")
    print(
        f"{'signal':<28}{'n':>5}{'adopted':>9}{'lift':>6}{'interval':>13}"
        f"{'lift, all answers':>20}{'says':>10}{'prec.':>7}{'recall':>8}{'PR-AUC':>8}{'(base)':>8}"
        f"{'ECE':>7}{'Brier':>7}{'(base)':>8}{'rel.':>6}  passes"
    )
    for row in rows:
        ours, everywhere = row.lift_interval, row.lift_all_interval
        print(
            f"{row.name:<28}{row.count:>5}{_f(row.adopted, 9)}{row.lift:>6.2f}"
            f"{f'{ours.low:.2f}-{ours.high:.2f}':>13}"
            f"{f'{row.lift_all:.2f} {everywhere.low:.2f}-{everywhere.high:.2f}':>20}{row.says:>10}"
            f"{_f(row.precision, 7)}{_f(row.recall, 8)}{_f(row.pr_auc, 8)}{_f(row.pr_auc_base, 8)}"
            f"{_f(row.ece, 7)}{_f(row.brier, 7)}{_f(row.brier_base, 8)}{row.reliability:>6.2f}"
            f"  {'yes' if row.passes else 'no'}"
        )


def _show_classifier(report: Report) -> None:
    print("\nThe classifier, among answers with code")
    print(
        f"{'':<18}{'answers':>8}{'base':>7}{'PR-AUC adopted':>16}{'rejected':>10}"
        f"{'ECE':>7}{'Brier':>7}{'(base)':>8}"
        f"{'verdicts':>10}{'rejections right':>18}{'lift':>6}{'acceptances right':>19}{'lift':>6}"
    )
    for name, row in report.classifier.items():
        print(
            f"{name:<18}{row.answers:>8.0f}{_f(row.base_rate, 7)}{_f(row.pr_auc_adopted, 16)}"
            f"{_f(row.pr_auc_rejected, 10)}{_f(row.ece, 7)}{_f(row.brier, 7)}{_f(row.brier_base, 8)}"
            f"{row.coverage:>10.1%}{f'{row.rejected_precision:.3f} of {row.rejected:.0f}':>18}"
            f"{row.rejected_lift:>6.2f}{f'{row.accepted_precision:.3f} of {row.accepted:.0f}':>19}"
            f"{row.accepted_lift:>6.2f}"
        )
    for name, rates in (("fitted here", report.rates_fitted), ("shipped", report.rates_shipped)):
        print(
            f"P(adopted), {name:<12} base {rates.base:.3f}, repeated {rates.repeated:.3f}, "
            f"quick {rates.quick:.3f}, failed {rates.failed:.3f}, quiet {rates.quiet:.3f}"
        )


def _f(value: float, width: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:>{width}.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

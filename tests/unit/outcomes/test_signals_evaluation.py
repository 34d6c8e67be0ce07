"""The evaluation measures what it says, leaks nothing between programmers, and can be run on any file."""

import csv
import json
import math
import random
from pathlib import Path

import pytest

from bench.eval_signals import LABELS, main
from bench.eval_signals_data import follow_ups, read_labels, read_turns
from bench.eval_signals_stats import (
    average_precision,
    bootstrap,
    brier,
    calibration_error,
    folds,
)
from nexus.outcomes.signals.kinds import FollowUp
from nexus.outcomes.signals.weights import SHIPPED, Evidence, judge

HEAD = ["programmer_id", "timestamp", "model", "task_name", "request", "response", "copy_events"]


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(HEAD)
        out.writerows(rows)
    return path


def chat(programmer: int, rng: random.Random) -> list[list[str]]:
    """One conversation: an answer with code, then a follow-up that depends on whether it was adopted."""
    question = f"how do I sort list number {programmer}?"
    answer = f"Like so, with the key of your choice ({programmer}):\n```python\nsorted(x)\n```"
    adopted = rng.random() < 0.5
    said = rng.choice(["Error: bad", "what next"] if adopted else [question, "what next"])
    first = [{"role": "user", "content": question}]
    then = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": said}]
    copied = [{"type": "copy_chat", "copied": "sorted(x)"}] if adopted else []
    return [
        [str(programmer), "0.0", "m", "task", str(first), answer, str(copied)],
        [str(programmer), "90.0", "m", "task", str(then), "ok", "[]"],
    ]


@pytest.fixture
def data(tmp_path):
    rng = random.Random(7)
    return write(tmp_path / "chat.csv", [row for number in range(60) for row in chat(number, rng)])


def test_nothing_to_measure_is_said(tmp_path, capsys):
    """Without a file the run is skipped with a line, and that is no failure."""
    assert main(["--data", str(tmp_path / "absent.csv")]) == 0
    out = capsys.readouterr().out
    assert out == "eval-signals: skipped, there is no file absent.csv; name one with --data FILE\n"


def test_a_run_prints_and_writes_its_tables(data, tmp_path, capsys):
    """The signals that the data was made with are found, and the figures are in the file."""
    path = tmp_path / "out.json"
    assert main(["--data", str(data), "--seeds", "4,5", "--json", str(path)]) == 0
    report = json.loads(path.read_bytes())
    assert (report["turns"], report["followed"], report["seeds"]) == (120, 60, [4, 5])
    rows = {row["name"]: row for row in report["signals"]}
    assert rows["error_report"]["says"] == "accepted"
    assert rows["error_report"]["precision"] == 1.0
    assert rows["error_report"]["passes"]
    assert rows["asked_again"]["says"] == "rejected"
    assert rows["asked_again"]["passes"]
    for row in report["classifier"].values():
        assert row["brier"] < row["brier_base"]
        assert row["rejected_precision"] == 1.0
    assert (report["replay"]["matched"], report["replay"]["wrong_matches"]) == (60, 0)
    assert report["kinds_labelled"] == 0
    assert report["kinds_accuracy"] is None
    assert report["signals_by_hand"] == []
    out = capsys.readouterr().out
    assert "quick_follow_up" not in out
    assert "none of these follow-ups has a hand label" in out


def test_hand_labels_are_compared(data, tmp_path, capsys):
    """Labels are found by turn; the committed ones are well-formed and unique."""
    labels = tmp_path / "labels.csv"
    labels.write_text("turn,kind\n0@0.0,moved_on\n1@0.0,moved_on\n", encoding="utf-8")
    assert main(["--data", str(data), "--labels", str(labels), "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert "Kinds beside 2 hand labels" in out
    assert "kinds by hand" in out
    assert len(read_labels(LABELS)) == len(LABELS.read_text(encoding="utf-8").splitlines()) - 1 >= 150


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["1", "x", "m", "t", "[]", "a", "[]"]], "row 1 cannot be read"),
        ([["1", "0", "m", "t", "[{", "a", "[]"]], "row 1 cannot be read"),
        ([["1", "0", "m", "t", "[{'role': 'user'}]", "a", "[]"]], "row 1 cannot be read"),
        ([], "too few"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, capsys, rows, message):
    """With what is wrong and where, and exit code 2."""
    path = write(tmp_path / "bad.csv", rows)
    assert main(["--data", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(path) in error


def test_a_missing_column_is_named(tmp_path, capsys):
    """Another CSV is not the chat log."""
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    assert main(["--data", str(path)]) == 2
    assert "no column programmer_id" in capsys.readouterr().err


def test_follow_ups_are_told_from_new_conversations(tmp_path):
    """The same messages again are a regeneration; other beginnings and other answers are no follow-up."""
    first = [{"role": "user", "content": "q"}]
    other = [*first, {"role": "assistant", "content": "edited"}, {"role": "user", "content": "r"}]
    path = write(
        tmp_path / "chat.csv",
        [
            ["1", "0", "m", "t", str(first), "a", "[]"],
            ["1", "10", "m", "t", str(other), "b", "[]"],
            ["1", "30", "m", "t", str(first), "c", "[]"],
            ["1", "40", "m", "t", str([{"role": "user", "content": "new"}]), "d", "[]"],
        ],
    )
    (found,) = follow_ups(read_turns(path), {})
    assert (found.turn.id, found.kind, found.gap) == ("1@0", FollowUp.REGENERATED, 30.0)
    assert found.evidence.repeated


def test_average_precision_by_hand():
    """Ties are one step, so an uninformative score gets the base rate."""
    assert average_precision([0.9, 0.8, 0.1], [True, False, True]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([0.5] * 4, [True, False, False, False]) == 0.25
    assert math.isnan(average_precision([0.5], [False]))


def test_calibration_and_brier_by_hand():
    """Perfect forecasts get 0; a constant one gets its distance from the rate."""
    assert calibration_error([1.0, 0.0], [True, False]) == 0.0
    assert calibration_error([0.7] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.2)
    assert brier([1.0, 0.5], [True, True]) == 0.125


def test_folds_never_split_a_programmer():
    """And every answer is in exactly one of them, whatever the seed."""
    groups = [f"p{n % 7}" for n in range(50)]
    for seed in range(5):
        parts = folds(groups, 3, seed)
        assert sorted(at for part in parts for at in part) == list(range(50))
        for part in parts:
            inside = {groups[at] for at in part}
            assert not inside & {groups[at] for at in range(50) if at not in part}
    assert folds(groups, 3, 1) != folds(groups, 3, 2)


def test_the_bootstrap_covers_the_mean_and_draws_whole_groups():
    """With one group there is nothing to draw, and the interval is a point."""
    values = [0.0] * 50 + [1.0] * 50
    interval = bootstrap(
        [str(n) for n in range(100)], lambda at: sum(values[n] for n in at) / len(at), seed=1, rounds=200
    )
    assert interval.low < 0.5 < interval.high
    point = bootstrap(["p"] * 100, lambda at: sum(values[n] for n in at) / len(at), seed=1, rounds=20)
    assert (point.low, point.high) == (0.5, 0.5)
    nothing = bootstrap(["p"], lambda _: math.nan, seed=1, rounds=5)
    assert math.isnan(nothing.low)


def test_the_shipped_weights_say_what_the_documentation_says():
    """The three verdicts of the table in the documentation, rounded as there."""
    found = []
    for evidence in (Evidence(repeated=True), Evidence(quick=True), Evidence(failed=True)):
        verdict = judge(evidence, SHIPPED)
        assert verdict is not None
        found.append((verdict.accepted, round(verdict.confidence, 3), round(verdict.reliability, 2)))
    assert found == [(False, 0.715, 0.26), (False, 0.784, 0.44), (True, 0.577, 0.31)]

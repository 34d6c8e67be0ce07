"""The evaluation of `auto` replays honestly: delayed, sparse, noisy, and knowing nothing beforehand."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from bench import eval_auto
from bench.eval_auto_policies import Ema, Hierarchical, Thompson
from bench.eval_auto_replay import (
    LONGEST_DELAY,
    POLICIES,
    SETTINGS,
    DataError,
    evaluate,
    load,
    make_policy,
    replay,
    task_of,
)
from nexus.core.request import Task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """200 rows: `good` is best in all, `cheap` is poor, `dear` nearly as good at a hundred times the cost."""
    rng = Random(4)
    file = tmp_path / "rewards.jsonl"
    lines = []
    for number in range(200):
        rewards = {"good": 0.95, "cheap": 0.4, "dear": 0.9}
        costs = {"good": 0.001, "cheap": 0.0001, "dear": 0.1}
        arms = {
            model: {"reward": reward, "cost": costs[model] * rng.uniform(0.8, 1.2), "other": True}
            for model, reward in rewards.items()
        }
        lines.append(json.dumps({"source": ("mbpp", "gsm8k")[number % 2], "prompt": "?", "arms": arms}))
    file.write_text("\n".join(lines) + "\n\n")
    return file


class Spy:
    """Always takes the first model, and notes what it is told."""

    def __init__(self, arm: int = 0) -> None:
        self.arm = arm
        self.now = -1
        self.chosen: list[Task] = []
        self.signals: list[tuple[int, float]] = []
        self.costs: list[float] = []

    def choose(self, task: Task, at: int) -> int:
        self.now = at
        self.chosen.append(task)
        return self.arm

    def paid(self, arm: int, task: Task, cost_usd: float) -> None:
        assert (arm, task) == (self.arm, self.chosen[-1])
        self.costs.append(cost_usd)

    def told(self, arm: int, task: Task, quality: float) -> None:
        assert arm == self.arm
        assert task in self.chosen
        self.signals.append((self.now, quality))


@pytest.mark.parametrize(
    ("source", "task"),
    [
        ("mbpp", Task.CODE),
        ("gsm8k", Task.REASONING),
        ("bbh/snarks", Task.REASONING),
        ("hellaswag", Task.GENERATE),
        ("anything", Task.CLASSIFY),
    ],
)
def test_a_family_of_questions_stands_for_a_task(source, task):
    assert task_of(source) is task


def test_the_best_model_and_the_cost_scale_come_from_the_file(path):
    data = load(path)
    assert data.models == ("cheap", "dear", "good")
    assert data.models[data.best] == "good"
    assert all(0.0 <= term <= 1.0 for row in data.rows for term in row.terms)


def test_signals_are_sparse_noisy_and_late(path):
    spy = Spy(arm=2)
    utility = replay(load(path), spy, seed=1, requests=2000, regression=False)
    assert 0.03 * 2000 < len(spy.signals) < 0.32 * 2000
    assert {quality for _, quality in spy.signals} == {0.0, 1.0}
    assert sum(quality for _, quality in spy.signals) / len(spy.signals) == pytest.approx(0.95, abs=0.05)
    assert len(spy.costs) == 2000
    assert utility < 0.95


def test_no_signal_comes_before_its_request_is_over(path):
    data = load(path)
    early = Spy()
    replay(data, early, seed=1, requests=1, regression=False)
    assert early.signals == []
    spy = Spy()
    replay(data, spy, seed=3, requests=LONGEST_DELAY * 5, regression=False)
    assert spy.signals[0][0] >= 0
    # Some of the last hundred requests' signals are still on their way at the end.
    assert len(spy.signals) < LONGEST_DELAY * 5


def test_the_regression_hits_the_best_model_half_way_and_no_other(path):
    data = load(path)
    best, other = data.best, 0
    assert replay(data, Spy(other), seed=1, requests=1000, regression=True) == replay(
        data, Spy(other), seed=1, requests=1000, regression=False
    )
    loss = replay(data, Spy(best), seed=1, requests=1000, regression=False) - replay(
        data, Spy(best), seed=1, requests=1000, regression=True
    )
    assert loss == pytest.approx(0.95 * 0.26 / 2)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(path):
    data = load(path)

    def run(seed: int) -> float:
        policy = make_policy("hierarchical", data, seed=seed, requests=500, regression=True)
        return replay(data, policy, seed=seed, requests=500, regression=True)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_learners_beat_chance_and_the_oracle_beats_all(path):
    found = evaluate(load(path), (1, 2), 1500)
    means = {name: {policy: sum(runs) / 2 for policy, runs in row.items()} for name, row in found.items()}
    for setting in SETTINGS:
        assert tuple(means[setting]) == POLICIES
        assert all(means[setting]["oracle"] >= each - 1e-9 for each in means[setting].values())
        assert means[setting]["hierarchical"] > 0.7
    assert means["stationary"]["best_single"] == means["stationary"]["oracle"]
    assert means["regression"]["best_single"] < means["regression"]["hierarchical"]


@pytest.mark.parametrize("name", ["hierarchical", "thompson", "ema"])
def test_a_learner_starts_without_knowing_the_best_model(path, name):
    data = load(path)
    firsts = {
        make_policy(name, data, seed=seed, requests=10, regression=False).choose(Task.CODE, 0)
        for seed in range(60)
    }
    assert firsts == {0, 1, 2}


def test_learners_move_to_what_they_are_told_is_good(path):
    data = load(path)
    for kind in (Hierarchical, Thompson, Ema):
        policy = kind(data.models, data.settings, Random(1))
        for _ in range(80):
            for arm, quality in ((0, 0.0), (1, 0.3), (2, 1.0)):
                policy.told(arm, Task.CODE, quality)
                policy.paid(arm, Task.CODE, 0.001)
        chosen = [policy.choose(Task.CODE, 0) for _ in range(50)]
        assert chosen.count(2) >= 40


def test_the_run_prints_its_table_and_writes_the_means(path, tmp_path, capsys):
    target = tmp_path / "out.json"
    arguments = ["--data", str(path), "--seeds", "1,2", "--requests", "300", "--json", str(target)]
    assert eval_auto.main(arguments) == 0
    written = json.loads(target.read_text())
    assert set(written) == set(SETTINGS)
    assert all(tuple(row) == POLICIES for row in written.values())
    printed = capsys.readouterr().out
    assert f"{written['regression']['ema']:.4f}" in printed
    assert "200 rows, 3 models, 300 requests per run, 2 seeds" in printed


def test_without_the_file_the_evaluation_is_skipped_with_a_clear_line(tmp_path, capsys):
    assert eval_auto.main(["--data", str(tmp_path / "none.jsonl")]) == 0
    assert "skipped, there is no file none.jsonl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no rows"),
        ('{"source": "x"}', "line 1"),
        ('{"source": "x", "arms": {"a": {"reward": 1, "cost": 1}}}', "two or more"),
        ("nonsense", "line 1"),
    ],
)
def test_a_file_that_can_not_be_used_is_an_error_with_its_reason(tmp_path, capsys, content, said):
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=said):
        load(file)
    assert eval_auto.main(["--data", str(file)]) == 1
    assert said in capsys.readouterr().err


def test_wrong_arguments_are_wrong_usage():
    for wrong in (["--seeds", "one"], ["--requests", "0"]):
        with pytest.raises(SystemExit) as stopped:
            eval_auto.main(wrong)
        assert stopped.value.code == 2


def test_it_runs_as_a_module():
    root = Path(eval_auto.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "bench.eval_auto", "--help"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--seeds" in done.stdout

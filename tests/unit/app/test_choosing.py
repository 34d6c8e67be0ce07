"""The gateway's chooser: its settings, what it recalls, and whom it leaves alone."""

import logging
from pathlib import Path

import pytest
from msgspec import structs

from nexus.app.choosing import Choosing
from nexus.config.model import Config, LedgerSettings, OutcomeSettings
from nexus.core.choice import ModelArm
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.outcomes import append_ledger_entries

ARMS = (ModelArm("a", 0.0), ModelArm("b", 0.0))


def receipt(trace_id: str = "t", model: str = "a", **fields) -> LedgerEntry:
    return LedgerEntry(trace_id, model, Task.CODE, "r", 1000.0, 1, 1, 1, 1.0, **fields)


def make(folder: Path, *, url: str = "none", rng=None, **outcomes) -> Choosing:
    config = Config(data_dir=folder, ledger=LedgerSettings(url=url), outcomes=OutcomeSettings(**outcomes))
    return Choosing(config, rng)


def ranking(choosing: Choosing):
    choice = choosing.chooser.choose(Task.CODE, ARMS, conversation=None, now=0.0, preview=True)
    return choice.ranking


async def recall(choosing: Choosing) -> None:
    choosing.start()
    if choosing._recalling is not None:
        await choosing._recalling


def test_exploration_and_weights_are_those_of_the_configuration(tmp_path):
    choosing = make(tmp_path, exploration=0.5, quality_weight=2.0)
    choosing.receive(receipt(quality=0.0, success=False, signal="explicit"))
    first = ranking(choosing)[0]
    assert first.propensity == pytest.approx(0.75)
    assert first.utility == pytest.approx(2.0 * first.terms["quality"])


def test_a_signal_counts_by_the_reliability_that_was_measured_for_it(tmp_path):
    """A quick follow-up says more than a question asked again, and both more than an unmeasured signal."""
    means = []
    for signal in ("explicit", "quick_follow_up", "asked_again", "hearsay"):
        choosing = make(tmp_path)
        choosing.receive(receipt(quality=0.1, success=False, signal=signal))
        means.append(choosing.chooser.belief("a", Task.CODE).mean)
    assert means == sorted(means)
    assert len(set(means)) == 4
    assert means[-1] < 0.9


def test_that_an_answer_was_followed_up_counts_once_at_once_or_with_its_receipt(tmp_path):
    early, late = make(tmp_path), make(tmp_path)
    followed = receipt(success=True, cost_usd=0.01, signal="followed_up")
    early.receive(followed)
    late.receive(followed)
    early.receive(followed)
    beliefs = [each.chooser.belief("a", Task.CODE) for each in (early, late)]
    assert beliefs[0] == beliefs[1]
    assert beliefs[0].mean > 0.9
    assert not early._followed


def test_a_later_word_on_an_answer_that_was_followed_up_counts_with_its_quality_only(tmp_path):
    """What it cost and how long it took was learned when it was followed up."""
    choosing = make(tmp_path)
    choosing.receive(receipt(success=True, signal="followed_up"))
    choosing.receive(receipt(success=False, quality=0.0, signal="explicit"))
    evidence = choosing.chooser._evidence["a"]
    assert evidence.overall.failures == 1.0
    assert evidence.seconds[Task.CODE].weight == 1.0


def test_calls_that_were_followed_up_and_never_came_back_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("nexus.app.choosing._MAX_FOLLOWED", 2)
    choosing = make(tmp_path)
    for number in range(5):
        choosing.receive(receipt(str(number), success=True, signal="followed_up"))
    assert list(choosing._followed) == ["3", "4"]


def test_of_a_flood_of_calls_that_nobody_judged_some_are_enough(tmp_path, monkeypatch):
    """What they took is learned from two hundred a second; a judgement always counts."""
    choosing = make(tmp_path)
    learned: list[dict[str, float]] = []
    monkeypatch.setattr(choosing.chooser, "observe", lambda *_, **figures: learned.append(figures))
    for number in range(1000):
        entry = receipt(str(number), signal="expired", success=True)
        choosing.receive(structs.replace(entry, timestamp=1.0 + number / 1000))
    assert 150 <= len(learned) <= 201
    choosing.receive(receipt("x", signal="explicit", success=True, quality=1.0))
    assert learned[-1]["quality"] == 1.0


def test_a_model_that_is_cooling_is_left_alone(tmp_path):
    choosing = make(tmp_path)
    choosing.heed(lambda model: model == "a")
    assert [each.propensity for each in ranking(choosing)] == [1.0, 0.0]
    assert ranking(choosing)[0].model == "b"


async def test_what_the_ledger_holds_is_recalled(tmp_path, caplog):
    caplog.set_level(logging.INFO, "nexus.outcomes.choice")
    path = tmp_path / "ledger.jsonl"
    append_ledger_entries(path, [receipt(str(n), quality=0.0, success=False) for n in range(20)])
    choosing = make(tmp_path, url=f"jsonl:///{path}")
    await recall(choosing)
    assert choosing.chooser.belief("a", Task.CODE).mean < 0.5
    assert "recalls 20 receipts" in caplog.text
    await choosing.stop()


async def test_a_ledger_that_can_not_be_read_is_said_and_stops_nothing(tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    choosing = make(tmp_path, url=f"jsonl:///{tmp_path}/folder")
    await recall(choosing)
    assert "starts without what was learned before" in caplog.text
    await choosing.stop()


async def test_without_a_ledger_nothing_is_recalled(tmp_path):
    choosing = make(tmp_path)
    choosing.start()
    assert choosing._recalling is None
    await choosing.stop()

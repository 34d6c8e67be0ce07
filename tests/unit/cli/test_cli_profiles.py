"""`nexus profiles` on a store; the running gateway is asked in the end-to-end tests."""

import json

import pytest

from nexus.cli.main import main
from nexus.outcomes import InferenceTask, OutcomeTracker


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXUS_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def call(tracker: OutcomeTracker, model: str, task: InferenceTask) -> None:
    tracker.record_complete(tracker.record_start(model, task), 40.0, 1, 1)


def test_one_row_per_model_and_one_per_task_where_there_are_several(folder, capsys):
    tracker = OutcomeTracker()
    call(tracker, "one", InferenceTask.CODE)
    call(tracker, "two", InferenceTask.CODE)
    call(tracker, "two", InferenceTask.EMBED)
    tracker.save_to_file(folder / "profiles.json")
    assert main(["profiles"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:] if line.strip()]
    assert [row[:3] for row in rows] == [
        ["one", "code", "1"],
        ["two", "-", "2"],
        ["code", "1", "1"],
        ["embed", "1", "1"],
    ]


def test_json_holds_what_the_gateway_would_answer(folder, capsys):
    tracker = OutcomeTracker()
    call(tracker, "one", InferenceTask.CODE)
    tracker.save_to_file(folder / "profiles.json")
    assert main(["profiles", "--json"]) == 0
    [profile] = json.loads(capsys.readouterr().out)["profiles"]
    assert (profile["model_id"], profile["success_rate"], profile["avg_latency_ms"]) == ("one", 1.0, 40.0)
    assert "excluded" not in profile


@pytest.mark.usefixtures("folder")
def test_an_empty_store_says_what_to_expect(capsys):
    assert main(["profiles"]) == 0
    assert "No profiles yet" in capsys.readouterr().out


def test_what_cannot_be_read_is_one_line(folder, capsys):
    (folder / "profiles.json").mkdir()
    assert main(["profiles"]) == 1
    assert capsys.readouterr().err.startswith("nexus: can't read ")


def test_a_damaged_store_is_named_and_left_alone(folder, capsys):
    (folder / "profiles.json").write_text("{")
    assert main(["profiles"]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert (folder / "profiles.json").read_text() == "{"


def test_a_wrong_configuration_ends_with_2(folder, capsys):
    (folder / "bad.toml").write_text("[outcomes]\nenabled = 3\n")
    assert main(["profiles", "--config", str(folder / "bad.toml")]) == 2
    assert "outcomes.enabled" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_url_without_a_gateway_is_one_line(capsys):
    assert main(["profiles", "--url", "http://127.0.0.1:1"]) == 1
    assert "no gateway answers" in capsys.readouterr().err

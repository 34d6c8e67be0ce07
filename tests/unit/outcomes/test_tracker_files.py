"""Profiles in files: nothing is lost, nothing is counted twice, and damage never stops the start."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from nexus.outcomes import InferenceTask, InferredOutcome, ModelProfile, OutcomeTracker, TaskStats
from nexus.testing import ManualClock

CODE = InferenceTask.CODE


def make() -> OutcomeTracker:
    return OutcomeTracker(clock=ManualClock(start=1000.0))


@pytest.fixture
def tracker():
    return make()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "profiles.json"


def profile_of(tracker: OutcomeTracker, model: str = "m") -> ModelProfile:
    profile = tracker.profile(model)
    assert profile is not None
    return profile


def call(tracker: OutcomeTracker, model: str = "m", *, quality: float | None = None) -> None:
    trace_id = tracker.record_start(model, CODE, "r")
    tracker.record_complete(trace_id, 100.0, 10, 20)
    if quality is not None:
        tracker.record_inferred_outcome(trace_id, InferredOutcome.accepted(quality))


def test_a_loaded_profile_equals_the_saved_one(tracker, path):
    call(tracker, quality=0.9)
    call(tracker, "n")
    tracker.save_to_file(path)
    other = make()
    assert other.load_from_file(path) == 2
    assert other.all_profiles() == tracker.all_profiles()


def test_a_load_stays_clean_and_a_call_makes_dirty(tracker, path):
    call(tracker)
    assert tracker.is_dirty()
    tracker.save_to_file(path)
    assert not tracker.is_dirty()
    other = make()
    other.load_from_file(path)
    assert not other.is_dirty()
    call(other)
    assert other.is_dirty()


def test_save_if_dirty_writes_only_then(tracker, path):
    assert not tracker.save_if_dirty(path)
    assert not path.exists()
    call(tracker)
    assert tracker.save_if_dirty(path)
    assert not tracker.save_if_dirty(path)


def test_an_absent_file_is_empty(tracker, path):
    assert tracker.load_from_file(path) == 0
    assert tracker.all_profiles() == []
    assert list(path.parent.iterdir()) == []


def test_an_import_is_dirty_and_replaces_the_profiles_it_names(tracker, path):
    call(tracker, quality=0.9)
    call(tracker, "kept")
    profile = ModelProfile(
        "m",
        total_calls=7,
        success_count=5,
        fail_count=1,
        total_latency_ms=700.0,
        total_input_tokens=70,
        total_output_tokens=70,
        task_stats={InferenceTask.GENERATE: TaskStats(7, 5, 1, 100.0, 0.25, 7)},
        ema_quality=0.25,
        quality_per_1k_tokens=12.5,
        updated_at=2e9,
        latency_calls=7,
    )
    tracker.save_to_file(path)
    tracker.import_profiles([profile])
    assert tracker.is_dirty()
    assert tracker.profile("m") == profile
    assert tracker.profile("kept").total_calls == 1
    tracker.save_to_file(path)
    other = make()
    other.load_from_file(path)
    assert other.profile("m") == profile
    call(other)
    assert profile_of(other).task_stats[CODE].ema_quality == 0.5


def test_what_is_exported_can_be_imported(tracker):
    call(tracker, quality=0.9)
    call(tracker, "n")
    other = make()
    other.import_profiles(tracker.export_profiles())
    assert other.all_profiles() == tracker.all_profiles()


def test_profiles_can_be_imported_as_a_json_reader_gives_them(tracker):
    call(tracker, quality=0.9)
    other = make()
    other.import_profiles(json.loads(msgspec.json.encode(tracker.export_profiles())))
    assert other.all_profiles() == tracker.all_profiles()
    with pytest.raises(ValueError, match="model_id"):
        other.import_profiles([{"total_calls": 3}])


def test_a_profile_made_by_hand_has_its_latency_over_all_calls(tracker):
    tasks = {CODE: TaskStats(calls=4, avg_latency_ms=100.0)}
    profile = ModelProfile("m", total_calls=4, total_latency_ms=400.0, task_stats=tasks)
    assert profile.avg_latency_ms() == 100.0
    tracker.import_profiles([profile])
    call(tracker)
    found = profile_of(tracker)
    assert found.avg_latency_ms() == found.task_stats[CODE].avg_latency_ms == 100.0
    assert found.latency_calls == 5


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"total_calls": -1}, "negative"),
        ({"total_latency_ms": float("inf")}, "infinite"),
        ({"total_calls": 1, "success_count": 1, "fail_count": 1}, "more successes and failures"),
        ({"ema_quality": 1.5}, "outside 0 to 1"),
        ({"task_stats": {CODE: TaskStats(calls=3)}}, "tasks with more calls"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused_and_nothing_is_imported(tracker, wrong, what):
    with pytest.raises(ValueError, match=what):
        tracker.import_profiles([ModelProfile("good", total_calls=1), ModelProfile("bad", **wrong)])
    assert tracker.all_profiles() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"profiles": [',
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"profiles": [{"model_id": "m", "total_calls": -3}]}',
    ],
)
def test_a_corrupt_file_is_set_aside_with_a_warning(tracker, path, content, caplog):
    path.write_bytes(content)
    assert tracker.load_from_file(path) == 0
    [aside] = [each for each in path.parent.iterdir() if ".corrupt-" in each.name]
    assert aside.read_bytes() == content
    assert "is damaged" in caplog.text
    assert str(aside) in caplog.text
    call(tracker)
    tracker.save_to_file(path)
    assert make().load_from_file(path) == 1


def test_a_file_damaged_while_running_is_written_anew_with_what_was_known(tracker, path, caplog):
    call(tracker)
    tracker.save_to_file(path)
    path.write_bytes(b"damaged")
    call(tracker)
    tracker.save_to_file(path)
    assert "is damaged" in caplog.text
    other = make()
    other.load_from_file(path)
    assert profile_of(other).total_calls == 2


def test_the_file_is_its_owners_only_and_nothing_temporary_is_left(tracker, path):
    call(tracker)
    tracker.save_to_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {each.name for each in path.parent.iterdir()} == {"profiles.json", "profiles.json.lock"}


def test_a_failed_write_keeps_the_old_file_and_the_changes(tracker, path, monkeypatch):
    call(tracker)
    tracker.save_to_file(path)
    call(tracker)
    real = os.fsync

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        tracker.save_to_file(path)
    call(tracker)
    assert tracker.is_dirty()
    assert profile_of(tracker).total_calls == 3
    other = make()
    other.load_from_file(path)
    assert profile_of(other).total_calls == 1
    monkeypatch.setattr(os, "fsync", real)
    tracker.save_to_file(path)
    other.load_from_file(path)
    assert profile_of(other).total_calls == 3
    assert {each.name for each in path.parent.iterdir()} == {"profiles.json", "profiles.json.lock"}


def test_two_trackers_saving_in_turn_lose_no_counts_and_take_in_each_others(path):
    one, two = make(), make()
    for each in (one, two):
        each.load_from_file(path)
    for _ in range(3):
        call(one)
        one.save_to_file(path)
        call(two)
        two.save_to_file(path)
    assert profile_of(two).total_calls == 6
    assert profile_of(one).total_calls == 5
    one.load_from_file(path)
    assert profile_of(one).total_calls == 6


def test_quality_from_two_trackers_is_as_if_one_had_seen_the_files_updates_first(path):
    one, two, both = make(), make(), make()
    for quality in (0.9, 0.1):
        call(one, quality=quality)
    call(two, quality=0.4)
    for quality in (0.9, 0.1, 0.4):
        call(both, quality=quality)
    one.save_to_file(path)
    two.save_to_file(path)
    assert profile_of(two).ema_quality == pytest.approx(profile_of(both).ema_quality)
    assert profile_of(two).task_stats[CODE].ema_quality == pytest.approx(profile_of(both).ema_quality)


def test_another_file_becomes_a_plain_copy(tracker, path, tmp_path):
    copy = tmp_path / "copies" / "copy.json"
    call(tracker)
    tracker.save_to_file(path)
    call(tracker)
    for _ in range(2):
        tracker.save_to_file(copy)
    assert tracker.is_dirty()
    other = make()
    other.load_from_file(copy)
    assert profile_of(other).total_calls == 2


def test_calls_from_before_a_load_are_added_to_it(tracker, path):
    call(tracker)
    tracker.save_to_file(path)
    other = make()
    call(other)
    other.load_from_file(path)
    assert profile_of(other).total_calls == 2
    assert other.is_dirty()


def test_profiles_read_the_same_while_a_save_is_under_way(tracker, path, monkeypatch):
    call(tracker, quality=0.9)
    seen = []
    real = os.fsync

    def look(descriptor):
        call(tracker)
        seen.append(profile_of(tracker).total_calls)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    tracker.save_to_file(path)
    assert seen == [2, 3]
    assert tracker.is_dirty()
    monkeypatch.setattr(os, "fsync", real)
    tracker.save_to_file(path)
    assert json.loads(path.read_bytes())["profiles"][0]["total_calls"] == 3


def test_a_lock_that_is_never_given_up_is_an_error_and_loses_nothing(tracker, path):
    call(tracker)
    held = (
        "import fcntl, sys; f = open(sys.argv[1], 'w');"
        " fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, f"{path}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(OSError, match="another process holds its lock"):
            tracker.save_to_file(path)
        holder.communicate(b"\n")
    assert tracker.is_dirty()
    tracker.save_to_file(path)
    assert not tracker.is_dirty()


def test_the_stores_folder_is_made(tracker, tmp_path):
    call(tracker)
    tracker.save_to_file(str(tmp_path / "new" / "profiles.json"))
    assert stat.S_IMODE(Path(tmp_path / "new").stat().st_mode) == 0o700

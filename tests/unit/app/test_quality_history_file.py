"""The file that keeps quality over a restart."""

import logging
from pathlib import Path

import pytest

from nexus.app.quality_history import QualityHistory
from nexus.config.model import Config, LedgerSettings
from nexus.quality import QualityMetricsStore
from nexus.testing import ManualClock


class Process:
    """One process with a store and a history in `folder`."""

    def __init__(self, folder: Path, clock: ManualClock, *, ledger: str = "") -> None:
        self.store = QualityMetricsStore(clock=clock)
        config = Config(data_dir=folder, ledger=LedgerSettings(url=ledger))
        self.history = QualityHistory(self.store, config, clock)

    def fail(self) -> None:
        self.store.record_outcome("a", False, None, model="m")
        self.store.recompute_all()

    @property
    def failures(self) -> int:
        return self.store.get_metrics("a").request_count_1h


@pytest.fixture
def clock():
    return ManualClock(start=10_000.0)


async def test_what_is_written_is_taken_over(tmp_path, clock):
    one = Process(tmp_path, clock)
    assert not one.history.load()
    one.fail()
    await one.history.stop()
    assert (tmp_path / "quality.json").stat().st_mode & 0o777 == 0o600
    two = Process(tmp_path, clock)
    assert two.history.load()
    assert two.failures == 1


async def test_the_file_is_written_only_when_the_figures_have_changed(tmp_path, clock):
    process = Process(tmp_path, clock)
    process.fail()
    await process.history.save()
    written = (tmp_path / "quality.json").stat().st_ino
    await process.history.save()
    assert (tmp_path / "quality.json").stat().st_ino == written
    process.fail()
    await process.history.save()
    two = Process(tmp_path, clock)
    two.history.load()
    assert two.failures == 2


async def test_a_history_of_yesterday_is_not_taken_over(tmp_path, clock):
    one = Process(tmp_path, clock)
    one.fail()
    await one.history.stop()
    clock.advance(86_400.0)
    assert not Process(tmp_path, clock).history.load()


async def test_a_wall_clock_that_went_back_means_that_no_time_has_passed(tmp_path, clock):
    one = Process(tmp_path, clock)
    one.fail()
    await one.history.stop()
    clock.jump_wall(-5000.0)
    two = Process(tmp_path, clock)
    two.history.load()
    assert two.failures == 1


COUNTS = '{"age_seconds":0,"rows":[[%s],[0],[0],[0],[0],[0]]}'
AGENT = '{"saved_at":1767225600,"agents":[{"agent_id":"a","windows":[{"model":"m","hour":%s}]}]}'


@pytest.mark.parametrize("content", ["", "{", "[]", AGENT % (COUNTS % -1), AGENT % (COUNTS % 2**40)])
def test_a_damaged_file_is_set_aside_and_stops_nothing(tmp_path, clock, content, caplog):
    (tmp_path / "quality.json").write_text(content)
    assert not Process(tmp_path, clock).history.load()
    assert "is damaged" in caplog.text
    [aside] = tmp_path.iterdir()
    assert aside.read_text() == content


async def test_without_a_ledger_nothing_is_kept(tmp_path, clock):
    process = Process(tmp_path, clock, ledger="none")
    process.fail()
    assert process.history.periodics() == ()
    await process.history.stop()
    assert not process.history.load()
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path, clock, caplog):
    (tmp_path / "file").write_text("")
    process = Process(tmp_path / "file", clock)
    with caplog.at_level(logging.WARNING):
        assert not process.history.load()
        assert "can't be read" in caplog.text
        for _ in range(2):
            process.fail()
            await process.history.save()
    assert caplog.text.count("can't be written") == 1

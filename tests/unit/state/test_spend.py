"""The month's spend: counting, months, and a file that several processes share."""

import asyncio
import fcntl
import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus.core.clock import SystemClock
from nexus.state import spend
from nexus.state.spend import SpendStore
from nexus.testing import ManualClock

DECEMBER_31 = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> ManualClock:
    """The last second of 2026."""
    return ManualClock(wall_start=DECEMBER_31)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in a directory that does not exist yet."""
    return tmp_path / "data" / "spend.json"


class Warnings(list[str]):
    """A listener that keeps what it is told."""

    def __call__(self, text: str) -> None:
        self.append(text)


class Sealed:
    """A directory that nothing can be created in, not even by root, until it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_open = False
        self._open = os.open

    def __call__(self, name: str | Path, flags: int, *rest: int, **named: int) -> int:
        if flags & os.O_CREAT and not self.is_open and Path(name).is_relative_to(self.folder):
            raise PermissionError(13, "Permission denied", str(name))
        return self._open(name, flags, *rest, **named)


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sealed:
    """A directory where creating a file fails."""
    directory = Sealed(tmp_path)
    monkeypatch.setattr(os, "open", directory)
    return directory


def _months(path: Path) -> dict[str, float]:
    months: dict[str, float] = json.loads(path.read_text())["months"]
    return months


def test_without_a_file_it_counts_in_memory(clock: ManualClock) -> None:
    """Flushing is then nothing, and succeeds."""
    store = SpendStore(None, clock)
    store.add(1.5)
    assert store.flush()
    store.add(0.25)
    assert (store.meter.month, store.meter.month_usd) == ("2026-12", 1.75)


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_cost_is_not_counted(clock: ManualClock, usd: float) -> None:
    """A broken price can't poison the budget."""
    store = SpendStore(None, clock)
    store.add(usd)
    assert store.meter.month_usd == 0


def test_spend_survives_a_restart(clock: ManualClock, path: Path) -> None:
    """The file is private, and nothing else is left but its lock."""
    store = SpendStore(path, clock)
    store.add(1.5)
    assert store.flush()

    assert SpendStore(path, clock).meter.month_usd == 1.5
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(each.name for each in path.parent.iterdir()) == ["spend.json", "spend.json.lock"]


def test_a_new_month_starts_at_zero(clock: ManualClock, path: Path) -> None:
    """December stays on record; the meter shows January, whether anything is added or not."""
    store = SpendStore(path, clock)
    store.add(2.0)
    clock.advance(1)
    store.roll_over()
    assert (store.meter.month, store.meter.month_usd) == ("2027-01", 0.0)
    store.add(0.5)
    store.flush()
    assert store.meter.month_usd == 0.5
    assert _months(path) == {"2026-12": 2.0, "2027-01": 0.5}


def test_a_clock_set_back_finds_the_old_month_again(clock: ManualClock) -> None:
    """A month is where the wall clock says it is."""
    store = SpendStore(None, clock)
    store.add(2.0)
    clock.advance(1)
    store.add(0.5)
    clock.jump_wall(-1)
    store.add(1.0)
    assert (store.meter.month, store.meter.month_usd) == ("2026-12", 3.0)


def test_only_two_years_are_kept(clock: ManualClock, path: Path) -> None:
    """The file does not grow for ever."""
    path.parent.mkdir()
    old = {f"{2000 + year}-{month:02}": 1.0 for year in range(5) for month in range(1, 13)}
    path.write_text(json.dumps({"version": 1, "months": old}))
    store = SpendStore(path, clock)
    store.add(1.0)
    store.flush()
    assert len(_months(path)) == 24
    assert _months(path)["2026-12"] == 1.0


def test_several_processes_add_up(clock: ManualClock, path: Path) -> None:
    """Each writes its own share; each sees the others' at its next flush, even with nothing to write."""
    one, two = SpendStore(path, clock), SpendStore(path, clock)
    one.add(1.0)
    two.add(2.0)
    assert one.flush()
    assert two.flush()
    assert two.meter.month_usd == 3.0
    assert one.meter.month_usd == 1.0
    assert one.flush()
    assert one.meter.month_usd == 3.0


def _spend_in_steps(path: Path) -> None:
    store = SpendStore(path, SystemClock())
    for _ in range(25):
        store.add(1.0)
        assert store.flush()


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    """Three real processes, 25 flushes each."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spend_in_steps, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sum(_months(path).values()) == 75.0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"months":{"2026-12":"much"}}',
        b'{"months":{"2026-12":-1}}',
        b'{"months":{"2026-12":1e999}}',
        b"\xff",
    ],
)
def test_a_damaged_file_is_set_aside(clock: ManualClock, path: Path, content: bytes) -> None:
    """The start goes on from zero, the warning names both files, and the content is kept for a look."""
    path.parent.mkdir()
    path.write_bytes(content)
    warnings = Warnings()
    store = SpendStore(path, clock, warn=warnings)
    aside = path.with_name(f"spend.json.corrupt-{DECEMBER_31:.0f}")
    assert store.meter.month_usd == 0
    assert aside.read_bytes() == content
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert str(aside) in warnings[0]
    store.add(1.0)
    assert store.flush()
    assert _months(path) == {"2026-12": 1.0}


def test_a_file_damaged_while_running_is_rebuilt(clock: ManualClock, path: Path) -> None:
    """What this process knew goes back into it."""
    warnings = Warnings()
    store = SpendStore(path, clock, warn=warnings)
    store.add(2.0)
    store.flush()
    path.write_text("oops")
    store.add(1.0)
    assert store.flush()
    assert _months(path) == {"2026-12": 3.0}
    assert len(warnings) == 1


def test_an_unwritable_directory_is_reported_once_and_loses_nothing(
    clock: ManualClock, sealed: Sealed
) -> None:
    """The spend waits in memory and is written when writing works again."""
    warnings = Warnings()
    path = sealed.folder / "spend.json"
    store = SpendStore(path, clock, warn=warnings)
    store.add(1.0)
    assert not store.flush()
    store.add(0.5)
    assert not store.flush()
    assert store.meter.month_usd == 1.5
    assert len(warnings) == 1
    assert "Permission denied" in warnings[0]

    sealed.is_open = True
    assert store.flush()
    assert _months(path) == {"2026-12": 1.5}
    assert store.meter.month_usd == 1.5


def test_an_unreadable_file_is_reported_and_not_overwritten(clock: ManualClock, path: Path) -> None:
    """Starting from zero is fine; replacing what could not be read is not."""
    path.mkdir(parents=True)
    warnings = Warnings()
    store = SpendStore(path, clock, warn=warnings)
    assert store.meter.month_usd == 0
    assert "can't be read" in warnings[0]
    store.add(1.0)
    assert not store.flush()
    assert store.meter.month_usd == 1.0
    assert path.is_dir()


def test_a_lock_that_is_never_given_up_ends_in_a_report(clock: ManualClock, path: Path) -> None:
    """A stopped process can't hang this one: after two seconds the spend stays in memory."""
    path.parent.mkdir()
    warnings = Warnings()
    store = SpendStore(path, clock, warn=warnings)
    store.add(1.0)
    with path.with_name("spend.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not store.flush()
    assert sum(clock.sleeps) == pytest.approx(2.0)
    assert "another process holds its lock" in warnings[0]
    assert store.flush()


def test_a_write_that_breaks_leaves_the_old_file(
    clock: ManualClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs neither the file nor a stray temporary one."""
    warnings = Warnings()
    store = SpendStore(path, clock, warn=warnings)
    store.add(1.0)
    store.flush()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    store.add(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert not store.flush()
    assert _months(path) == {"2026-12": 1.0}
    assert sorted(each.name for each in path.parent.iterdir()) == ["spend.json", "spend.json.lock"]
    assert "No space left" in warnings[0]
    assert store.flush()
    assert _months(path) == {"2026-12": 2.0}


async def test_a_flush_in_a_thread_keeps_what_is_added_meanwhile(clock: ManualClock, path: Path) -> None:
    """The loop goes on counting while the disk is slow."""
    store = SpendStore(path, clock)
    store.add(1.0)
    flushing = asyncio.create_task(store.flush_async())
    await asyncio.sleep(0)
    store.add(2.0)
    assert store.meter.month_usd == 3.0
    assert await flushing
    assert store.meter.month_usd == 3.0
    assert store.flush()
    assert _months(path) == {"2026-12": 3.0}


async def test_a_cancelled_flush_still_knows_what_it_wrote(clock: ManualClock, path: Path) -> None:
    """Nothing is written twice at shutdown."""
    store = SpendStore(path, clock)
    store.add(1.0)
    flushing = asyncio.create_task(store.flush_async())
    await asyncio.sleep(0)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    assert store.flush()
    assert _months(path) == {"2026-12": 1.0}


async def test_a_flush_in_a_thread_that_fails_loses_nothing(clock: ManualClock, sealed: Sealed) -> None:
    """As the blocking one."""
    warnings = Warnings()
    store = SpendStore(sealed.folder / "spend.json", clock, warn=warnings)
    store.add(1.0)
    assert not await store.flush_async()
    assert store.meter.month_usd == 1.0
    assert len(warnings) == 1


async def test_a_fault_of_our_own_is_raised_and_loses_nothing(
    clock: ManualClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is not mistaken for a full disk."""
    store = SpendStore(path, clock, warn=Warnings())
    store.add(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(spend, "replace_file", None)
        with pytest.raises(TypeError):
            await store.flush_async()
    assert store.flush()
    assert _months(path) == {"2026-12": 1.0}

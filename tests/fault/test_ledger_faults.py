"""The ledger when processes are killed, disks are full and servers go away."""

import contextlib
import os
import random
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from nexus.core.clock import SystemClock
from nexus.core.receipt import LedgerEntry
from nexus.ledger import jsonl
from nexus.ledger.jsonl import append_ledger_entries, prune_ledger, read_ledger
from nexus.ledger.open import open_ledger
from nexus.ledger.sqlite import SqliteLedger
from nexus.ledger.store import LedgerError, LedgerStore
from nexus.ledger.writer import LedgerWriter
from tests.fault.ledger_appender import BATCH
from tests.fault.small_disk import fill, remount
from tests.unit.ledger.receipts import receipt, receipts

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
FILES = ("sqlite", "jsonl")


@contextlib.contextmanager
def appender(url: str, name: str, start: int, batches: int, keep: int) -> Iterator[subprocess.Popen[str]]:
    """A process that appends; killed at the end of the block if it has not ended."""
    arguments = [url, name, str(start), str(batches), str(keep)]
    command = [sys.executable, "-m", "tests.fault.ledger_appender", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def numbers(store: LedgerStore, name: str) -> list[int]:
    """The numbers of one process's receipts, in the order stored."""
    found = (entry.trace_id.partition("-") for entry in store.read())
    return [int(number) for owner, _, number in found if owner == name]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- kill -9


@pytest.mark.parametrize("keep", [0, 60])
def test_kill_9_while_writing_leaves_every_acknowledged_receipt_once(ledger_url: str, keep: int):
    rng = random.Random(4)
    safe = -1
    for attempt in range(6):
        with appender(ledger_url, "a", safe + 1, 0, keep) as child:
            assert child.stdout is not None
            for _ in range(rng.randrange(1, 8)):
                safe = int(child.stdout.readline())
            child.kill()
            # what it managed to say before it died is safe as well
            safe = max([safe, *map(int, child.stdout.read().split()[:-1])])
        store = open_ledger(ledger_url)
        stored = numbers(store, "a")
        mark = receipt(attempt, trace_id=f"mark-{attempt}")
        store.append([mark])
        assert store.read(1) == [mark]
        store.close()
        assert stored == list(range(stored[0], stored[-1] + 1)), "one is missing, doubled or out of order"
        assert stored[-1] >= safe
        assert stored[0] == 0 if not keep else len(stored) >= min(keep - 6, safe + 1)
        safe = stored[-1]


# --- several processes


def test_concurrent_appends_and_prunes_lose_nothing_that_is_new(ledger_url: str):
    """Three processes make the ledger and append at once while a fourth prunes it all the time."""
    keep, batches = 200, 15
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(appender(ledger_url, name, 0, batches, keep if name == "c" else 0))
            for name in "abc"
        ]
        store = open_ledger(ledger_url)
        while any(child.poll() is None for child in children):
            store.prune(keep)
        assert [child.returncode for child in children] == [0, 0, 0]
    store.prune(keep)
    total = 0
    for name in "abc":
        stored = numbers(store, name)
        assert stored == list(range(batches * BATCH - len(stored), batches * BATCH))
        total += len(stored)
    assert total == keep
    store.close()


def test_two_processes_that_only_append_lose_nothing(ledger_url: str):
    with appender(ledger_url, "a", 0, 20, 0) as one, appender(ledger_url, "b", 0, 20, 0) as two:
        assert (one.wait(60), two.wait(60)) == (0, 0)
    store = open_ledger(ledger_url)
    assert numbers(store, "a") == numbers(store, "b") == list(range(20 * BATCH))
    store.close()


# --- no room


@pytest.mark.parametrize("kind", FILES)
def test_a_full_disk_refuses_whole_batches_and_keeps_what_was_there(
    kind: str, new_ledger_url: Callable[[str], str]
):
    url = new_ledger_url(kind)
    store = open_ledger(url)
    stored = 0

    def fill() -> None:
        nonlocal stored
        while True:
            store.append(receipts(50, start=stored))
            stored += 50

    with largest_file(100_000), pytest.raises(LedgerError, match="can't be written: ") as caught:
        fill()
    assert "ledger." in str(caught.value)
    assert stored > 50
    assert store.read() == receipts(stored)
    store.append(receipts(50, start=stored))
    store.close()
    again = open_ledger(url)
    assert again.read() == receipts(stored + 50)
    again.close()


@pytest.mark.parametrize("kind", FILES)
def test_a_disk_that_has_room_again_gets_every_receipt_once(kind: str, small_disk: Path):
    ballast = small_disk / "ballast"
    url = f"{kind}:///{small_disk}/ledger"
    said: list[str] = []
    writer = LedgerWriter(lambda: open_ledger(url), SystemClock(), warn=said.append)
    offered = 0

    def offer(count: int) -> None:
        nonlocal offered
        for entry in receipts(count, start=offered):
            writer.offer(entry)
        offered += count

    offer(20)
    assert writer.flush()
    fill(ballast)
    while writer.flush():
        offer(20)
    assert not writer.flush()
    assert "No space left" in said[0] or "full" in said[0]
    assert writer.figures().pending > 0
    ballast.unlink()
    assert writer.flush()
    writer.close()
    store = open_ledger(url)
    assert store.read() == receipts(offered)
    store.close()
    assert writer.figures().written == offered
    assert writer.figures().dropped == 0


@pytest.mark.parametrize("kind", FILES)
def test_a_disk_that_turns_read_only_and_back_gets_every_receipt_once(kind: str, small_disk: Path):
    url = f"{kind}:///{small_disk}/ledger"
    writer = LedgerWriter(lambda: open_ledger(url), SystemClock(), warn=lambda _: None)
    writer.offer(receipt(0))
    assert writer.flush()
    writer.offer(receipt(1))
    writer._discard_store()  # a disk can't be made read-only under a file that is open for writing
    remount(small_disk, "ro")
    assert not writer.flush()
    assert "read-only" in writer.figures().last_error.lower()
    remount(small_disk, "rw")
    writer.offer(receipt(2))
    assert writer.flush()
    writer.close()
    assert open_and_read(url) == receipts(3)


def open_and_read(url: str) -> list[LedgerEntry]:
    store = open_ledger(url)
    try:
        return store.read()
    finally:
        store.close()


@pytest.mark.parametrize("kind", FILES)
def test_a_ledger_on_a_read_only_disk_can_not_be_opened_and_says_so(kind: str, small_disk: Path):
    remount(small_disk, "ro")
    with pytest.raises(LedgerError, match="can't be opened: Read-only file system"):
        open_ledger(f"{kind}:///{small_disk}/ledger")


def test_a_prune_without_room_leaves_the_ledger_as_it_was(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    append_ledger_entries(path, receipts(100))
    with largest_file(4096), pytest.raises(LedgerError, match="can't be pruned: File too large"):
        prune_ledger(path, 90)
    assert read_ledger(path) == receipts(100)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_directory_that_goes_away_and_comes_back_gets_every_receipt_once(tmp_path: Path):
    """Pulled from under the writer, as with a network disk; a file in its place refuses even root."""
    folder, aside = tmp_path / "data", tmp_path / "aside"
    url = f"jsonl:///{folder}/ledger.jsonl"
    writer = LedgerWriter(lambda: open_ledger(url), SystemClock(), warn=lambda _: None)
    writer.offer(receipt(0))
    assert writer.flush()
    folder.rename(aside)
    folder.touch()
    writer.offer(receipt(1))
    assert not writer.flush()
    folder.unlink()
    aside.rename(folder)
    assert writer.flush()
    writer.close()
    assert read_ledger(folder / "ledger.jsonl") == receipts(2)


# --- locks and damage


def test_a_lock_that_is_never_given_up_ends_in_an_error_not_in_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jsonl, "_LOCK_WAIT_SECONDS", 0.02)
    path = tmp_path / "ledger.jsonl"
    append_ledger_entries(path, receipts(1))
    with jsonl._locked(path, os.O_RDWR), pytest.raises(LedgerError, match="another process holds its lock"):
        append_ledger_entries(path, receipts(1))
    append_ledger_entries(path, receipts(1, start=1))
    assert read_ledger(path) == receipts(2)


def test_a_database_that_is_never_free_ends_in_an_error_not_in_a_hang(tmp_path: Path):
    store = SqliteLedger(tmp_path / "ledger.db", busy_seconds=0.02)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="can't be written: database is locked"):
        store.append(receipts(1))
    assert store.read() == []
    other.execute("ROLLBACK")
    other.close()
    store.append(receipts(1))
    assert store.read() == receipts(1)
    store.close()


def test_a_damaged_database_is_an_error_with_its_name(tmp_path: Path):
    path = tmp_path / "ledger.db"
    store = SqliteLedger(path)
    store.append(receipts(500))
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))
    with pytest.raises(
        LedgerError, match=r"ledger\.db can't be (read|opened): database disk image is malformed"
    ):
        open_and_read(f"sqlite:///{path}")


# --- PostgreSQL


def test_a_server_that_crashes_and_returns_gets_every_receipt_once(postgres: "PostgresServer"):
    url = postgres.fresh_url()
    writer = LedgerWriter(lambda: open_ledger(url), SystemClock(), warn=lambda _: None)
    writer.offer(receipt(0))
    assert writer.flush()
    postgres.stop()
    writer.offer(receipt(1))
    assert not writer.flush()
    assert not writer.flush()
    postgres.start()
    writer.offer(receipt(2))
    assert writer.flush()
    writer.close()
    assert open_and_read(url) == receipts(3)


def test_a_connection_that_the_server_ends_is_replaced(postgres: "PostgresServer"):
    url = postgres.fresh_url()
    writer = LedgerWriter(lambda: open_ledger(url), SystemClock(), warn=lambda _: None)
    writer.offer(receipt(0))
    assert writer.flush()
    with psycopg.connect(url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'nexus' AND pid <> pg_backend_pid()"
        )
    writer.offer(receipt(1))
    assert not writer.flush()
    assert "can't be written" in writer.figures().last_error
    assert writer.flush()
    writer.close()
    assert open_and_read(url) == receipts(2)


def test_a_database_without_a_place_for_the_table_says_so(postgres: "PostgresServer"):
    with pytest.raises(LedgerError, match="can't be opened: no schema has been selected to create in"):
        open_ledger(postgres.url("nowhere"))

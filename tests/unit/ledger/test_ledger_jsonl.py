"""The file of JSON lines: what is written, what is read, what is cut off."""

import os
import stat
from pathlib import Path

import pytest

from nexus.ledger.jsonl import append_ledger_entries, prune_ledger, read_ledger, scan_ledger
from nexus.ledger.lines import encode
from nexus.ledger.store import LedgerError
from tests.unit.ledger.receipts import receipt, receipts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def test_each_receipt_is_one_line_of_json(path: Path):
    append_ledger_entries(path, receipts(2))
    assert path.read_bytes() == b"".join(encode(entry).json + b"\n" for entry in receipts(2))


def test_a_path_may_be_text(path: Path):
    append_ledger_entries(str(path), receipts(2))
    assert read_ledger(str(path)) == receipts(2)
    assert prune_ledger(str(path), 1) == 1


def test_the_file_is_for_its_owner_only_whatever_the_umask(path: Path):
    before = os.umask(0)
    try:
        append_ledger_entries(path.parent / "deep" / "er" / path.name, receipts(1))
    finally:
        os.umask(before)
    assert mode(path.parent / "deep" / "er" / path.name) == 0o600
    assert mode(path.parent / "deep" / "er") == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(path: Path):
    path.touch(0o644)
    append_ledger_entries(path, receipts(1))
    assert mode(path) == 0o600


def test_appending_nothing_makes_no_file(path: Path):
    append_ledger_entries(path, [])
    assert not path.exists()


def test_an_absent_file_is_empty(path: Path):
    assert read_ledger(path) == []
    assert read_ledger(path, limit=3) == []
    assert list(scan_ledger(path)) == []
    assert prune_ledger(path, 3) == 0
    assert not path.exists()


def test_a_torn_line_is_skipped(path: Path):
    append_ledger_entries(path, receipts(2))
    path.write_bytes(path.read_bytes()[:-10])
    assert read_ledger(path) == read_ledger(path, limit=5) == receipts(1)


def test_an_append_after_a_torn_tail_starts_a_new_line(path: Path):
    append_ledger_entries(path, receipts(2))
    path.write_bytes(path.read_bytes()[:-10])
    append_ledger_entries(path, [receipt(2)])
    assert read_ledger(path) == [receipt(0), receipt(2)]
    assert len(lines(path)) == 3


def test_an_append_to_a_file_without_its_last_line_feed_loses_nothing(path: Path):
    append_ledger_entries(path, receipts(2))
    path.write_bytes(path.read_bytes()[:-1])
    assert read_ledger(path) == read_ledger(path, limit=2) == receipts(2)
    append_ledger_entries(path, [receipt(2)])
    assert read_ledger(path) == receipts(3)


@pytest.mark.parametrize("garbage", [b"\xff\xfe\n", b"\n", b"{}\n", b"\x00" * 100 + b"\n", b'{"trace_id":\n'])
def test_garbage_between_lines_is_skipped_and_does_not_count(path: Path, garbage: bytes):
    append_ledger_entries(path, receipts(1))
    path.write_bytes(path.read_bytes() + garbage)
    append_ledger_entries(path, receipts(2, start=1))
    assert read_ledger(path) == receipts(3)
    assert read_ledger(path, limit=3) == receipts(3)


@pytest.mark.parametrize("limit", [1, 2, 499, 500])
def test_the_newest_are_found_from_the_end_over_many_blocks(path: Path, limit: int):
    entries = [receipt(number, intent="x" * 1000) for number in range(500)]
    append_ledger_entries(path, entries)
    assert read_ledger(path, limit) == entries[-limit:]


def test_a_line_longer_than_a_block_is_read_from_the_end(path: Path):
    entries = [receipt(0), receipt(1, intent="x" * 200_000), receipt(2)]
    append_ledger_entries(path, entries)
    assert read_ledger(path, 3) == entries


def test_pruning_keeps_the_newest_and_the_mode_and_leaves_nothing_behind(path: Path):
    append_ledger_entries(path, receipts(10))
    assert prune_ledger(path, 3) == 7
    assert read_ledger(path) == receipts(3, start=7)
    assert mode(path) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_pruning_drops_what_is_no_receipt(path: Path):
    append_ledger_entries(path, receipts(3))
    path.write_bytes(path.read_bytes() + b"\xff\n")
    append_ledger_entries(path, receipts(3, start=3))
    path.write_bytes(path.read_bytes() + b'{"torn')
    assert prune_ledger(path, 4) == 2
    assert [entry.trace_id.encode() in line for entry, line in zip(receipts(4, 2), lines(path), strict=True)]
    assert read_ledger(path) == receipts(4, start=2)


def test_pruning_counts_receipts_not_lines(path: Path):
    """A ledger at its cap is left alone, garbage and all."""
    append_ledger_entries(path, receipts(3))
    path.write_bytes(path.read_bytes() + b"garbage\n")
    before = path.stat()
    assert prune_ledger(path, 3) == 0
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("max_entries", [0, -3, 5, 6])
def test_pruning_to_0_or_under_the_cap_leaves_the_file_alone(path: Path, max_entries: int):
    append_ledger_entries(path, receipts(5))
    before = path.stat()
    assert prune_ledger(path, max_entries) == 0
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)


def test_pruning_a_file_without_its_last_line_feed_keeps_whole_lines(path: Path):
    append_ledger_entries(path, receipts(3))
    path.write_bytes(path.read_bytes()[:-1])
    prune_ledger(path, 2)
    append_ledger_entries(path, [receipt(3)])
    assert read_ledger(path) == receipts(3, start=1)


def test_what_a_crash_during_pruning_left_is_cleared_away(path: Path):
    append_ledger_entries(path, receipts(4))
    left = path.with_name(f".{path.name}.pruned")
    left.write_bytes(b"half of")
    prune_ledger(path, 1)
    assert not left.exists()
    assert read_ledger(path) == [receipt(3)]


def test_a_link_is_followed_and_kept(path: Path):
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    append_ledger_entries(link, receipts(3))
    prune_ledger(link, 1)
    assert link.is_symlink()
    assert read_ledger(path) == read_ledger(link) == [receipt(2)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_a_pruned_file_to_its_owner(path: Path):
    append_ledger_entries(path, receipts(3))
    os.chown(path, 65534, 65534)
    prune_ledger(path, 1)
    assert (path.stat().st_uid, mode(path)) == (65534, 0o600)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_at_once(path: Path, make):
    make(path)
    for deed in (lambda: append_ledger_entries(path, receipts(1)), lambda: read_ledger(path, 1)):
        with pytest.raises(LedgerError, match=r"ledger\.jsonl can't be"):
            deed()
    with pytest.raises(LedgerError, match="can't be pruned"):
        prune_ledger(path, 1)


def test_a_path_below_a_file_says_what_is_wrong(path: Path):
    path.touch()
    with pytest.raises(LedgerError, match=r"can't be written: (Not a directory|File exists)"):
        append_ledger_entries(path / "below.jsonl", receipts(1))
    with pytest.raises(LedgerError, match="can't be read: Not a directory"):
        read_ledger(path / "below.jsonl")

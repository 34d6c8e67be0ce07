"""What is particular to the ledger in a SQLite database."""

import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from nexus.core.receipt import LedgerEntry
from nexus.ledger.sqlite import SqliteLedger
from tests.unit.ledger.receipts import NEW_YEAR_2026, receipt

_IDS = random.Random(5)


def _real(numbers: range) -> list[LedgerEntry]:
    """Receipts as the gateway makes them: random ids, in the order of time."""
    return [
        receipt(each, trace_id=f"{_IDS.getrandbits(128):032x}", timestamp=NEW_YEAR_2026 + each / 1000)
        for each in numbers
    ]


def test_an_append_to_a_large_ledger_touches_only_its_end(tmp_path: Path):
    """With ids anywhere in an index each receipt would write a page of its own, of 4 kB."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    ledger.append(_real(range(20_000)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    log = Path(f"{path}-wal")
    assert log.stat().st_size == 0
    added = _real(range(20_000, 20_200))
    ledger.append(added)
    written = log.stat().st_size
    ledger.close()
    assert 0 < written < 50 * 4096, f"{written} bytes for {len(added)} receipts"


def test_several_that_make_the_same_ledger_at_the_same_moment_all_get_it(tmp_path: Path):
    """SQLite refuses at once where two turn the write-ahead log on together."""
    together = threading.Barrier(4)

    def open_and_append(path: Path, number: int) -> None:
        together.wait(10)
        ledger = SqliteLedger(path)
        ledger.append([receipt(number, trace_id=f"{number:032x}")])
        ledger.close()

    with ThreadPoolExecutor(4) as pool:
        for attempt in range(60):
            path = tmp_path / f"ledger-{attempt}.db"
            list(pool.map(open_and_append, [path] * 4, range(4)))
            ledger = SqliteLedger(path)
            found = sorted(entry.trace_id for entry in ledger.read())
            ledger.close()
            assert found == [f"{number:032x}" for number in range(4)]


def test_gaps_in_the_numbers_do_not_make_pruning_take_more(tmp_path: Path):
    """What is no receipt is not counted as one, wherever it went."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    made = _real(range(12))
    ledger.append(made)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM receipts WHERE seq BETWEEN 5 AND 8")
    assert ledger.prune(9) == 0
    assert ledger.prune(6) == 2
    assert ledger.read() == [*made[2:4], *made[8:]]
    ledger.close()


def _prune_counting(ledger: SqliteLedger, kept: int) -> tuple[int, bool]:
    """What was removed, and whether the receipts were counted for it."""
    statements: list[str] = []
    ledger._connection.set_trace_callback(statements.append)
    removed = ledger.prune(kept)
    ledger._connection.set_trace_callback(None)
    return removed, any("count(*)" in each for each in statements)


def test_receipts_are_counted_once_and_then_reckoned(tmp_path: Path):
    """To count a million takes as long as to remove ten thousand of them."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    made = _real(range(40))
    ledger.append(made[:20])
    assert _prune_counting(ledger, 15) == (5, True)
    ledger.append(made[20:30])
    assert _prune_counting(ledger, 15) == (10, False)
    ledger.append(made[30:])
    assert _prune_counting(ledger, 15) == (10, False)
    assert ledger.read() == made[25:]
    ledger.close()


def test_a_ledger_that_was_small_once_is_not_counted_when_it_is_full(tmp_path: Path):
    """Under full load counting a million takes so long that receipts are lost."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    made = _real(range(30))
    ledger.append(made[:10])
    assert _prune_counting(ledger, 20) == (0, True)
    ledger.append(made[10:])
    assert _prune_counting(ledger, 20) == (10, False)
    assert ledger.read() == made[10:]
    ledger.close()


def test_they_are_counted_again_once_another_process_has_written(tmp_path: Path):
    """It may have removed some from the middle."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    made = _real(range(30))
    ledger.append(made[:20])
    assert ledger.prune(15) == 5
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM receipts WHERE seq BETWEEN 10 AND 14")
    ledger.append(made[20:])
    assert _prune_counting(ledger, 15) == (5, True)
    assert ledger.read() == made[15:]
    ledger.close()


def test_they_are_counted_again_after_a_repeated_append(tmp_path: Path):
    """One that is there already takes a number all the same."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    made = _real(range(24))
    ledger.append(made[:20])
    assert ledger.prune(18) == 2
    ledger.append(made[17:20])
    ledger.append(made[20:])
    assert _prune_counting(ledger, 18) == (4, True)
    assert ledger.read() == made[6:]
    ledger.close()


def test_what_pruning_reads_does_not_grow_with_what_it_keeps(tmp_path: Path):
    """Receipts wait meanwhile: of a million it must not look at each. Counted in SQLite's own steps."""

    def steps(kept: int) -> int:
        ledger = SqliteLedger(tmp_path / f"{kept}.db")
        ledger.append(_real(range(kept + 100)))
        seen = []
        ledger._connection.set_progress_handler(lambda: seen.append(1), 1)
        assert ledger.prune(kept) == 100
        ledger._connection.set_progress_handler(None, 1)
        ledger.close()
        return len(seen)

    assert 100 < steps(20_000) < 2 * steps(1_000)

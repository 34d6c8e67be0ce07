"""Receipts in an SQLite database, which several processes may use at once."""

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from nexus.core.clock import SystemClock
from nexus.core.receipt import LedgerEntry
from nexus.ledger.lines import LINES_AT_ONCE, Lines, decode_all, encode_all
from nexus.ledger.store import LedgerError

_PAGE = 1000
_PAUSE_SECONDS = 0.005
_RESULT_CODE = 0xFF

# `seq` is the order of writing. The receipt itself is JSON: fields that come later need no new columns.
# The index begins with the time, so it grows at its end. Trace ids may be random: an index that began with
# them would touch a page of its own for nearly every receipt, which takes five times as long.
_CREATE = """
CREATE TABLE IF NOT EXISTS receipts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id TEXT NOT NULL,
    timestamp REAL NOT NULL,
    receipt TEXT NOT NULL,
    UNIQUE (timestamp, trace_id)
)
"""
# A receipt that is there already (its append was repeated) is left as it is.
_APPEND = "INSERT INTO receipts (trace_id, timestamp, receipt) VALUES {rows} ON CONFLICT DO NOTHING"
# Each execution gives up the interpreter's lock and asks for it again, which holds up a thread that serves
# requests. So a statement inserts many rows; more than these at once take memory, and no less time.
_CHUNKS = tuple(
    (size, _APPEND.format(rows=", ".join(["(?, ?, ?)"] * size))) for size in (LINES_AT_ONCE, 50, 10, 1)
)
# The newest ones, turned round into the order of writing; a limit of -1 means all.
_READ = """
SELECT receipt FROM (SELECT seq, receipt FROM receipts ORDER BY seq DESC LIMIT ?) ORDER BY seq
"""
# One page of a walk from the oldest to the newest.
_SCAN = "SELECT seq, receipt FROM receipts WHERE seq > ? ORDER BY seq LIMIT ?"
# The numbers may have gaps: there may be fewer receipts than they say, never more. This takes no time.
_ENDS = "SELECT (SELECT min(seq) FROM receipts), (SELECT max(seq) FROM receipts)"
# Read from the index, an eighth of the file: 25 ms for a million, several times that under full load.
_COUNT = "SELECT count(*) FROM receipts"
_SOON_COUNTED = 50_000
# Changes with every commit of another connection.
_VERSION = "PRAGMA data_version"
# Found from the oldest end: the other way round the whole file is read, and receipts have to wait.
_PRUNE = """
DELETE FROM receipts WHERE seq < (SELECT seq FROM receipts ORDER BY seq LIMIT 1 OFFSET ?)
"""


class SqliteLedger:
    """A `LedgerStore` in the table `receipts` of a database; see `nexus.ledger.store`.

    The file is made where there is none, with mode 0600, and its directory with 0700. It is kept in WAL
    mode: readers and the writer do not wait for each other, and a crash leaves it whole. Another process's
    write is waited for up to `busy_seconds`.

    Raises:
        LedgerError: the database can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_seconds: float = 10.0) -> None:
        self._path = Path(path)
        self._lock = threading.RLock()
        self._gapless_at: int | None = None  # the version in which the numbers had no gaps
        with self._named("opened"):
            _make_file(self._path)
            self._connection = sqlite3.connect(
                self._path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up(busy_seconds)
            except BaseException:
                self._connection.close()
                raise

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Store all of them in one transaction."""
        if not entries:
            return
        with self._named("written"), self._transaction():
            stored = sum(self._insert(lines) for lines in encode_all(entries))
            if stored != len(entries):
                self._gapless_at = None  # one that was there already has taken a number all the same

    def _insert(self, lines: Lines) -> int:
        """Insert some receipts; how many were not there before."""
        count, begin, stored = len(lines.trace_ids), 0, 0
        values: list[str | float] = [""] * (3 * count)
        values[0::3], values[1::3] = lines.trace_ids, lines.timestamps
        values[2::3] = lines.json.decode().split("\n")[:-1]
        for size, statement in _CHUNKS:
            while begin + size <= count:
                end = begin + size
                stored += self._connection.execute(statement, values[3 * begin : 3 * end]).rowcount
                begin = end
        return stored

    def read(self, limit: int = 0) -> list[LedgerEntry]:
        """The newest `limit` receipts in the order written, all for 0 or less."""
        with self._named("read"), self._lock:
            rows = self._connection.execute(_READ, (limit if limit > 0 else -1,)).fetchall()
        return decode_all(row[0] for row in rows)

    def scan(self) -> Iterator[LedgerEntry]:
        """All receipts, oldest first, a page at a time."""
        last = 0
        while True:
            with self._named("read"), self._lock:
                rows = self._connection.execute(_SCAN, (last, _PAGE)).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield from decode_all(row[1] for row in rows)

    def prune(self, max_entries: int, limit: int = 0) -> int:
        """Keep the newest `max_entries`; the file does not shrink, its free pages are used again."""
        if max_entries <= 0:
            return 0
        with self._named("pruned"), self._transaction():
            surplus = self._count(max_entries) - max_entries
            if surplus <= 0:
                return 0
            going = min(surplus, limit) if limit > 0 else surplus
            return self._connection.execute(_PRUNE, (going,)).rowcount

    def close(self) -> None:
        """Close the connection; the last one tidies up the write-ahead log."""
        with self._lock:
            self._connection.close()

    def _count(self, enough: int) -> int:
        """How many receipts there are, where they are more than `enough`; else that many at most."""
        first, last = self._connection.execute(_ENDS).fetchone()
        numbers: int = 0 if first is None else last - first + 1
        # A small ledger is counted at once: once it is large, receipts would wait for that.
        if _SOON_COUNTED < numbers <= enough:
            return numbers
        (version,) = self._connection.execute(_VERSION).fetchone()
        if version == self._gapless_at:
            return numbers
        (count,) = self._connection.execute(_COUNT).fetchone()
        self._gapless_at = version if count == numbers else None
        return int(count)

    def _set_up(self, busy_seconds: float) -> None:
        execute = self._connection.execute
        self._use_wal(busy_seconds)
        # In WAL mode the default would leave the last transactions to chance when the power fails.
        execute("PRAGMA synchronous = FULL")
        # Receipts go to the end of the table and of its index: a few pages are enough, not the usual 2 MB.
        execute("PRAGMA cache_size = -512")
        with self._transaction():
            execute(_CREATE)

    def _use_wal(self, busy_seconds: float) -> None:
        """Turn WAL mode on. Where another process is at it too, SQLite refuses at once instead of waiting."""
        clock = SystemClock()
        deadline = clock.monotonic() + busy_seconds
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & _RESULT_CODE == sqlite3.SQLITE_BUSY
                if not is_busy or clock.monotonic() > deadline:
                    raise
                clock.sleep(_PAUSE_SECONDS)
            else:
                return

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            # At once for writing: a transaction that turns from reading to writing may be refused.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back after some errors, such as a full disk.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _named(self, deed: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LedgerError(f"the ledger {self._path} can't be {deed}: {reason}") from error


def _make_file(path: Path) -> None:
    """Make an empty database for the owner only, where there is none.

    One that is there must not be opened here: closing it again would release the locks that this process
    holds on it through SQLite.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory") from None
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only") from None

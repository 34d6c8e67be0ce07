"""Receipts in a PostgreSQL database, for gateways on several machines. Needs the extra `nexus[postgres]`."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict

from nexus.core.masking import mask_secrets
from nexus.core.receipt import LedgerEntry
from nexus.ledger.lines import decode_all, encode_all
from nexus.ledger.store import LedgerError

_PAGE = 1000
# A server that is gone must not hold up the end of the process; the URL may say otherwise.
_DEFAULTS = {"connect_timeout": 5, "tcp_user_timeout": 20_000, "application_name": "nexus"}
_STATEMENT_TIMEOUT: LiteralString = "SET statement_timeout = '30s'"

# CREATE TABLE IF NOT EXISTS may fail when two processes run it at once. The number is an arbitrary name.
_LOCK_CREATION: LiteralString = "SELECT pg_advisory_xact_lock(628019134)"
# `seq` is the order of writing. The receipt itself is JSON: fields that come later need no new columns.
# The index begins with the time, so it grows at its end: trace ids may be random, and would be all over it.
_CREATE: LiteralString = """
CREATE TABLE IF NOT EXISTS nexus_receipts (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace_id text NOT NULL,
    "timestamp" double precision NOT NULL,
    receipt jsonb NOT NULL,
    UNIQUE ("timestamp", trace_id)
)
"""
# One statement for any number of receipts, which come as one JSON array: the driver would take far longer to
# escape single ones. One that is there already (its append was repeated) is left as it is: a connection that
# breaks during a commit does not say whether the commit was done.
_APPEND: LiteralString = """
INSERT INTO nexus_receipts (trace_id, "timestamp", receipt)
SELECT receipt ->> 'trace_id', (receipt ->> 'timestamp')::float8, receipt
FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS new (receipt, place)
ORDER BY place
ON CONFLICT DO NOTHING
"""
# The newest ones, turned round into the order of writing; a limit of NULL means all.
_READ: LiteralString = """
SELECT receipt::text FROM (SELECT seq, receipt FROM nexus_receipts ORDER BY seq DESC LIMIT %s) AS newest
ORDER BY seq
"""
# One page of a walk from the oldest to the newest.
_SCAN: LiteralString = "SELECT seq, receipt::text FROM nexus_receipts WHERE seq > %s ORDER BY seq LIMIT %s"
# Found from the oldest end, and in one statement: two processes that prune at once then mean the same
# receipts. `least` passes over a limit of NULL.
_PRUNE: LiteralString = """
DELETE FROM nexus_receipts WHERE seq < (SELECT seq FROM nexus_receipts ORDER BY seq LIMIT 1 OFFSET (
    SELECT greatest(0, least(count(*) - %s, %s)) FROM nexus_receipts
))
"""


class PostgresLedger:
    """A `LedgerStore` in the table `nexus_receipts`; see `nexus.ledger.store`.

    `url` is what libpq takes: `postgresql://user:password@host/database?sslmode=require`. A connection that
    broke stays broken: open the ledger again.

    Raises:
        LedgerError: the URL is wrong, or the server can't be reached or refuses.
    """

    def __init__(self, url: str) -> None:
        self._name = mask_secrets(url)
        self._lock = threading.RLock()
        with self._named("opened"):
            settings: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(url)}
            # No prepared statements: poolers between us and the server may not know them.
            self._connection = psycopg.connect(**settings, autocommit=True, prepare_threshold=None)
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Store all of them in one transaction."""
        if not entries:
            return
        array = b"[%s]" % b"".join([lines.json for lines in encode_all(entries)])[:-1].replace(b"\n", b",")
        with self._named("written"), self._lock:
            self._connection.execute(_APPEND, (array.decode(),))

    def read(self, limit: int = 0) -> list[LedgerEntry]:
        """The newest `limit` receipts in the order written, all for 0 or less."""
        with self._named("read"), self._lock:
            rows = self._connection.execute(_READ, (limit if limit > 0 else None,)).fetchall()
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
        """Keep the newest `max_entries`."""
        if max_entries <= 0:
            return 0
        with self._named("pruned"), self._lock:
            return self._connection.execute(_PRUNE, (max_entries, limit if limit > 0 else None)).rowcount

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._connection.close()

    def _set_up(self) -> None:
        self._connection.execute(_STATEMENT_TIMEOUT)
        with self._connection.transaction():
            self._connection.execute(_LOCK_CREATION)
            self._connection.execute(_CREATE)

    @contextlib.contextmanager
    def _named(self, deed: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            reason = " ".join(mask_secrets(str(error)).split())
            raise LedgerError(f"the ledger {self._name} can't be {deed}: {reason}") from error

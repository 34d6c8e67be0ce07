"""From a URL to a store."""

from pathlib import Path

from nexus.core.masking import mask_secrets
from nexus.ledger.jsonl import JsonlLedger
from nexus.ledger.sqlite import SqliteLedger
from nexus.ledger.store import LedgerError, LedgerStore

_POSTGRES = ("postgresql://", "postgres://")
_FILES = ("sqlite", "jsonl")


def open_ledger(url: str) -> LedgerStore:
    """The store at a URL, made where there is none.

    `sqlite:////var/lib/nexus/nexus.db` and `jsonl:////var/lib/nexus/ledger.jsonl`: three slashes and then an
    absolute path, taken as it is. `postgresql://user:password@host/database`: needs `nexus[postgres]`.

    Raises:
        LedgerError: the URL is of no known kind, or the store can't be opened or written.
    """
    path = ledger_file(url)
    if path is None:
        return _postgres(url)
    if url.startswith("sqlite"):
        return SqliteLedger(path)
    ledger = JsonlLedger(path)
    ledger.check_writable()
    return ledger


def ledger_file(url: str) -> Path | None:
    """The file that a `sqlite` or `jsonl` URL names; None for a PostgreSQL server. Opens nothing.

    Raises:
        LedgerError: the URL is of no known kind, or names no absolute path.
    """
    if url.startswith(_POSTGRES):
        return None
    scheme, _, rest = url.partition(":")
    if scheme not in _FILES or scheme == url:
        raise LedgerError(_unknown(url))
    path = rest.removeprefix("///")
    if not rest.startswith("///") or not path.startswith("/") or "\x00" in path:
        example = f"{scheme}:////var/lib/nexus/ledger.{'db' if scheme == 'sqlite' else 'jsonl'}"
        raise LedgerError(
            f"{url!r} names no ledger: after {scheme}: come three slashes and then an absolute path, "
            f"such as {example}"
        )
    return Path(path)


def _postgres(url: str) -> LedgerStore:
    try:
        from nexus.ledger.postgres import PostgresLedger  # noqa: PLC0415 - psycopg is optional, and not small
    except ImportError as error:
        raise LedgerError(
            "a PostgreSQL ledger needs the package psycopg: pip install 'nexus[postgres]'"
        ) from error
    return PostgresLedger(url)


def _unknown(url: str) -> str:
    if url == "none":
        return 'the ledger is switched off (ledger.url = "none")'
    return (
        f"{mask_secrets(url)!r} names no ledger: known are sqlite:/// and jsonl:/// with an absolute path, "
        "and postgresql://…"
    )

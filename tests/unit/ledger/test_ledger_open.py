"""From a URL to a store, or to a sentence that says what is wrong with it."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nexus.ledger.jsonl import JsonlLedger
from nexus.ledger.open import ledger_file, open_ledger
from nexus.ledger.sqlite import SqliteLedger
from nexus.ledger.store import LedgerError
from tests.unit.ledger.receipts import receipts


@pytest.mark.parametrize(("kind", "store"), [("sqlite", SqliteLedger), ("jsonl", JsonlLedger)])
def test_a_file_and_its_directories_are_made_for_the_owner_only(tmp_path: Path, kind: str, store: type):
    file = tmp_path / "new" / "ledger?mode=%20"
    ledger = open_ledger(f"{kind}:///{file}")
    assert isinstance(ledger, store)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    ledger.append(receipts(1))
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in file.parent.iterdir())
    ledger.close()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///relative.db",
        "jsonl:ledger.jsonl",
        "jsonl:///~/ledger.jsonl",
        "jsonl:////nul\x00.jsonl",
        "sqlite:///:memory:",
    ],
)
def test_a_url_without_an_absolute_path_is_refused_with_an_example(url: str):
    with pytest.raises(LedgerError, match=r"three slashes and then an absolute path, such as \w+:////var"):
        open_ledger(url)


@pytest.mark.parametrize(
    "url", ["", "sqlite", "ledger.jsonl", "mysql://user:hunter2@host/db", "/var/lib/nexus.db"]
)
def test_a_url_of_another_kind_is_refused_without_its_password(url: str):
    with pytest.raises(LedgerError, match="names no ledger: known are sqlite:///") as caught:
        open_ledger(url)
    assert "hunter2" not in str(caught.value)


def test_a_ledger_that_is_switched_off_can_not_be_opened():
    with pytest.raises(LedgerError, match="switched off"):
        open_ledger("none")


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_directory_that_can_not_be_written_is_said_at_once(tmp_path: Path, kind: str):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"file/ledger can't be opened: (Not a directory|File exists)"):
        open_ledger(f"{kind}:///{tmp_path}/file/ledger")
    with pytest.raises(LedgerError, match=r"can't be opened: (Is|it is) a directory"):
        open_ledger(f"{kind}:///{tmp_path}")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path):
    file = tmp_path / "notes.txt"
    file.write_text("shopping list, rather long to be a header of anything " * 30)
    with pytest.raises(LedgerError, match=r"notes\.txt can't be opened: file is not a database"):
        open_ledger(f"sqlite:///{file}")
    assert file.read_text().startswith("shopping list")


def test_the_file_of_a_url_is_known_without_opening_it():
    assert ledger_file("jsonl:////var/lib/x.jsonl") == Path("/var/lib/x.jsonl")
    assert ledger_file("postgresql://host/db") is None


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@127.0.0.1:1/db", "postgres://u:hunter2@127.0.0.1:1/db"]
)
def test_a_server_that_is_not_there_is_named_without_its_password(url: str):
    with pytest.raises(LedgerError, match=r"can't be opened: .*[Cc]onnection refused") as caught:
        open_ledger(url)
    assert "hunter2" not in str(caught.value)


def test_a_postgresql_url_with_a_mistake_is_refused():
    with pytest.raises(LedgerError, match=r"can't be opened: .*nonsense"):
        open_ledger("postgresql://127.0.0.1/db?nonsense=1")


def test_without_its_driver_postgresql_says_what_to_install():
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from nexus.ledger.open import open_ledger\n"
        "from nexus.ledger.store import LedgerError\n"
        "try: open_ledger('postgresql://host/db')\n"
        "except LedgerError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip().endswith("pip install 'nexus[postgres]'")


def test_the_stores_are_imported_without_the_gateway_or_a_database_driver():
    code = (
        "import sys, nexus.ledger.open, nexus.ledger.writer, nexus.ledger.transfer\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"psycopg", "pydantic", "uvloop", "httptools", "starlette", "click"} & set(out.split())

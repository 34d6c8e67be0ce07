"""`nexus ledger` on the configured ledger and on others."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus.core.receipt import LedgerEntry
from nexus.ledger.jsonl import append_ledger_entries, read_ledger
from nexus.ledger.lines import encode
from nexus.ledger.open import open_ledger
from tests.unit.ledger.receipts import full_receipt, receipt, receipts


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory that the environment names."""
    folder = tmp_path / "data"
    monkeypatch.setenv("NEXUS_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def url(data_dir: Path) -> str:
    return f"sqlite:///{data_dir}/nexus.db"


@pytest.fixture
def fill(url: str) -> Callable[[list[LedgerEntry]], None]:
    """Appends to the ledger of the data directory."""

    def append(entries: list[LedgerEntry]) -> None:
        store = open_ledger(url)
        store.append(entries)
        store.close()

    return append


def stored(url: str) -> list[LedgerEntry]:
    store = open_ledger(url)
    try:
        return store.read()
    finally:
        store.close()


def test_tail_shows_the_newest_last(run, fill):
    fill([*receipts(30), full_receipt(30)])
    ran = run("ledger", "tail", "-n", "2")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines() if "trace-" in line]
    assert [row[-1] for row in rows] == ["trace-29", "trace-30"]
    assert rows[1][:2] == ["2026-01-01", "00:00:30Z"]
    assert rows[1][2:] == [
        "llama3",
        "code",
        "no",
        "0.30",
        "812",
        "ms",
        "20+40",
        "gpu-box",
        "explicit",
        "trace-30",
    ]
    assert len(run("ledger", "tail").out.split("trace-")) == 21
    assert len(run("ledger", "show", "--limit", "0").out.split("trace-")) == 32


def test_tail_prints_json_and_nothing_else(run, fill):
    fill([receipt(0), full_receipt(1)])
    ran = run("ledger", "tail", "--json")
    assert json.loads(ran.out) == [json.loads(encode(entry).json) for entry in (receipt(0), full_receipt(1))]


def test_tail_of_a_ledger_that_is_not_there_makes_none(run, url, data_dir):
    ran = run("ledger", "tail", "--json")
    assert (ran.code, ran.out) == (0, "[]\n")
    assert ran.err == f"there is no ledger at {url} yet\n"
    assert run("ledger", "tail").out == ""
    assert not data_dir.exists()


def test_tail_of_an_empty_ledger_says_so(run, fill):
    fill([])
    ran = run("ledger", "tail")
    assert (ran.code, ran.out, ran.err) == (0, "No receipts.\n", "")


def test_a_time_that_is_none_is_shown_as_it_is(run, fill):
    fill([receipt(timestamp=1e300)])
    assert "1e+300" in run("ledger", "tail").out


def test_the_ledger_is_the_configured_one_unless_a_flag_says_otherwise(run, tmp_path, monkeypatch, fill):
    fill(receipts(1))
    append_ledger_entries(tmp_path / "other.jsonl", receipts(2))
    monkeypatch.setenv("NEXUS_LEDGER__URL", f"jsonl:///{tmp_path}/other.jsonl")
    assert len(json.loads(run("ledger", "tail", "--json").out)) == 2
    monkeypatch.delenv("NEXUS_LEDGER__URL")
    assert len(json.loads(run("ledger", "tail", "--json").out)) == 1
    there = f"jsonl:///{tmp_path}/other.jsonl"
    assert len(json.loads(run("ledger", "tail", "--json", "--url", there).out)) == 2
    (tmp_path / "n.toml").write_text(f'[ledger]\nurl = "{there}"\n')
    assert len(json.loads(run("ledger", "tail", "--json", "--config", str(tmp_path / "n.toml")).out)) == 2
    monkeypatch.setenv("NEXUS_DATA_DIR", str(tmp_path / "elsewhere"))
    assert len(json.loads(run("ledger", "tail", "--json", "--data-dir", str(tmp_path / "data")).out)) == 1


def test_export_writes_a_file_for_its_owner_only(run, fill, tmp_path):
    fill(receipts(3))
    target = tmp_path / "out.jsonl"
    ran = run("ledger", "export", "--to", str(target))
    assert (ran.code, ran.out) == (0, f"3 receipts written to {target}\n")
    assert read_ledger(target) == receipts(3)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "out.jsonl"]


def test_export_replaces_a_file_only_when_told_to(run, fill, tmp_path):
    fill(receipts(3))
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    ran = run("ledger", "export", "--to", str(target))
    assert (ran.code, ran.err) == (1, f"nexus: {target} is there already; --force replaces it\n")
    assert target.read_text() == "mine"
    assert run("ledger", "export", "--force", "--to", str(target)).code == 0
    assert read_ledger(target) == receipts(3)


def test_export_to_standard_output_is_lines_of_json_and_nothing_else(fill):
    fill(receipts(3))
    command = [sys.executable, "-m", "nexus.cli.main", "ledger", "export", "--to", "-"]
    done = subprocess.run(command, check=True, capture_output=True)
    assert done.stdout == b"".join(encode(entry).json + b"\n" for entry in receipts(3))


def test_export_to_another_ledger_adds_what_it_does_not_have(run, fill, tmp_path):
    fill(receipts(3))
    target = f"jsonl:///{tmp_path}/other.jsonl"
    append_ledger_entries(tmp_path / "other.jsonl", receipts(1))
    ran = run("ledger", "export", "--to", target)
    assert (ran.code, ran.out) == (0, f"2 receipts added to {target}, 1 were there already\n")
    assert read_ledger(tmp_path / "other.jsonl") == receipts(3)


@pytest.mark.parametrize("verb", [("export", "--to", "x.jsonl"), ("prune", "--max-entries", "3")])
def test_a_ledger_that_is_not_there_is_neither_exported_nor_pruned(run, url, data_dir, verb):
    ran = run("ledger", *verb)
    assert (ran.code, ran.err) == (1, f"nexus: there is no ledger at {url} yet\n")
    assert not data_dir.exists()


def test_a_failed_export_leaves_no_file_behind(run, fill, tmp_path):
    fill(receipts(1))
    ran = run("ledger", "export", "--to", str(tmp_path / "none" / "out.jsonl"))
    assert ran.code == 1
    assert ran.err.endswith("out.jsonl: No such file or directory\n")


def test_import_makes_the_ledger_and_may_be_repeated(run, url, tmp_path):
    source = tmp_path / "in.jsonl"
    append_ledger_entries(source, receipts(3))
    source.write_bytes(source.read_bytes() + b'{"torn')
    ran = run("ledger", "import", "--from", str(source))
    assert (ran.code, ran.out) == (0, f"3 receipts added to {url}\n")
    assert ran.err == f"left out 1 line of {source} without a receipt\n"
    assert stored(url) == receipts(3)
    append_ledger_entries(source, [receipt(3)])
    assert run("ledger", "import", "--from", str(source)).out == (
        f"1 receipt added to {url}, 3 were there already\n"
    )
    assert stored(url) == receipts(4)


def test_import_takes_another_ledger(run, url, tmp_path):
    append_ledger_entries(tmp_path / "in.jsonl", receipts(3))
    assert run("ledger", "import", "--from", f"jsonl:///{tmp_path}/in.jsonl").code == 0
    assert stored(url) == receipts(3)
    ran = run("ledger", "import", "--from", f"jsonl:///{tmp_path}/typo.jsonl")
    assert (ran.code, ran.err) == (1, f"nexus: there is no ledger at jsonl:///{tmp_path}/typo.jsonl yet\n")


def test_import_takes_standard_input(url):
    command = [sys.executable, "-m", "nexus.cli.main", "ledger", "import", "--from", "-"]
    subprocess.run(command, check=True, capture_output=True, input=encode(receipt()).json)
    assert stored(url) == [receipt()]


def test_import_of_a_file_that_is_not_there_says_so(run, tmp_path, data_dir):
    ran = run("ledger", "import", "--from", str(tmp_path / "in.jsonl"))
    assert (ran.code, ran.err) == (1, f"nexus: can't read {tmp_path}/in.jsonl: No such file or directory\n")
    assert not data_dir.exists()


def test_prune_keeps_what_it_is_told_or_what_is_configured(run, url, fill, monkeypatch):
    fill(receipts(10))
    assert run("ledger", "prune").out == f"0 receipts removed from {url}\n"
    assert run("ledger", "prune", "--max-entries", "8").out == f"2 receipts removed from {url}\n"
    monkeypatch.setenv("NEXUS_LEDGER__MAX_ENTRIES", "3")
    assert run("ledger", "prune").out == f"5 receipts removed from {url}\n"
    assert stored(url) == receipts(3, start=7)


def test_prune_goes_on_until_nothing_is_too_much(run, url, fill, monkeypatch):
    """It takes some at a time; what it says is their sum."""
    monkeypatch.setattr("nexus.cli.ledger.PRUNED_AT_ONCE", 3)
    fill(receipts(10))
    assert run("ledger", "prune", "--max-entries", "2").out == f"8 receipts removed from {url}\n"
    assert stored(url) == receipts(2, start=8)


def test_prune_asks_for_a_number_where_there_is_none(run, url):
    ran = run("ledger", "prune", "--url", url)
    assert ran.code == 2
    assert "give --max-entries" in ran.err


def test_a_gateways_address_is_refused_with_what_to_name_instead(run):
    ran = run("ledger", "tail", "--url", "http://127.0.0.1:8080")
    assert ran.code == 2
    assert "name its ledger" in ran.err


@pytest.mark.parametrize("verb", ["tail", "prune"])
def test_a_mistake_in_the_configuration_is_named_with_its_place(run, verb, monkeypatch):
    monkeypatch.setenv("NEXUS_LEDGER__MAX_ENTRIES", "many")
    ran = run("ledger", verb)
    assert ran.code == 2
    assert ran.err.startswith("NEXUS_LEDGER__MAX_ENTRIES: ")


def test_a_ledger_that_is_switched_off_says_so(run, monkeypatch):
    monkeypatch.setenv("NEXUS_LEDGER__URL", "none")
    ran = run("ledger", "tail")
    assert ran.code == 2
    assert 'the ledger is switched off (ledger.url = "none")' in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("tail", "--url", "mysql://h/db"),
        ("prune", "--url", "sqlite:///relative.db"),
        ("import", "--from", "mysql://h/db"),
    ],
)
def test_a_url_that_names_no_ledger_is_wrong_usage(run, arguments):
    ran = run("ledger", *arguments)
    assert ran.code == 2
    assert "names no ledger" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://gateway.example"])
def test_the_address_of_a_gateway_is_refused_with_what_to_name_instead(run, url):
    for verb in (["tail"], ["replay", "--policy", "uniform"]):
        ran = run("ledger", *verb, "--url", url)
        assert ran.code == 2
        assert "a gateway does not give out its receipts" in ran.err
        assert "--data-dir" in ran.err


def test_the_password_of_a_ledger_is_never_shown(run):
    ran = run("ledger", "tail", "--url", "postgresql://me:hunter2@127.0.0.1:1/db")
    assert ran.code == 1
    assert "hunter2" not in ran.err + ran.out

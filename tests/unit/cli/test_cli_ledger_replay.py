"""`nexus ledger replay` reads a ledger and prints estimates with their intervals."""

import json

import pytest

from nexus.cli.main import main
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.outcomes import append_ledger_entries


@pytest.fixture
def url(tmp_path):
    """A ledger of 300 requests between two models, the large one better by 0.4."""
    path = tmp_path / "ledger.jsonl"
    entries = [
        LedgerEntry(
            *(
                f"t{n}",
                "large" if n % 2 else "small",
                Task.CODE,
                "adaptive:exploit",
                120.0,
                5,
                5,
                1,
                float(n),
            ),
            quality=0.9 if n % 2 else 0.5,
            propensity=0.5,
            candidates=("large", "small"),
        )
        for n in range(300)
    ]
    append_ledger_entries(path, entries)
    return f"jsonl:///{path}"


def test_the_table_shows_both_estimates_beside_what_happened(url, capsys):
    assert main(["ledger", "replay", "--url", url, "--policy", "always:large"]) == 0
    printed = capsys.readouterr()
    assert "300 of 300 used" in printed.out
    assert "self-normalised     0.9" in printed.out
    assert "really              0.7" in printed.out
    assert printed.err == ""


def test_json_has_every_figure(url, capsys):
    assert (
        main(["ledger", "replay", "--url", url, "--policy", "uniform", "--value", "latency", "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["policy"] == "uniform"
    assert found["self_normalised"]["mean"] == pytest.approx(120.0)


def test_too_few_receipts_are_said_to_be_too_few(url, capsys):
    assert main(["ledger", "replay", "--url", url, "--policy", "always:small", "--limit", "3"]) == 0
    printed = capsys.readouterr()
    assert "2 of 3" not in printed.out
    assert "too few to decide by" in printed.err
    assert "mean weight" in printed.err


def test_unusable_receipts_are_counted_by_reason(tmp_path, capsys):
    path = tmp_path / "sticky.jsonl"
    common = ("m", Task.CODE, "adaptive:sticky", 1.0, 1, 1, 1, 1.0)
    append_ledger_entries(
        path,
        [
            LedgerEntry("a", *common, quality=1.0, propensity=1.0, candidates=("m", "n")),
            LedgerEntry("b", *common, quality=1.0, propensity=0.5, candidates=("m", "n")),
        ],
    )
    assert main(["ledger", "replay", "--url", f"jsonl:///{path}", "--policy", "always:o"]) == 0
    printed = capsys.readouterr()
    assert "1 receipts left out: their conversation kept its model" in printed.err
    assert "can't choose among their candidates" in printed.err


def test_an_unknown_policy_is_wrong_usage(url, capsys):
    assert main(["ledger", "replay", "--url", url, "--policy", "best"]) == 2
    assert "always:MODEL" in capsys.readouterr().err


def test_a_ledger_that_is_not_there_is_said(tmp_path, capsys):
    assert main(["ledger", "replay", "--url", f"jsonl:///{tmp_path}/none.jsonl", "--policy", "uniform"]) == 1
    assert "there is no ledger" in capsys.readouterr().err

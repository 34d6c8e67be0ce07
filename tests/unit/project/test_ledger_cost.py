"""No request waits for a store: what outcomes and the ledger do on its path is counted."""

import io
import sqlite3
from pathlib import Path

from bench.ledger_cost import SETTINGS, path_costs, store_call

MOST_CALLS_OF_OUTCOMES = 40


def test_the_path_of_a_request_does_no_store_io_and_the_ledger_adds_no_calls_to_it(tmp_path: Path):
    costs = path_costs(tmp_path)
    assert {name: cost.store_io for name, cost in costs.items()} == dict.fromkeys(SETTINGS, ())
    with_both, without_ledger, neither = (costs[name].calls for name in SETTINGS)
    assert abs(with_both - without_ledger) < 2
    assert 0 < with_both - neither < MOST_CALLS_OF_OUTCOMES


def test_reads_and_writes_of_files_and_databases_are_told_from_other_calls(tmp_path: Path):
    """The count above would notice a store."""
    connection = sqlite3.connect(":memory:")
    with (tmp_path / "file").open("wb") as file:
        assert store_call(file.write) == "_io.write"
    assert store_call(connection.execute) == "sqlite3.execute"
    assert store_call(sqlite3.connect) is not None
    assert store_call(open) is not None
    harmless: tuple[object, ...] = (io.BytesIO().write, len, "text".replace, sorted)
    for function in harmless:
        assert store_call(function) is None
    connection.close()

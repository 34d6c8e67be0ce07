"""What every store of receipts promises, held against each of them."""

import threading
from collections.abc import Callable, Iterator

import pytest

from nexus.core.receipt import LedgerEntry
from nexus.ledger.jsonl import JsonlLedger
from nexus.ledger.open import open_ledger
from nexus.ledger.store import LedgerStore
from nexus.testing import MemoryLedger
from tests.unit.ledger.receipts import full_receipt, receipt, receipts


@pytest.fixture(params=["sqlite", "jsonl", "postgresql", "memory"])
def store(request: pytest.FixtureRequest, new_ledger_url: Callable[[str], str]) -> Iterator[LedgerStore]:
    """An empty store of each kind, the one for tests included."""
    ledger = MemoryLedger() if request.param == "memory" else open_ledger(new_ledger_url(request.param))
    yield ledger
    ledger.close()


def test_a_new_ledger_is_empty(store: LedgerStore):
    assert store.read() == []
    assert list(store.scan()) == []
    assert store.read(3) == []
    assert store.prune(5) == 0


@pytest.mark.parametrize("entry", [receipt(), full_receipt()], ids=["few fields", "all fields"])
def test_a_receipt_comes_back_as_it_was(store: LedgerStore, entry: LedgerEntry):
    store.append([entry])
    assert store.read() == [entry]
    assert list(store.scan()) == [entry]


def test_receipts_come_back_in_the_order_written_not_in_that_of_their_time(store: LedgerStore):
    late, early = receipt(2), receipt(1)
    store.append([late])
    store.append([early])
    assert store.read() == [late, early]


def test_a_limit_gives_the_newest_in_the_order_written(store: LedgerStore):
    store.append(receipts(10))
    assert store.read(3) == receipts(3, start=7)
    assert store.read(10) == store.read(0) == store.read(11) == receipts(10)


def test_scanning_gives_more_than_a_page(store: LedgerStore):
    store.append(receipts(2501))
    assert list(store.scan()) == receipts(2501)


def test_appending_nothing_changes_nothing(store: LedgerStore):
    store.append([])
    assert store.read() == []


def test_receipts_outlive_the_store_that_wrote_them(ledger_url: str):
    first = open_ledger(ledger_url)
    first.append(receipts(3))
    first.close()
    second = open_ledger(ledger_url)
    second.append(receipts(2, start=3))
    assert second.read() == receipts(5)
    second.close()


def test_two_open_stores_see_each_others_receipts(ledger_url: str):
    store, other = open_ledger(ledger_url), open_ledger(ledger_url)
    store.append(receipts(1))
    other.append(receipts(1, start=1))
    assert store.read() == other.read() == receipts(2)
    store.close()
    other.close()


def test_pruning_keeps_the_newest(store: LedgerStore):
    store.append(receipts(10))
    assert store.prune(4) == 6
    assert store.read() == receipts(4, start=6)
    store.append(receipts(1, start=10))
    assert store.read() == receipts(5, start=6)


def test_pruning_in_steps_takes_the_oldest_first_and_ends_at_the_same(store: LedgerStore):
    """A file is written anew as a whole, so there all go in the first step."""
    store.append(receipts(10))
    removed = [store.prune(4, 4) for _ in range(3)]
    assert removed == ([6, 0, 0] if isinstance(store, JsonlLedger) else [4, 2, 0])
    assert store.read() == receipts(4, start=6)


@pytest.mark.parametrize("max_entries", [0, -1, 3, 4])
def test_pruning_to_nothing_or_to_no_less_than_there_is_does_nothing(store: LedgerStore, max_entries: int):
    store.append(receipts(3))
    assert store.prune(max_entries) == 0
    assert store.read() == receipts(3)


def test_a_closed_store_may_be_closed_again(ledger_url: str):
    store = open_ledger(ledger_url)
    store.close()
    store.close()


def test_threads_may_share_a_store(store: LedgerStore):
    threads = [
        threading.Thread(target=store.append, args=([receipt(100 * number + each)],))
        for number in range(4)
        for each in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({entry.trace_id for entry in store.read()}) == 20


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_does_not_cost_the_receipt(store: LedgerStore, number: float):
    store.append([receipt(latency_ms=number, quality=number, cost_usd=number), receipt(1, timestamp=number)])
    assert store.read() == [receipt(latency_ms=0.0), receipt(1, timestamp=0.0)]


def test_characters_that_a_store_can_not_keep_are_replaced(store: LedgerStore):
    store.append([full_receipt(), receipt(1, project_id="a\x00b", candidates=("x\ud800y",))])
    assert store.read()[1] == receipt(1, project_id="a\ufffdb", candidates=("x\ufffdy",))


def test_the_word_null_and_large_counts_survive(store: LedgerStore):
    odd = receipt(routing_reason="null", input_tokens=2**70)
    store.append([odd])
    assert store.read() == [odd]


def test_a_long_error_is_cut_and_its_secrets_are_masked(store: LedgerStore):
    store.append([receipt(error="api_key=hunter2 " + "é" * 300, routing_reason="r" * 300)])
    [kept] = store.read()
    assert kept.error is not None
    assert kept.error.startswith("api_key=*** ")
    assert len(kept.error) == 256
    assert kept.error.endswith("é…")
    assert kept.routing_reason == "r" * 255 + "…"


@pytest.mark.parametrize("store", ["sqlite", "postgresql", "memory"], indirect=True)
def test_a_repeated_append_stores_each_receipt_once(store: LedgerStore):
    """A broken connection can hide that an append worked, so a database knows its receipts again.

    A file needs no such memory: a failed append there has stored nothing.
    """
    store.append(receipts(3))
    store.append(receipts(5))
    assert store.read() == receipts(5)

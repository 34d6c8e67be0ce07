"""A writer whose store does what the test wants."""

from collections.abc import Callable

import pytest

from nexus.ledger.writer import LedgerWriter
from nexus.testing import ManualClock, MemoryLedger


class Shop:
    """Opens the same memory ledger again and again, and counts how often."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.opened = 0
        self.failure: Exception | None = None

    def open(self) -> MemoryLedger:
        self.opened += 1
        if self.failure is not None:
            raise self.failure
        return self.ledger


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(auto=False)


@pytest.fixture
def make(shop: Shop, said: list[str], clock: ManualClock) -> Callable[..., LedgerWriter]:
    def make_writer(**settings) -> LedgerWriter:
        return LedgerWriter(shop.open, clock, warn=said.append, **settings)

    return make_writer

"""How many retries the gateway allows itself."""

import random
from typing import Any

import pytest

from nexus.config.model import RetrySettings
from nexus.proxy.retry_budget import RetryBudget


def budget(**settings: Any) -> RetryBudget:
    return RetryBudget(RetrySettings(**settings), random.Random(1))


def taken(retries: RetryBudget, now: float, tries: int = 1000) -> int:
    return sum(retries.take(now) for _ in range(tries))


def test_a_share_of_the_requests_and_some_per_second():
    retries = budget(budget_percent=20.0, budget_min_per_second=3.0)
    retries.requests += 100
    assert taken(retries, 0.0) == 20 + 30
    assert (retries.retries, retries.refused) == (50, 950)


def test_the_window_is_ten_seconds():
    """Requests and retries of before do not count any more."""
    retries = budget(budget_percent=10.0, budget_min_per_second=0.0)
    retries.roll(0.0)
    retries.requests += 100
    retries.roll(1.0)
    assert taken(retries, 1.5) == 10
    for second in range(2, 10):
        retries.roll(float(second))
    assert not retries.allows(9.9)
    retries.requests += 50
    retries.roll(12.0)
    assert taken(retries, 12.0) == 5


def test_a_long_pause_empties_the_window():
    retries = budget(budget_percent=0.0, budget_min_per_second=1.0)
    assert taken(retries, 0.0) == 10
    assert taken(retries, 5.0) == 0
    assert taken(retries, 5000.0) == 10


def test_nothing_allowed():
    retries = budget(budget_percent=0.0, budget_min_per_second=0.0)
    retries.requests += 1000
    assert not retries.take(0.0)


def test_by_default_a_retry_is_made_at_once():
    assert budget().delay(0) == 0.0


def test_waits_grow_up_to_the_longest():
    retries = budget(initial_delay_seconds=1.0, backoff_factor=3.0, max_delay_seconds=10.0, jitter=False)
    assert [retries.delay(number) for number in range(4)] == [1.0, 3.0, 9.0, 10.0]


def test_jitter_shortens_by_at_most_half():
    retries = budget(initial_delay_seconds=2.0)
    waits = [retries.delay(0) for _ in range(200)]
    assert min(waits) >= 1.0
    assert max(waits) <= 2.0
    assert max(waits) - min(waits) == pytest.approx(1.0, abs=0.1)

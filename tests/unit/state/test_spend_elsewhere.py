"""What other processes say of their spend counts at once, and not again when it is in the file."""

import asyncio
from pathlib import Path

from nexus.state.spend import SpendStore
from nexus.testing import ManualClock


def test_what_others_spent_is_seen_before_it_is_in_the_file(tmp_path: Path) -> None:
    clock = ManualClock()
    one, two = (SpendStore(tmp_path / "spend.json", clock) for _ in range(2))

    def talk() -> None:
        first, second = one.standing(), two.standing()
        one.hear(2, second)
        two.hear(1, first)

    one.add(1.0)
    two.add(2.0)
    talk()
    assert one.meter.month_usd == two.meter.month_usd == 3.0
    two.flush()
    talk()
    assert one.meter.month_usd == two.meter.month_usd == 3.0, "moved from memory to the file"
    one.add(4.0)
    one.flush()
    talk()
    assert one.meter.month_usd == two.meter.month_usd == 7.0


async def test_spend_that_is_being_written_is_still_told(tmp_path: Path) -> None:
    store = SpendStore(tmp_path / "spend.json", ManualClock())
    store.add(5.0)
    writing = asyncio.ensure_future(store.flush_async())
    await asyncio.sleep(0)
    assert store.meter.month_usd == 5.0
    standing = store.standing()
    assert standing.saved_usd + standing.unsaved_usd == 5.0
    assert await writing
    assert (store.standing().saved_usd, store.standing().unsaved_usd) == (5.0, 0.0)


def test_of_a_process_that_ended_only_the_file_counts_and_of_another_month_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    one, two = (SpendStore(tmp_path / "spend.json", clock) for _ in range(2))
    two.add(2.0)
    one.hear(2, two.standing())
    assert one.meter.month_usd == 2.0
    one.forget(2)
    one.forget(2)
    assert one.meter.month_usd == 0.0
    one.hear(2, two.standing())
    clock.advance(40 * 86_400.0)
    assert one.standing().unsaved_usd == 0.0
    assert one.meter.month_usd == 0.0

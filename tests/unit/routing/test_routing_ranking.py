"""Rankings of which only a sample was compared."""

import pytest

from nexus.core.expected_time import ExpectedTimeSettings
from tests.unit.routing.fleets import NOW, ask, fleet, router, serve

DEFAULTS = ExpectedTimeSettings()


def test_those_behind_the_sample_come_in_turn_and_the_whole_reads_like_a_tuple() -> None:
    snapshot = fleet(*(serve(f"b{n:02}") for n in range(40)))
    found = router(strategy="expected_time").decide(ask(), snapshot, NOW).candidates
    every = tuple(found)
    assert len(found) == len(every) == len({each.view.backend.id for each in every}) == 40
    assert [found[place] for place in range(40)] == list(every)
    assert found[5:12] == every[5:12]
    assert found[-1] is every[-1]
    with pytest.raises(IndexError):
        found[40]
    behind = [int(each.view.backend.id[1:]) for each in every[DEFAULTS.sample :]]
    turn = behind.index(min(behind))
    assert behind[turn:] + behind[:turn] == sorted(behind)

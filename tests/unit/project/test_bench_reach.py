"""The table of goals says what was reached, and what is missing."""

import pytest

from bench.reach import Goal, goals_table


@pytest.mark.parametrize(
    ("value", "at_least", "reached", "distance"),
    [
        (1.2, True, True, "1.67x to the aim"),
        (0.9, True, False, "2.22x to the aim"),
        (2.5, True, True, "aim met"),
        (1.0, False, True, "aim met"),
        (3.0, False, False, "1.50x to the aim"),
        (None, True, False, ""),
    ],
)
def test_a_goal_is_reached_from_its_own_side(value, at_least, reached, distance):
    goal = Goal("figure", value, reach=1.0 if at_least else 2.9, aim=2.0, at_least=at_least)
    assert goal.is_reached is reached
    assert goal.distance == distance


def test_an_aim_of_nothing_has_no_factor():
    assert Goal("lost", 3.0, reach=0.0, aim=0.0).distance == "+3.00 to the aim"
    assert Goal("lost", 0.0, reach=0.0, aim=0.0).distance == "aim met"


def test_the_table_says_what_is_not_there():
    text = goals_table([Goal("one", None, 1.0, 2.0), Goal("two", 7654.3, 1.0, 2.0, at_least=True)])
    assert "| one | ≤ 1.00 | 2.00 | - | **not reached** |" in text
    assert "| two | ≥ 1.00 | 2.00 | 7,654.30 | reached, aim met |" in text

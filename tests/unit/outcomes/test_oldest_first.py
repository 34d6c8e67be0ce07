"""A table by trace id that gives back what came first."""

from functools import partial
from itertools import takewhile
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from nexus.outcomes.oldest_first import OldestFirst


class Item(NamedTuple):
    trace_id: str
    number: int


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 8)),
        st.tuples(st.just("several"), st.integers(0, 8)),
        st.tuples(st.just("pop"), st.integers(0, 8)),
        st.tuples(st.just("take due"), st.integers(0, 60)),
        st.tuples(st.just("take"), st.integers(-1, 5)),
        st.tuples(st.just("take all"), st.just(0)),
    ),
    max_size=60,
)


def is_before(number: int, item: Item) -> bool:
    return item.number < number


@given(_STEPS)
def test_it_does_what_a_plain_dict_would_do_more_slowly(steps: list[tuple[str, int]]) -> None:
    """Whatever was put in, taken out and put in anew, in any order."""
    table: OldestFirst[Item] = OldestFirst(spare=3)
    model: dict[str, Item] = {}

    def taken_from_model(count: int) -> list[Item]:
        first = list(model.values())[: max(0, count)]
        for item in first:
            del model[item.trace_id]
        return first

    for step, (what, argument) in enumerate(steps):
        key = str(argument)
        item = Item(key, step)
        if what == "put":
            model.pop(key, None)
            model[key] = item
            table.pop(key, None)
            table.put((item,))
        elif what == "several":
            items = [Item(f"{step}-{each}", step) for each in range(argument)]
            model.update((each.trace_id, each) for each in items)
            table.put(items)
        elif what == "pop":
            assert table.pop(key, None) == model.pop(key, None)
        elif what == "take due":
            due = partial(is_before, argument)
            expected = taken_from_model(min(5, len(list(takewhile(due, model.values())))))
            assert table.take_oldest(5, due) == expected
        else:
            count = argument if what == "take" else len(model)
            assert table.take_oldest(argument if what == "take" else None) == taken_from_model(count)
        assert table == model
    assert table.take_oldest(None) == list(model.values())


def test_what_is_gone_does_not_pile_up() -> None:
    """Ten times as many as are kept were taken out by their ids, from the middle."""
    table: OldestFirst[Item] = OldestFirst()
    table.put((Item("first", 0),))
    for number in range(20_000):
        table.put((Item(str(number), number),))
        del table[str(number)]
    assert len(table._order) <= 2 * len(table) + 1_001
    assert table.take_oldest(1) == [Item("first", 0)]

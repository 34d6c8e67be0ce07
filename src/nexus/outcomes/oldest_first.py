"""A table by trace id that gives back what came first."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol, TypeVar


class _Traced(Protocol):
    """Whatever has a trace id."""

    @property
    def trace_id(self) -> str: ...


_T = TypeVar("_T", bound=_Traced)


class OldestFirst(dict[str, _T]):
    """What belongs to trace ids, in the order in which it was put in. Taking out any of it takes no time.

    A dict alone is slow at finding its oldest key: it passes all places of keys that were deleted before it,
    up to ten thousand, which is also what pushes everything else out of the processor's cache. Here what is
    taken out by its id leaves a place in the order, until `spare` more places are empty than are taken.
    """

    __slots__ = ("_order", "_spare")

    def __init__(self, spare: int = 1_000) -> None:
        super().__init__()
        self._order: deque[_T] = deque()
        self._spare = spare

    def put(self, item: _T) -> None:
        """Put in the newest."""
        self[item.trace_id] = item
        self.line_up((item,))

    def line_up(self, items: Iterable[_T]) -> None:
        """Give those a place in the order that were put in as into any dict, oldest first."""
        order = self._order
        order.extend(items)
        # Those that are gone keep their places until they come up, or until they are more than the others.
        if len(order) > 2 * len(self) + self._spare:
            self._order = deque(self.values())

    def oldest(self) -> _T | None:
        """The oldest, None where there is nothing."""
        order = self._order
        while order:
            if self.get(order[0].trace_id) is order[0]:
                return order[0]
            order.popleft()
        return None

    def take_oldest(self, count: int | None) -> list[_T]:
        """Take out the oldest, at most `count` of them (None: all)."""
        order = self._order
        most = len(self) if count is None else count
        taken: list[_T] = []
        while order and len(taken) < most:
            item = order.popleft()
            key = item.trace_id
            if self.get(key) is item:
                del self[key]
                taken.append(item)
        return taken

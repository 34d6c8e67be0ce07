"""A table by trace id that gives back what came first."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class _Traced(Protocol):
    """Whatever has a trace id."""

    @property
    def trace_id(self) -> str: ...


_T = TypeVar("_T", bound=_Traced)


class OldestFirst(dict[str, _T]):
    """What belongs to trace ids, in the order in which `put` took it. Taking out any of it takes no time.

    A dict alone is slow at finding its oldest key: it passes all places of keys that were deleted before it,
    up to ten thousand, which is also what pushes everything else out of the processor's cache. Here what is
    taken out by its id leaves a place in the order, until `spare` more places are empty than are taken.
    """

    __slots__ = ("_order", "_spare")

    def __init__(self, spare: int = 1_000) -> None:
        super().__init__()
        self._order: deque[_T] = deque()
        self._spare = spare

    def put(self, items: Iterable[_T]) -> None:
        """Put in the newest, oldest first; none of their trace ids may be there already."""
        order = self._order
        for item in items:
            self[item.trace_id] = item
            order.append(item)
        # Those that are gone keep their places until they come up, or until they are more than the others.
        if len(order) > 2 * len(self) + self._spare:
            self._order = deque(self.values())

    def take_oldest(self, count: int | None, due: Callable[[_T], bool] | None = None) -> list[_T]:
        """Take out the oldest, at most `count` (None: all) and none after the first that is not due."""
        order = self._order
        most = len(self) if count is None else count
        taken: list[_T] = []
        while order and len(taken) < most:
            item = order[0]
            if self.get(item.trace_id) is item:
                if due is not None and not due(item):
                    break
                del self[item.trace_id]
                taken.append(item)
            order.popleft()
        return taken

"""The attempts under way at all workers: each backend's gauge counts those of the others too."""

from collections.abc import Iterable

from nexus.core.fleet import BackendView
from nexus.core.live import BackendLive


class PendingBook:
    """What the others have under way, and what they were told of ours.

    A gauge is what is under way here plus what was added to it for the others. They say absolute numbers, so
    nothing is lost or counted twice.
    """

    def __init__(self) -> None:
        self._theirs: dict[int, dict[str, int]] = {}
        self._added: dict[str, tuple[BackendLive, int]] = {}
        self._told: dict[str, int] = {}

    def take(self, views: Iterable[BackendView]) -> dict[str, int]:
        """Our own numbers that have changed since the last call, by backend."""
        changed = {}
        told = self._told
        for view in views:
            backend_id, live = view.backend.id, view.live
            added = self._added.get(backend_id)
            if added is not None and added[0] is not live:
                # The backend was replaced: its new gauge knows nothing of the others.
                self._settle(view)
                added = self._added[backend_id]
            own = live.pending if added is None else live.pending - added[1]
            if own != told.get(backend_id, 0):
                told[backend_id] = changed[backend_id] = own
        return changed

    def hear(self, sender: int, numbers: dict[str, int], views: Iterable[BackendView]) -> None:
        """Another worker has this many under way now."""
        self._theirs.setdefault(sender, {}).update(numbers)
        for view in views:
            if view.backend.id in numbers:
                self._settle(view)

    def forget(self, sender: int, views: Iterable[BackendView]) -> set[str]:
        """Another worker has ended, and what it had under way with it; returns the backends it used."""
        numbers = self._theirs.pop(sender, {})
        for view in views:
            if view.backend.id in numbers:
                self._settle(view)
        return {backend_id for backend_id, number in numbers.items() if number}

    def everything(self, own: int) -> dict[int, dict[str, int]]:
        """All numbers by worker and backend; ours, as last told, as those of worker `own`."""
        return {**self._theirs, own: dict(self._told)}

    def _settle(self, view: BackendView) -> None:
        backend_id, live = view.backend.id, view.live
        total = sum(each.get(backend_id, 0) for each in self._theirs.values())
        known = self._added.get(backend_id)
        before = known[1] if known is not None and known[0] is live else 0
        live.pending += total - before
        self._added[backend_id] = live, total

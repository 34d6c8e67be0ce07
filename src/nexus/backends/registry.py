"""The fleet: every backend with its status, models, prices and live gauges, published as one snapshot."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from nexus.core.backend import Backend, ModelInfo
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot, Price
from nexus.core.live import BackendLive, SpendMeter
from nexus.core.quality import QualityView


class AgentFigures(Protocol):
    """What quality publishes of one backend."""

    @property
    def rollup(self) -> QualityView | None:
        """All models of the backend together; None without history."""
        ...

    @property
    def models(self) -> Mapping[str, QualityView]:
        """Each model that has history."""
        ...


class StatusChange(Struct, frozen=True):
    """One backend went from one status to another; `reason` is empty where it got better."""

    backend: Backend
    old: BackendStatus
    new: BackendStatus
    reason: str


class FleetChange(Struct, frozen=True):
    """What a reload did, as ids. `changed` ones kept their state where the upstream is the same."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


class _Member:
    """One backend with what is known of it. Snapshots share its mappings: they are replaced, not changed."""

    __slots__ = ("backend", "last_error", "listed", "live", "models", "prices", "status")

    def __init__(self, backend: Backend, live: BackendLive) -> None:
        self.backend = backend
        self.live = live
        self.status = BackendStatus.UNKNOWN
        self.last_error = ""
        self.listed: tuple[ModelInfo, ...] = ()
        self.models: Mapping[str, ModelInfo] = {}
        self.prices: Mapping[str, Price] = {}


class Fleet:
    """The backends and the snapshot that routing reads.

    Every method that changes something publishes a new snapshot before it returns, so `snapshot` is always
    current; `publish()` alone takes in new quality figures. Not thread-safe: everything happens in the
    thread of the event loop.

    Args:
        backends: the configured or discovered ones; ids must be unique.
        quality_views: figures by backend id, as of the last recompute. Called at each publish.
        prices: the price of a model on a backend, None where unknown. Called when a model list changes.
        spend: the month's spend, shared by all snapshots.
        make_live: fresh gauges for a backend that is new; attach its breaker here.
    """

    snapshot: FleetSnapshot

    def __init__(
        self,
        backends: Iterable[Backend],
        *,
        quality_views: Callable[[], Mapping[str, AgentFigures]],
        prices: Callable[[Backend, str], Price | None],
        spend: SpendMeter,
        make_live: Callable[[Backend], BackendLive] = lambda _: BackendLive(),
    ) -> None:
        self._quality_views = quality_views
        self._prices = prices
        self._spend = spend
        self._make_live = make_live
        self._members: dict[str, _Member] = {}
        self._on_change: list[Callable[[StatusChange], None]] = []
        self._on_members: list[Callable[[], None]] = []
        self._version = 0
        for backend in backends:
            self._join(backend)
        self.publish()

    # --- what there is

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All backends, in the order they were added."""
        return tuple(member.backend for member in self._members.values())

    def live(self, backend_id: str) -> BackendLive:
        """The gauges of a backend; KeyError if there is none with this id."""
        return self._members[backend_id].live

    def status(self, backend_id: str) -> BackendStatus:
        """What the health checks say; KeyError if there is no such backend."""
        return self._members[backend_id].status

    def last_error(self, backend_id: str) -> str:
        """What was wrong at the last check, for display; empty if nothing. KeyError for an unknown id."""
        return self._members[backend_id].last_error

    # --- subscriptions

    def on_change(self, listener: Callable[[StatusChange], None]) -> None:
        """Call `listener` after each change of a status."""
        self._on_change.append(listener)

    def on_members(self, listener: Callable[[], None]) -> None:
        """Call `listener` after backends were added, removed or replaced."""
        self._on_members.append(listener)

    # --- membership

    def add(self, backend: Backend) -> None:
        """Take in a backend: unknown status, neutral gauges. ValueError if its id is taken."""
        self._join(backend)
        self._members_changed()

    def remove(self, backend_id: str) -> None:
        """Forget a backend with all that was known of it; KeyError if there is none with this id."""
        del self._members[backend_id]
        self._members_changed()

    def replace_all(self, backends: Iterable[Backend]) -> FleetChange:
        """Make this the whole list, as a reload does; ValueError if an id occurs twice.

        A backend that is still the same upstream (id, type, address, key and headers) keeps its status,
        models and gauges, whatever else changed. Any other starts anew.
        """
        old = self._members
        members: dict[str, _Member] = {}
        for backend in backends:
            if backend.id in members:
                raise ValueError(f"two backends have the id {backend.id!r}")
            members[backend.id] = self._carried_over(old.get(backend.id), backend)
        self._members = members
        self._members_changed()
        return FleetChange(
            added=tuple(each for each in members if each not in old),
            removed=tuple(each for each in old if each not in members),
            changed=tuple(
                each
                for each, member in members.items()
                if each in old and old[each].backend != member.backend
            ),
        )

    # --- what checks find out

    def set_status(self, backend_id: str, status: BackendStatus, reason: str = "") -> bool:
        """Record what health checks concluded; True if it is a change. An id that is gone is ignored."""
        member = self._members.get(backend_id)
        if member is None or member.status is status:
            return False
        change = StatusChange(member.backend, member.status, status, reason)
        member.status = status
        self.publish()
        for listener in self._on_change:
            listener(change)
        return True

    def set_models(self, backend_id: str, models: Iterable[ModelInfo]) -> bool:
        """Record the models a backend listed; True if its served models changed. A gone id is ignored.

        Where configuration fixes the names, the list only tells more about them.
        """
        member = self._members.get(backend_id)
        listed = tuple(models)
        if member is None or member.listed == listed:
            return False
        member.listed = listed
        before = member.models
        self._settle_models(member)
        if member.models == before:
            return False
        self.publish()
        return True

    def set_error(self, backend_id: str, text: str) -> None:
        """Keep what was wrong at the last check; empty when all is well. A gone id is ignored."""
        member = self._members.get(backend_id)
        if member is not None:
            member.last_error = text

    def publish(self) -> FleetSnapshot:
        """Swap in a new snapshot and return it."""
        figures = self._quality_views()
        views = tuple(_view(member, figures.get(member.backend.id)) for member in self._members.values())
        serving: dict[str, list[BackendView]] = {}
        for view in views:
            for name in view.models:
                serving.setdefault(name, []).append(view)
        by_model = {name: tuple(serves) for name, serves in serving.items()}
        self._version += 1
        self.snapshot = FleetSnapshot(self._version, views, by_model, self._spend)
        return self.snapshot

    def _join(self, backend: Backend) -> None:
        if backend.id in self._members:
            raise ValueError(f"two backends have the id {backend.id!r}")
        self._members[backend.id] = self._fresh(backend)

    def _fresh(self, backend: Backend) -> _Member:
        member = _Member(backend, self._make_live(backend))
        self._settle_models(member)
        return member

    def _carried_over(self, known: _Member | None, backend: Backend) -> _Member:
        if known is None or not _same_upstream(known.backend, backend):
            return self._fresh(backend)
        member = _Member(backend, known.live)
        member.status = known.status
        member.last_error = known.last_error
        member.listed = known.listed
        self._settle_models(member)
        return member

    def _settle_models(self, member: _Member) -> None:
        backend = member.backend
        models = {model.id: model for model in member.listed}
        if backend.models:
            models = {name: models.get(name) or ModelInfo(name) for name in backend.models}
        priced = ((name, self._prices(backend, name)) for name in models)
        member.models = models
        member.prices = {name: price for name, price in priced if price is not None}

    def _members_changed(self) -> None:
        self.publish()
        for listener in self._on_members:
            listener()


def _view(member: _Member, figures: AgentFigures | None) -> BackendView:
    if figures is None:
        return BackendView(member.backend, member.status, member.models, member.live, prices=member.prices)
    return BackendView(
        member.backend,
        member.status,
        member.models,
        member.live,
        figures.rollup,
        figures.models,
        member.prices,
    )


def _same_upstream(one: Backend, other: Backend) -> bool:
    return (one.type, one.url, one.api_key, one.headers) == (
        other.type,
        other.url,
        other.api_key,
        other.headers,
    )

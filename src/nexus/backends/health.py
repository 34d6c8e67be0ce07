"""Regular checks of every backend, each on its own, and what live traffic adds to them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from nexus.backends.check import CheckResult, check_backend
from nexus.backends.fetch import Fetch
from nexus.backends.registry import Fleet
from nexus.core.backend import Backend, BackendType
from nexus.core.clock import Clock
from nexus.core.fleet import BackendStatus
from nexus.dialects.base import Dialect
from nexus.dialects.table import dialect_for

_LOG = logging.getLogger(__name__)
_SOON_SECONDS = 1.0
_GOLDEN_RATIO = 0.6180339887498949
_HEALTHY = BackendStatus.HEALTHY  # members of an enumeration are looked up slowly


class HealthSettings(Protocol):
    """`[health_check]`, as the configuration has it."""

    @property
    def enabled(self) -> bool:
        """Off: the models are asked for once, and every status stays unknown."""
        ...

    @property
    def interval_seconds(self) -> float:
        """Time between two checks of a backend."""
        ...

    @property
    def timeout_seconds(self) -> float:
        """Time a backend has for one answer."""
        ...

    @property
    def failure_threshold(self) -> int:
        """Failures in a row that make it unhealthy."""
        ...

    @property
    def recovery_threshold(self) -> int:
        """Successes in a row that make it healthy again."""
        ...


class HealthCounter:
    """Turns single results into a status: the first decides, later ones need a run of their kind."""

    __slots__ = ("_failure_threshold", "_recovery_threshold", "run", "status")

    def __init__(self, failure_threshold: int, recovery_threshold: int) -> None:
        self.status = BackendStatus.UNKNOWN
        self.run = 0
        """Results in a row that speak against the present status."""
        self._failure_threshold = failure_threshold
        self._recovery_threshold = recovery_threshold

    def record(self, ok: bool) -> BackendStatus:
        """Count one result and return the status that follows."""
        says = BackendStatus.HEALTHY if ok else BackendStatus.UNHEALTHY
        if says is self.status:
            self.run = 0
            return says
        self.run += 1
        needed = self._recovery_threshold if ok else self._failure_threshold
        if self.status is BackendStatus.UNKNOWN or self.run >= needed:
            self.status = says
            self.run = 0
        return self.status


class _Watched:
    """One backend under watch."""

    __slots__ = ("backend", "backoff", "checked", "counter", "stagger", "task", "warning")

    def __init__(self, backend: Backend, counter: HealthCounter, stagger: float) -> None:
        self.backend = backend
        self.counter = counter
        self.stagger = stagger
        """Factor on the next regular wait: 0.5 to 1.5 for the first, then 1."""
        self.checked = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.backoff = 0.0
        self.warning = ""

    def cancel(self) -> None:
        """End the task that checks it, if there is one."""
        if self.task is not None:
            self.task.cancel()


class HealthMonitor:
    """Keeps statuses and model lists of a fleet up to date; follows backends that come and go.

    Each backend has a task of its own, so a slow one delays no other. All are checked at once at the start;
    after that their turns are spread over the interval. A backend that live traffic found dead is checked
    again after 1 s, then after doubling waits up to the interval; a first good check of an unhealthy one is
    confirmed after 1 s.

    Args:
        fleet: where the results go.
        fetch: how to ask.
        settings: interval, deadline and thresholds.
        clock: for the waits.
        dialect: the dialect of a type of backend.
        warn: told, once each time it changes, why a backend that is up has no models: its id and a sentence.
    """

    def __init__(
        self,
        fleet: Fleet,
        fetch: Fetch,
        settings: HealthSettings,
        clock: Clock,
        *,
        dialect: Callable[[BackendType], Dialect] = dialect_for,
        warn: Callable[[str, str], None] | None = None,
    ) -> None:
        self._fleet = fleet
        self._fetch = fetch
        self._settings = settings
        self._clock = clock
        self._dialect = dialect
        self._warn = warn or _log_warning
        self._watched: dict[str, _Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._running = False
        fleet.on_members(self._follow)

    def start(self) -> None:
        """Begin; the first check of every backend runs at once. Needs a running event loop."""
        self._running = True
        self._follow()

    async def stop(self) -> None:
        """End all checks, those under way included."""
        self._running = False
        for watched in self._watched.values():
            watched.checked.set()
        self._watched.clear()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def first_checks(self) -> None:
        """Return once every backend known now has been checked (or is gone)."""
        for watched in tuple(self._watched.values()):
            await watched.checked.wait()

    def evidence(self, backend_id: str, ok: bool, reason: str = "") -> None:
        """Count what live traffic met: False for a connection that failed, True for any answer.

        Cheap while all is well, and synchronous: a status that changes is published before this returns.
        """
        watched = self._watched.get(backend_id)
        if watched is None or not self._settings.enabled:
            return
        counter = watched.counter
        if ok and not counter.run and counter.status is _HEALTHY:
            return
        before = counter.status
        reason = reason or "live requests can't connect to it"
        if not ok:
            self._fleet.set_error(backend_id, reason)
        self._count_result(watched, ok, reason)
        if counter.status is BackendStatus.UNHEALTHY and before is not BackendStatus.UNHEALTHY:
            watched.backoff = _SOON_SECONDS
            self._watch(watched, self._pause(watched))

    def _follow(self) -> None:
        """Watch exactly the fleet's backends."""
        if not self._running:
            return
        present = {backend.id: backend for backend in self._fleet.backends}
        for watched in tuple(self._watched.values()):
            backend = present.get(watched.backend.id)
            if backend is not None and self._is_same(watched, backend):
                watched.backend = backend
            else:
                self._drop(watched)
        for backend_id, backend in present.items():
            if backend_id not in self._watched:
                self._watched[backend_id] = watched = self._new(backend)
                self._watch(watched, 0.0)

    def _is_same(self, watched: _Watched, backend: Backend) -> bool:
        # The fleet starts a backend anew, with unknown status, when it is another upstream now.
        status = self._fleet.status(backend.id)
        return status is watched.counter.status and (
            status is not BackendStatus.UNKNOWN or watched.backend == backend
        )

    def _new(self, backend: Backend) -> _Watched:
        counter = HealthCounter(self._settings.failure_threshold, self._settings.recovery_threshold)
        # Multiples of the golden ratio spread evenly over the interval, however many there will be.
        self._count += 1
        return _Watched(backend, counter, 0.5 + self._count * _GOLDEN_RATIO % 1)

    def _drop(self, watched: _Watched) -> None:
        del self._watched[watched.backend.id]
        watched.checked.set()
        watched.cancel()

    def _watch(self, watched: _Watched, delay: float) -> None:
        watched.cancel()
        task = asyncio.create_task(self._check_for_ever(watched, delay), name=f"health {watched.backend.id}")
        watched.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check_for_ever(self, watched: _Watched, delay: float) -> None:
        while True:
            if delay:
                await self._clock.sleep_async(delay)
            result = await self._check(watched)
            self._take_in(watched, result)
            if not self._settings.enabled and (watched.backend.models or result.models is not None):
                return
            delay = self._pause(watched)

    async def _check(self, watched: _Watched) -> CheckResult:
        backend = watched.backend
        try:
            dialect = self._dialect(backend.type)
            return await check_backend(backend, dialect, self._fetch, self._settings.timeout_seconds)
        except Exception as error:  # noqa: BLE001 - a fault in one check must not end all later ones
            _LOG.exception("the check of backend %s broke", backend.id)
            return CheckResult(ok=False, reason=f"the check itself broke: {error!r}")

    def _take_in(self, watched: _Watched, result: CheckResult) -> None:
        backend_id = watched.backend.id
        self._fleet.set_error(backend_id, result.reason or result.warning)
        if result.models is not None:
            self._fleet.set_models(backend_id, result.models)
        if self._settings.enabled:
            self._count_result(watched, result.ok, result.reason)
        if result.warning and result.warning != watched.warning:
            self._warn(backend_id, result.warning)
        watched.warning = result.warning
        watched.checked.set()

    def _count_result(self, watched: _Watched, ok: bool, reason: str) -> None:
        status = watched.counter.record(ok)
        self._fleet.set_status(watched.backend.id, status, "" if ok else reason)

    def _pause(self, watched: _Watched) -> float:
        """Seconds until the next check."""
        interval = self._settings.interval_seconds
        counter = watched.counter
        if counter.status is BackendStatus.UNHEALTHY and counter.run:
            return min(_SOON_SECONDS, interval)
        if counter.status is not BackendStatus.UNHEALTHY or watched.backoff >= interval:
            watched.backoff = 0.0
        if watched.backoff:
            pause = watched.backoff
            watched.backoff *= 2
            return pause
        pause = interval * watched.stagger
        watched.stagger = 1.0
        return pause


def _log_warning(backend_id: str, text: str) -> None:
    _LOG.warning("backend %s: %s", backend_id, text)

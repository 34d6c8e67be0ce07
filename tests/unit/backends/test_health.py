"""The monitor in virtual time, against real sockets."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator

import pytest
from msgspec import Struct, structs

from nexus.backends.fetch import FetchResult
from nexus.backends.health import HealthCounter, HealthMonitor
from nexus.backends.registry import Fleet, StatusChange
from nexus.core.backend import Backend
from nexus.core.fleet import BackendStatus
from nexus.core.live import SpendMeter
from nexus.testing import ManualClock
from tests.unit.backends.canned_upstream import CannedServer, fetch, models_body, until

LIST = "/v1/models"
UP = (200, models_body("m"))
DOWN = (500, b"")
HEALTHY, UNHEALTHY, UNKNOWN = BackendStatus.HEALTHY, BackendStatus.UNHEALTHY, BackendStatus.UNKNOWN


class Settings(Struct, frozen=True):
    """`[health_check]` with its defaults."""

    enabled: bool = True
    interval_seconds: float = 30.0
    timeout_seconds: float = 5.0
    failure_threshold: int = 3
    recovery_threshold: int = 2


class Watch:
    """A fleet, its monitor and their virtual time."""

    def __init__(self, *backends: Backend, settings: Settings | None = None) -> None:
        self.clock = ManualClock(auto=False)
        self.fleet = Fleet(backends, quality_views=dict, prices=lambda *_: None, spend=SpendMeter())
        self.changes: list[StatusChange] = []
        self.warnings: list[tuple[str, str]] = []
        self.fleet.on_change(self.changes.append)
        self.monitor = HealthMonitor(
            self.fleet,
            fetch,
            settings or Settings(),
            self.clock,
            warn=lambda backend_id, text: self.warnings.append((backend_id, text)),
        )

    async def pause(self) -> float:
        """Wait until every backend sleeps until its next check; the seconds of the last sleep asked for."""
        await until(lambda: self.clock.waiting == len(self.fleet.backends))
        return self.clock.sleeps[-1]

    async def next_check(self) -> float:
        """Let the one backend's pause go by and its check end; the seconds of that pause."""
        await self.pause()
        return await self.advance()

    async def advance(self) -> float:
        """Let the last sleep asked for go by, until another one is asked for; the seconds of the first."""
        asked = len(self.clock.sleeps)
        seconds = self.clock.sleeps[-1]
        self.clock.advance(seconds)
        await until(lambda: len(self.clock.sleeps) > asked)
        return seconds


@contextlib.asynccontextmanager
async def watching(*backends: Backend, settings: Settings | None = None) -> AsyncIterator[Watch]:
    """A monitor that has made its first checks."""
    watch = Watch(*backends, settings=settings)
    watch.monitor.start()
    await watch.monitor.first_checks()
    try:
        yield watch
    finally:
        await watch.monitor.stop()


@contextlib.asynccontextmanager
async def one_server(settings: Settings | None = None) -> AsyncIterator[tuple[CannedServer, Watch]]:
    """A backend that is up, and its monitor."""
    async with CannedServer({LIST: UP}) as server, watching(_backend(server), settings=settings) as watch:
        yield server, watch


def _backend(server: CannedServer, backend_id: str = "b") -> Backend:
    return Backend(backend_id, backend_id.upper(), server.url)


@pytest.mark.parametrize("ok", [True, False])
def test_the_first_result_decides_from_unknown(ok: bool) -> None:
    """There is no earlier state to defend."""
    assert HealthCounter(3, 2).record(ok) is (HEALTHY if ok else UNHEALTHY)


def test_a_status_changes_only_after_a_run_of_results() -> None:
    """Three failures in a row for the worse, two successes in a row for the better."""
    counter = HealthCounter(3, 2)
    results = [True, False, False, True, False, False, False, True, False, True, True]
    statuses = [counter.record(ok) for ok in results]
    assert statuses == [HEALTHY] * 6 + [UNHEALTHY] * 4 + [HEALTHY]


async def test_the_first_check_runs_at_once() -> None:
    """Status and models are there before any time has passed."""
    async with one_server() as (_, watch):
        view = watch.fleet.snapshot.backends[0]
        assert (view.status, tuple(view.models)) == (HEALTHY, ("m",))
        assert watch.clock.monotonic() == 0


async def test_checks_go_on_at_the_interval() -> None:
    """After a first wait of half to one and a half intervals, every wait is one interval."""
    async with one_server() as (server, watch):
        waits = [await watch.next_check() for _ in range(4)]
        assert 15 <= waits[0] <= 45
        assert waits[1:] == [30, 30, 30]
        assert server.requests == [LIST] * 5


async def test_backends_take_turns() -> None:
    """Their second checks are spread over the interval instead of coming all at once."""
    async with CannedServer({LIST: UP}) as server:
        backends = [_backend(server, f"b{n}") for n in range(20)]
        async with watching(*backends) as watch:
            await watch.pause()
            waits = sorted(watch.clock.sleeps)
            gaps = [later - earlier for earlier, later in itertools.pairwise(waits)]
            assert len(waits) == 20
            assert 15 <= waits[0] < waits[-1] <= 45
            assert max(gaps) < 3


async def test_three_failed_checks_make_it_unhealthy_and_two_good_ones_healthy() -> None:
    """The models stay known, so requests get a reason instead of an unknown model."""
    async with one_server() as (server, watch):
        server.answers[LIST] = DOWN
        statuses = []
        for _ in range(3):
            await watch.next_check()
            statuses.append(watch.fleet.status("b"))
        assert statuses == [HEALTHY, HEALTHY, UNHEALTHY]
        assert tuple(watch.fleet.snapshot.by_model) == ("m",)
        assert watch.fleet.last_error("b") == "it answered 500 to /v1/models"

        server.answers[LIST] = UP
        assert await watch.next_check() == 30
        assert watch.fleet.status("b") is UNHEALTHY
        assert await watch.next_check() == 1, "a first good check is confirmed soon"
        assert watch.fleet.status("b") is HEALTHY
        assert watch.fleet.last_error("b") == ""
    changes = [(change.old, change.new, change.reason) for change in watch.changes]
    assert changes == [
        (UNKNOWN, HEALTHY, ""),
        (HEALTHY, UNHEALTHY, "it answered 500 to /v1/models"),
        (UNHEALTHY, HEALTHY, ""),
    ]


async def test_a_backend_that_is_down_at_the_start_is_unhealthy_at_once() -> None:
    """The first check decides."""
    async with watching(Backend("b", "B", "http://127.0.0.1:9")) as watch:
        assert watch.fleet.status("b") is UNHEALTHY
        assert "no connection" in watch.fleet.last_error("b")


async def test_a_slow_backend_delays_no_other() -> None:
    """While one server never answers, the other is checked again and again."""
    async with CannedServer({LIST: UP}) as quick, CannedServer() as slow:
        slow.silent.add(LIST)
        watch = Watch(_backend(slow, "slow"), _backend(quick, "quick"))
        watch.monitor.start()
        for _ in range(3):
            await until(lambda: watch.clock.waiting == 1)
            await watch.advance()
        await until(lambda: len(quick.requests) == 4)
        assert slow.requests == [LIST]
        assert (watch.fleet.status("quick"), watch.fleet.status("slow")) == (HEALTHY, UNKNOWN)
        await watch.monitor.stop()


async def test_models_follow_what_the_backend_lists() -> None:
    """A model that was loaded or removed shows after the next check."""
    async with one_server() as (server, watch):
        server.answers[LIST] = (200, models_body("n", "o"))
        await watch.next_check()
        assert set(watch.fleet.snapshot.by_model) == {"n", "o"}


async def test_a_list_that_fails_once_keeps_the_models() -> None:
    """The old list is better than none."""
    async with one_server() as (server, watch):
        server.answers[LIST] = (404, b"")
        await watch.next_check()
        assert set(watch.fleet.snapshot.by_model) == {"m"}


async def test_a_backend_without_models_is_warned_about_once() -> None:
    """The same sentence is not repeated at every check, a new one is told, and it is kept for display."""
    async with one_server() as (server, watch):
        server.answers[LIST] = (200, models_body())
        for _ in range(3):
            await watch.next_check()
        server.answers[LIST] = (404, b"")
        await watch.next_check()
        assert watch.fleet.status("b") is HEALTHY
        assert watch.fleet.last_error("b").startswith("its models can't be listed")
    assert [backend_id for backend_id, _ in watch.warnings] == ["b", "b"]
    assert watch.warnings[0][1] == "it lists no models, so it gets no requests"


async def test_live_failures_make_it_unhealthy_between_checks() -> None:
    """Three failed connections in a row are enough, at once, without waiting for a check."""
    async with one_server() as (_, watch):
        await watch.pause()
        for ok in (False, False, True, False, False):
            watch.monitor.evidence("b", ok)
        assert watch.fleet.status("b") is HEALTHY
        watch.monitor.evidence("b", False, "connection refused")
        assert watch.fleet.snapshot.backends[0].status is UNHEALTHY
        assert watch.fleet.last_error("b") == "connection refused"
        assert watch.changes[-1].reason == "connection refused"


async def test_after_live_failures_it_is_checked_soon() -> None:
    """After 1 s, and again after 1 s when that went well: back in two seconds."""
    async with one_server() as (_, watch):
        await watch.pause()
        for _ in range(3):
            watch.monitor.evidence("b", False)
        await until(lambda: watch.clock.sleeps[-1] == 1)
        assert [await watch.next_check(), await watch.next_check()] == [1, 1]
        assert watch.fleet.status("b") is HEALTHY
        assert await watch.pause() == 30


async def test_a_backend_that_stays_down_is_asked_less_and_less() -> None:
    """The waits double up to the interval."""
    async with one_server() as (server, watch):
        await watch.next_check()
        await watch.pause()
        server.answers[LIST] = DOWN
        for _ in range(3):
            watch.monitor.evidence("b", False)
        await until(lambda: watch.clock.sleeps[-1] == 1)
        assert [await watch.next_check() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


async def test_live_successes_bring_it_back() -> None:
    """What answers requests is up, whatever the last check said."""
    async with watching(Backend("b", "B", "http://127.0.0.1:9")) as watch:
        watch.monitor.evidence("b", True)
        assert watch.fleet.status("b") is UNHEALTHY
        watch.monitor.evidence("b", True)
        assert watch.fleet.status("b") is HEALTHY


async def test_evidence_costs_nothing_while_all_is_well() -> None:
    """A success of a healthy backend publishes nothing and wakes nobody."""
    async with one_server() as (_, watch):
        await watch.pause()
        before = watch.fleet.snapshot
        watch.monitor.evidence("b", True)
        assert watch.fleet.snapshot is before
        assert len(watch.clock.sleeps) == 1


async def test_evidence_about_an_unknown_backend_is_ignored() -> None:
    """It may have been removed while a request was under way."""
    async with one_server() as (_, watch):
        watch.monitor.evidence("gone", False)
        assert len(watch.changes) == 1


async def test_a_backend_that_is_added_is_checked_at_once() -> None:
    """And one that is removed is left alone."""
    async with one_server() as (server, watch), CannedServer({LIST: UP}) as second:
        await watch.pause()
        watch.fleet.add(_backend(second, "c"))
        watch.fleet.remove("b")
        await watch.monitor.first_checks()
        assert watch.fleet.status("c") is HEALTHY
        await watch.next_check()
        assert (len(server.requests), len(second.requests)) == (1, 2)


async def test_removing_a_backend_during_its_check_ends_the_check() -> None:
    """Nobody waits for it any longer."""
    async with CannedServer() as server:
        server.silent.add(LIST)
        watch = Watch(_backend(server))
        watch.monitor.start()
        await until(lambda: server.requests == [LIST])
        waiting = asyncio.create_task(watch.monitor.first_checks())
        await asyncio.sleep(0)
        watch.fleet.remove("b")
        await asyncio.wait_for(waiting, 5)
        await watch.monitor.stop()
        assert watch.changes == []


async def test_a_reload_checks_only_what_is_another_upstream() -> None:
    """Another priority keeps its turn; another address is checked at once."""
    async with one_server() as (server, watch), CannedServer({LIST: UP}) as second:
        await watch.pause()
        backend = _backend(server)
        watch.fleet.replace_all([structs.replace(backend, priority=1)])
        await watch.pause()
        assert len(server.requests) == 1

        watch.fleet.replace_all([structs.replace(backend, url=second.url)])
        await watch.monitor.first_checks()
        assert (server.requests, second.requests) == ([LIST], [LIST])
        assert watch.fleet.status("b") is HEALTHY


async def test_a_reload_during_the_first_check_does_not_start_it_again() -> None:
    """An unchanged backend's check goes on."""
    async with CannedServer() as server:
        server.silent.add(LIST)
        watch = Watch(_backend(server))
        watch.monitor.start()
        await until(lambda: server.requests == [LIST])
        watch.fleet.replace_all([_backend(server), Backend("c", "C", "http://127.0.0.1:9")])
        await until(lambda: watch.fleet.status("c") is UNHEALTHY)
        assert server.requests == [LIST]
        await watch.monitor.stop()


async def test_switched_off_it_only_asks_for_models() -> None:
    """Statuses stay unknown, evidence counts for nothing, and one list is enough."""
    off = Settings(enabled=False)
    async with CannedServer({LIST: DOWN}) as server, watching(_backend(server), settings=off) as watch:
        await watch.next_check()
        server.answers[LIST] = UP
        seconds = await watch.pause()
        watch.clock.advance(seconds)
        await until(lambda: "m" in watch.fleet.snapshot.by_model)
        watch.monitor.evidence("b", False)
        await until(lambda: not watch.monitor._tasks)
        assert watch.fleet.status("b") is UNKNOWN
        assert watch.clock.waiting == 0


async def test_a_fault_of_our_own_is_a_failed_check_and_not_the_last_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The task goes on, the log has the trace, and the display says so."""
    calls = 0

    async def broken(_url: str, _headers: tuple[tuple[str, str], ...], _seconds: float) -> FetchResult:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError("ours")

    watch = Watch(Backend("b", "B", "http://127.0.0.1:9"))
    watch.monitor = HealthMonitor(watch.fleet, broken, Settings(), watch.clock)
    watch.monitor.start()
    await watch.next_check()
    await watch.monitor.stop()
    assert calls == 2
    assert "ZeroDivisionError('ours')" in watch.fleet.last_error("b")
    assert "the check of backend b broke" in caplog.text


async def test_without_a_listener_warnings_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """One line with the backend's id."""
    async with CannedServer({LIST: (200, models_body())}) as server:
        watch = Watch(_backend(server))
        monitor = HealthMonitor(watch.fleet, fetch, Settings(), watch.clock)
        with caplog.at_level(logging.WARNING):
            monitor.start()
            await monitor.first_checks()
        await monitor.stop()
    assert "backend b: it lists no models" in caplog.text


async def test_stopping_leaves_nothing_behind() -> None:
    """No task survives, and later changes of the fleet start none."""
    async with one_server() as (server, watch):
        await watch.monitor.stop()
        watch.fleet.add(_backend(server, "c"))
        assert watch.clock.waiting == 0
        assert not watch.monitor._tasks
        assert len(server.requests) == 1

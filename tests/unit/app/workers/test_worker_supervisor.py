"""The supervisor with workers that do little, and some of it wrong."""

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nexus.app.workers import supervisor as module
from nexus.app.workers.supervisor import StartError, Supervisor
from nexus.config.load import Asked, LoadedConfig, load_config
from nexus.core.clock import SystemClock

SECONDS = 30.0


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Makes a supervisor of two fake workers that play the given role."""
    monkeypatch.setattr(module, "_WORKER_MODULE", "tests.unit.app.workers.fake_worker")
    monkeypatch.setattr(module, "_BEYOND_GRACE_SECONDS", 0.2)

    def loaded(role: str) -> LoadedConfig:
        found = load_config(None, {}, {"--server-shutdown-grace-seconds": "0"}, tmp_path)
        return replace(found, asked=Asked(Path(f"/{role}"), {}, tmp_path))

    with tempfile.TemporaryFile() as lock:
        yield lambda role: Supervisor(loaded(role), SystemClock(), count=2, port=1, log_lock=lock.fileno())


async def until(condition: Callable[[], bool], running: Awaitable[int]) -> None:
    """Wait for a condition while a supervisor runs."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while not condition():
        assert not asyncio.ensure_future(running).done()
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("role", "reason"),
    [("refuses", "no room"), ("crashes", "ended with code 3 before it could serve")],
)
async def test_workers_that_can_not_start_end_it(make, role, reason):
    with pytest.raises(StartError, match=reason):
        await asyncio.wait_for(make(role).run(), SECONDS)


@pytest.mark.parametrize(
    ("role", "reason"), [("faulty.noise", "no message"), ("faulty.kind", "not for the supervisor")]
)
async def test_a_worker_that_makes_no_sense_is_replaced(make, caplog, role, reason):
    """The third worker takes its place; then all end with code 0."""
    caplog.set_level(logging.INFO, "nexus.app.workers")
    supervisor = make(role)
    running = asyncio.ensure_future(supervisor.run())
    await until(lambda: "worker 3 serves" in caplog.text, running)
    assert reason in caplog.text
    assert "worker 1 (process" in caplog.text
    assert len(supervisor._hub) == 2
    supervisor.stop()
    assert await asyncio.wait_for(running, SECONDS) == 0


async def test_workers_that_do_not_end_in_time_are_ended(make, caplog):
    """They get the grace time and a little more; the exit code says that it did not go well."""
    caplog.set_level(logging.INFO, "nexus.app.workers")
    supervisor = make("stubborn")
    running = asyncio.ensure_future(supervisor.run())
    await until(lambda: caplog.text.count(" serves ") == 2, running)
    supervisor.stop()
    supervisor.stop()
    assert await asyncio.wait_for(running, SECONDS) == 1
    assert caplog.text.count("did not end in time") == 2
    supervisor.give_up_on(1, "is long gone")

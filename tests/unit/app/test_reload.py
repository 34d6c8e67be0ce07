"""When the configuration is read again, and what happens to one with mistakes."""

import os
from pathlib import Path

import pytest

from nexus.app.reload import Reloader, stamp_of
from nexus.config.errors import ConfigError, Problem
from nexus.config.load import load_config
from nexus.config.model import Config
from nexus.core.errors import NexusError

GOOD = "[retry]\nmax_retries = 1\n"


class Running:
    """Holds what was applied; refuses if told to."""

    def __init__(self) -> None:
        self.applied: list[Config] = []
        self.refusal: NexusError | None = None

    async def apply(self, config: Config) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.applied.append(config)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nexus.toml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def running() -> Running:
    return Running()


@pytest.fixture
def reloader(file: Path, running: Running) -> Reloader:
    return Reloader(load_config(file, {}, {}, file.parent), running.apply)


def write(file: Path, text: str) -> None:
    """With a time of its own: two writes may fall into one tick of the file system's clock."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))


async def test_nothing_happens_while_the_file_stays(reloader, running):
    for _ in range(3):
        await reloader.tick()
    assert running.applied == []


async def test_a_changed_file_is_read_once_it_has_settled(reloader, running, file):
    """A file that is still being written is left alone for a moment."""
    write(file, "[retry]\nmax_ret")
    await reloader.tick()
    write(file, "[retry]\nmax_retries = 4\n")
    await reloader.tick()
    assert running.applied == []
    await reloader.tick()
    await reloader.tick()
    assert [config.retry.max_retries for config in running.applied] == [4]


async def test_a_request_reads_it_again_without_a_change(reloader, running):
    reloader.request()
    await reloader.tick()
    await reloader.tick()
    assert len(running.applied) == 1


async def test_a_file_with_mistakes_is_refused_whole_and_every_mistake_is_logged(
    reloader, running, file, caplog
):
    write(file, "[retry]\nmax_retries = -1\nno_such_key = 2\n")
    await reloader.tick()
    await reloader.tick()
    assert running.applied == []
    text = caplog.text
    assert "nexus.toml:2" in text
    assert "nexus.toml:3" in text
    assert "the running one stays" in text
    write(file, GOOD)
    await reloader.tick()
    await reloader.tick()
    assert len(running.applied) == 1


@pytest.mark.parametrize(
    "refusal", [NexusError("that can't be spoken"), ConfigError((Problem("backend b", "no key"),))]
)
async def test_what_can_not_be_applied_is_said(reloader, running, caplog, refusal):
    running.refusal = refusal
    reloader.request()
    await reloader.tick()
    assert "the configuration was not changed" in caplog.text
    assert str(refusal).rpartition(": ")[2] in caplog.text


async def test_what_needs_a_restart_is_said_and_the_rest_is_applied(reloader, running, file, caplog):
    write(file, "[server]\nmax_body_bytes = 99\n[retry]\nmax_retries = 5\n")
    reloader.request()
    await reloader.tick()
    assert running.applied[0].retry.max_retries == 5
    assert "a restart is needed for the new value of: server.max_body_bytes" in caplog.text


async def test_a_file_that_is_gone_changes_nothing_until_somebody_asks(reloader, running, file, caplog):
    file.unlink()
    for _ in range(3):
        await reloader.tick()
    assert caplog.text == ""
    reloader.request()
    await reloader.tick()
    assert "the configuration was not changed" in caplog.text
    assert running.applied == []


async def test_without_a_file_a_request_reads_the_rest_again(running, tmp_path):
    reloader = Reloader(load_config(None, {}, {}, tmp_path), running.apply)
    await reloader.tick()
    assert running.applied == []
    reloader.request()
    await reloader.tick()
    assert len(running.applied) == 1
    assert stamp_of(None) is None

"""Start a program on one core, wait until it answers, read the processor time it used, and end it."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from msgspec import Struct

PROXY_CORE = 0
LOAD_CORE = 1
READY_SECONDS = 60.0
_REST_SECONDS = 30.0
_IDLE_PAUSE_SECONDS = 0.4
_IDLE_SHARE = 0.05
_TICK = os.sysconf("SC_CLK_TCK")


class NotReadyError(Exception):
    """A program ended or did not answer in time; the message says which and shows its last words."""


class UnavailableError(Exception):
    """A subject cannot be measured here; the message is the reason its row shows."""


class Running(Struct, frozen=True):
    """A program that answers at `url`; its output goes to `log`. `headers` go with every request to it."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    headers: tuple[tuple[str, str], ...] = ()

    def cpu_seconds(self) -> float:
        """Processor time used so far by the program and its children (everything in its session)."""
        return sum(_ticks(entry, self.process.pid) for entry in Path("/proc").glob("[0-9]*")) / _TICK

    def wait_until_idle(self) -> None:
        """Wait until it has done what the last load left it, at most half a minute.

        A slow one goes on with requests whose clients have left, on the core where the next is measured.
        """
        deadline = time.monotonic() + _REST_SECONDS
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(_IDLE_PAUSE_SECONDS)
            if self.cpu_seconds() - before <= _IDLE_SHARE * _IDLE_PAUSE_SECONDS:
                return

    def stop(self) -> None:
        """End it and its children, kindly first."""
        for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if self.process.poll() is not None:
                break
            os.killpg(self.process.pid, sign)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


class Subject(Struct, frozen=True):
    """One row of the table. `start(folder, upstream url, tag)` runs it in front of a mock.

    `least_seconds` is for the slow: a shorter run ends before the first answers.
    """

    name: str
    note: str
    start: Callable[[Path, str, str], Running]
    least_seconds: float = 0.0


def _ticks(entry: Path, session: int) -> int:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended since the folder was listed
        return 0
    return int(fields[11]) + int(fields[12]) if int(fields[3]) == session else 0


def memory_mb(pid: int, kind: str) -> float:
    """Memory of a process: `VmRSS`, all that is in memory, or `RssAnon`, without the pages of files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith(f"{kind}:")]
    return int(value) / 1024


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def start(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    core: int | str,
    log: Path,
    ready: str = "/v1/models",
    environ: Mapping[str, str] | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Running:
    """Run `command` on `core` (or several, as taskset takes them); return once `ready` answers 200 on `port`.

    Raises:
        NotReadyError: it ended, or did not answer within a minute.
    """
    pinned = ["taskset", "--cpu-list", str(core), *command]
    with log.open("wb") as output:
        process = _spawn(pinned, output, environ)
    running = Running(name, f"http://127.0.0.1:{port}", process, log, headers)
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(running.url + ready):
        if process.poll() is not None or time.monotonic() > deadline:
            running.stop()
            raise NotReadyError(f"{name} did not start: {last_words(log)}")
        time.sleep(0.1)
    return running


def _spawn(
    command: Sequence[str], output: IO[bytes], environ: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environ,
    )


def last_words(log: Path) -> str:
    """The last line a program wrote that is not empty, shortened."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:160] if lines else "it wrote nothing"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False

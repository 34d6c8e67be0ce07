"""A real gateway as a child process, for tests and the demo."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nexus.core.errors import NexusError

START_SECONDS = 30.0
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_OK = 200
_SHOWN_BYTES = 4000
_CONFIGURING = ("NEXUS_", "LLM_", "RATE_LIMIT_")
_ALSO_CONFIGURING = frozenset({"LOG_LEVEL", "MAX_RETRIES", "INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"})


class GatewayProcessError(NexusError):
    """The gateway did not start, or did not end well; the message has the last lines it wrote."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _plain_environment() -> dict[str, str]:
    """This process's environment without what would configure a gateway."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_CONFIGURING) and name not in _ALSO_CONFIGURING
    }


class GatewayProcess:
    """`nexus serve` with the configuration in `toml`, on a free port of 127.0.0.1, in a process of its own.

    As a context manager it is live inside the block; at its end it gets SIGTERM and must exit with code 0,
    unless the block raised or ended the process itself. It also ends when this process is gone. `env` adds
    variables. Its data directory is a temporary one.
    """

    def __init__(self, toml: str, *, env: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.toml = toml
        self._env = dict(env or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.stdout = ""
        self.stderr = ""

    @property
    def url(self) -> str:
        """The origin, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The gateway's process id.

        Raises:
            GatewayProcessError: it has not been started.
        """
        if self._child is None:
            raise GatewayProcessError("the gateway has not been started; call start() first")
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self, timeout: float = START_SECONDS) -> None:
        """Return once `/health/live` answers.

        Raises:
            GatewayProcessError: it ended, or `timeout` seconds passed, before that.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="nexus-gateway-")
        folder = Path(self._folder.name)
        (folder / "nexus.toml").write_text(self.toml, encoding="utf-8")
        command = [sys.executable, "-m", "nexus.testing.tethered", "nexus.cli.main", "serve"]
        command += ["--config", str(folder / "nexus.toml"), "--host", "127.0.0.1", "--port", str(self.port)]
        env = {**_plain_environment(), "NEXUS_DATA_DIR": str(folder / "data"), **self._env}
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            # The command line is ours; the session of its own keeps a terminal's Ctrl-C from it.
            self._child = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, env=env, start_new_session=True
            )
        deadline = time.monotonic() + timeout
        while self._status("/health/live") != _OK:
            if self._child.poll() is not None:
                raise GatewayProcessError(f"the gateway ended with code {self.returncode}{self._said()}")
            if time.monotonic() > deadline:
                raise GatewayProcessError(f"the gateway was not live after {timeout:g} s{self._said()}")
            time.sleep(_POLL_SECONDS)

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Return once `/health/ready` says that a backend is usable.

        Raises:
            GatewayProcessError: none was within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while self._status("/health/ready") != _OK:
            if time.monotonic() > deadline:
                raise GatewayProcessError(f"no backend was usable after {timeout:g} s{self._said()}")
            time.sleep(_POLL_SECONDS)

    def wait_for(
        self, condition: Callable[[dict[str, Any]], object], timeout: float = START_SECONDS
    ) -> dict[str, Any]:
        """The first `/v1/stats` for which `condition` is true; it is asked again every 50 ms.

        Raises:
            GatewayProcessError: none was within `timeout` seconds; the message has the last one.
        """
        deadline = time.monotonic() + timeout
        while True:
            stats: dict[str, Any] = self.get("/v1/stats")
            if condition(stats):
                return stats
            if time.monotonic() > deadline:
                raise GatewayProcessError(f"not within {timeout:g} s; the last figures: {json.dumps(stats)}")
            time.sleep(_POLL_SECONDS)

    def wait_for_models(self, names: set[str], timeout: float = START_SECONDS) -> None:
        """Return once some backend serves each of these models; raises as `wait_for` does."""
        self.wait_for(lambda stats: names <= {m for b in stats["backends"] for m in b["models"]}, timeout)

    def get(self, path: str) -> Any:
        """The decoded JSON behind a path, whatever its status.

        Raises:
            GatewayProcessError: the gateway does not answer.
            ValueError: the answer is not JSON.
        """
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """The text behind a path, whatever its status.

        Raises:
            GatewayProcessError: the gateway does not answer.
        """
        try:
            return self._fetch(path)[1]
        except (OSError, http.client.HTTPException) as error:
            raise GatewayProcessError(f"the gateway does not answer: {error}{self._said()}") from error

    def configure(self, toml: str, *, hang_up: bool = False) -> None:
        """Write another configuration file. The gateway takes it in by itself, or at once on `hang_up`.

        Raises:
            GatewayProcessError: it does not run.
        """
        if self._folder is None:
            raise GatewayProcessError("the gateway has not been started; call start() first")
        self.toml = toml
        (Path(self._folder.name) / "nexus.toml").write_text(toml, encoding="utf-8")
        if hang_up:
            os.kill(self.pid, signal.SIGHUP)

    def wait_ended(self, timeout: float = STOP_SECONDS) -> int:
        """The exit code, once it has ended by itself or by a signal that somebody sent.

        Raises:
            GatewayProcessError: it still runs after `timeout` seconds.
        """
        if self._child is None:
            raise GatewayProcessError("the gateway has not been started; call start() first")
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise GatewayProcessError(f"the gateway still runs after {timeout:g} s{self._said()}") from None

    def stop(self) -> int:
        """SIGTERM, wait, and return the exit code; what it wrote is then in `stdout` and `stderr`."""
        child = self._child
        if child is None:
            return 0
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            code = child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        if child.stdin is not None:
            child.stdin.close()
        self.read_output()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        return code

    def kill(self) -> None:
        """End it with SIGKILL, and wait for the process to be gone."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self.returncode is not None
        code = self.stop()
        if error is None and code != 0 and not ended:
            raise GatewayProcessError(f"the gateway ended with code {code}{self._said()}")

    def _status(self, path: str) -> int:
        try:
            return self._fetch(path)[0]
        except (OSError, http.client.HTTPException):
            return 0

    def _fetch(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path, headers=self._authorization())
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def _authorization(self) -> dict[str, str]:
        keys = self._env.get("NEXUS_API_KEYS", "")
        return {"Authorization": f"Bearer {keys.split(',')[0]}"} if keys else {}

    def read_output(self) -> None:
        """Take over what it has written so far into `stdout` and `stderr`."""
        if self._folder is not None:
            folder = Path(self._folder.name)
            self.stdout = (folder / "stdout").read_text(encoding="utf-8", errors="replace")
            self.stderr = (folder / "stderr").read_text(encoding="utf-8", errors="replace")

    def _said(self) -> str:
        self.read_output()
        text = (self.stdout + self.stderr).strip()
        return f": {text[-_SHOWN_BYTES:]}" if text else ""

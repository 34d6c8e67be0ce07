"""A real llama.cpp server as a child process, to be killed and restarted like any other."""

import json
import select
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

from nexus.core.errors import NexusError
from nexus.testing.weights import find_weights

START_SECONDS = 60.0
STOP_SECONDS = 5.0
_SHOWN_BYTES = 2000


class LlamaServerError(NexusError):
    """The server did not come up; the message has the last lines it wrote."""


class LlamaServer:
    """SmolLM2-135M behind llama.cpp's own HTTP server, on 127.0.0.1, one computing thread, two slots.

    As a context manager it is ready inside the block and gone after it; it also ends when this process ends,
    however that happens. `port` 0 takes any free port and keeps it over restarts. A start takes about a
    second. With `noise` the same model draws its tokens at random unless a request says otherwise: it answers
    as fast and as willingly, and nothing it says makes sense.
    """

    def __init__(
        self, port: int = 0, *, embeddings: bool = False, alias: str = "smollm2", noise: bool = False
    ) -> None:
        self.port = port
        self.alias = alias
        self.embeddings = embeddings
        self.noise = noise
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """The origin, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The child's process id.

        Raises:
            LlamaServerError: it has not been started.
        """
        if self._child is None:
            raise LlamaServerError("the llama.cpp server has not been started; call start() first")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    def launch(self) -> None:
        """Start the child and return at once; `wait_ready` says when it serves.

        Raises:
            ModelUnavailableError: the engine or the weights are not installed.
        """
        find_weights()
        self._forget()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _forget, with the child it belongs to
        command = [sys.executable, "-m", "nexus.testing.llama_server", "--die-with-stdin"]
        command += ["--port", str(self.port), "--alias", self.alias]
        if self.embeddings:
            command.append("--embeddings")
        if self.noise:
            command.append("--noise")
        # Nothing of the caller's goes in but a literal, a number and a model name, and no shell is involved.
        self._child = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Return once the model is loaded and the port answers.

        Raises:
            LlamaServerError: the child ended, or `timeout` seconds passed, before that.
        """
        child = self._child
        if child is None or child.stdout is None:
            raise LlamaServerError("the llama.cpp server has not been started; call start() first")
        deadline = time.monotonic() + timeout
        readable, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise LlamaServerError(f"the llama.cpp server was not ready after {timeout:g} s{self._said()}")
        line = child.stdout.readline()
        if not line:
            status = child.wait()
            raise LlamaServerError(
                f"the llama.cpp server ended with status {status} before it was ready{self._said()}"
            )
        self.port = urlsplit(json.loads(line)["url"]).port or self.port

    def start(self, timeout: float = START_SECONDS) -> None:
        """`launch` and `wait_ready`."""
        self.launch()
        self.wait_ready(timeout)

    def kill(self) -> None:
        """Kill -9, and wait for the process to be gone; nothing happens when it already is."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def restart(self, timeout: float = START_SECONDS) -> None:
        """Kill what still runs and serve again on the same port."""
        self.kill()
        self.start(timeout)

    def stop(self) -> None:
        """End the child, gently first, and release what belongs to it."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._forget()

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
        self.stop()

    def _said(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", "replace").strip()
        return f": {text[-_SHOWN_BYTES:]}" if text else ""

    def _forget(self) -> None:
        child, errors = self._child, self._errors
        self._child = self._errors = None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
            child.wait()
        if errors is not None:
            errors.close()

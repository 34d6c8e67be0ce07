"""What the command line's tests share: an empty place to run in, and a stand-in for somebody's gateway."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nexus.cli.main import main


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Seen(NamedTuple):
    """A request that the stand-in got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class StandIn:
    """An HTTP server on a real socket that gives canned answers and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.seen: list[Seen] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                stand_in.seen.append(Seen(self.command, self.path, self.headers, self.rfile.read(length)))  # type: ignore[arg-type]
                status, body = stand_in.answers[self.path]
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - the name is the base class's

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, path: str, data: Any, status: int = 200) -> str:
        text = data if isinstance(data, str) else json.dumps(data)
        self.answers[path] = (status, text.encode())
        return text

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A running stand-in that the verbs find through NEXUS_URL."""
    server = StandIn()
    monkeypatch.setenv("NEXUS_URL", server.url)
    yield server
    server.close()


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Runs `nexus` with arguments in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NEXUS_CONFIG", "NEXUS_DATA_DIR", "NEXUS_API_KEY", "XDG_DATA_HOME", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)

    def runner(*arguments: str) -> Ran:
        code = main(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return runner

"""Runs the ASGI control plane behind the same connections as the inference paths.

Requests to it are small and rare: each is read whole, runs as a task, and its answer is collected whole.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp

from nexus.proxy.headers import header_text
from nexus.server.edge import ClientConnection, EdgeContext, Incoming

_log = logging.getLogger("nexus.server")


class AsgiBridge:
    """A `Handler` that answers with an ASGI application.

    `first` is called before each request is handed to it.
    """

    def __init__(self, app: ASGIApp, first: Callable[[], None]) -> None:
        self._app = app
        self._first = first
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, context: EdgeContext, connection: ClientConnection, incoming: Incoming) -> None:
        """Run the application for one request."""
        run = _Run(context, connection, incoming)
        task = asyncio.get_running_loop().create_task(self._answer(context, run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        run.task = task
        connection.serve_with(run)

    async def _answer(self, context: EdgeContext, run: "_Run") -> None:
        try:
            self._first()
            await self._app(run.scope(), run.receive, run.send)
        except Exception:  # noqa: BLE001  # reason: the edge of the program: whatever it was, the client gets an answer
            _log.exception("the control plane failed to answer %s", run.incoming.head.path.decode("latin-1"))
            if not run.answered:
                context.refuse_for_fault(run.connection)


class _Run:
    """One request through the application: scope, receive and send. Also the connection's `Upflow`."""

    def __init__(self, context: EdgeContext, connection: ClientConnection, incoming: Incoming) -> None:
        self.connection = connection
        self._trace_id = context.trace_ids.next()
        self._clock = context.clock
        self.incoming = incoming
        self.task: asyncio.Task[None] | None = None
        self.answered = False
        self._given = False
        self._status = 200
        self._headers = b""
        self._body: list[bytes] = []

    def scope(self) -> MutableMapping[str, Any]:
        """The ASGI connection scope."""
        incoming = self.incoming
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": incoming.head.version,
            "method": incoming.head.method.decode("latin-1"),
            "scheme": "http",
            "path": unquote(incoming.head.path.decode("latin-1")),
            "raw_path": incoming.head.path,
            "query_string": incoming.head.query,
            "root_path": "",
            "headers": incoming.head.headers,
            "client": (self.connection.client, 0),
            "server": None,
            "state": {"trace_id": self._trace_id},
        }

    async def receive(self) -> MutableMapping[str, Any]:
        """The whole body at once; then that the client is gone."""
        if self._given:
            return {"type": "http.disconnect"}
        self._given = True
        return {"type": "http.request", "body": self.incoming.body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Collect the answer and write it when it is complete."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = b"".join(
                b"%b: %b\r\n" % (name, value)
                for name, value in message.get("headers", ())
                if name.lower() != b"content-length"
            )
            return
        self._body.append(message.get("body", b""))
        if not message.get("more_body", False):
            self.answered = True
            overhead_ms = (self._clock.monotonic() - self.incoming.received_at) * 1000.0
            own = (
                f"X-Nexus-Trace-Id: {self._trace_id}\r\nX-Request-Id: {self._request_id()}\r\n"
                f"X-Nexus-Overhead-Ms: {overhead_ms:.3f}\r\n"
            )
            headers = self._headers + own.encode("latin-1")
            self.connection.reply(self._status, headers, b"".join(self._body))

    def _request_id(self) -> str:
        given = self.incoming.head.header(b"x-request-id")
        return header_text(given.decode("latin-1")[:128]) if given else self._trace_id

    def pause(self) -> None:
        """Answers here are small: nothing to pause."""

    def resume(self) -> None:
        """Nothing was paused."""

    def client_gone(self) -> None:
        """Nobody waits for the answer any more."""
        if self.task is not None:
            self.task.cancel()

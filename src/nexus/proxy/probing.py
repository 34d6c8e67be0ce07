"""Synthetic tests of backends that are out: one-token completions that no client waits for.

A breaker's waits grow up to a minute, because each test with a live request costs a client a retry. A test of
our own costs nobody anything on a local backend, so it may be made every two seconds, and tells within
seconds that a dead server is back. Cloud backends are never tested so: it would cost money.
"""

from collections.abc import Callable

import msgspec

from nexus.core.backend import Backend
from nexus.core.clock import Clock
from nexus.core.fleet import BackendView
from nexus.core.live import Gate
from nexus.core.outcome import FailureKind
from nexus.core.request import Surface
from nexus.dialects.base import Dialect
from nexus.proxy.calling import Caller, RunningCall
from nexus.proxy.context import FleetSource
from nexus.proxy.fast_path import FastPath
from nexus.proxy.headers import ResponseHead
from nexus.proxy.inspect import inspect_answer
from nexus.proxy.target import Target

INTERVAL_SECONDS = 2.0
DEADLINE_SECONDS = 5.0
SURE_AFTER = 4
"""After so many failed tests in a row, one that works is news and ends a wait; so do as many that work. What
fails often, but not always, would otherwise be let in by the first test that happens to work. A test that got
no answer at all is as good as so many: that is no chance, so whatever works after it has come back."""
UNTESTED_SECONDS = 5.0
"""A half-open breaker that no live request has tested for so long is tested by us instead."""
_MAX_BODY_BYTES = 1024 * 1024
_OK = 200
_REDIRECT = 300


class Prober:
    """Tests what the fast path has taken out. Call `tick` a few times a second.

    Args:
        fleet: the backends.
        path: says who is out; its breakers are told what was found.
        pool: sends the tests.
        clock: time.
        dialect_for: the dialect spoken to a backend.
    """

    def __init__(
        self,
        fleet: FleetSource,
        path: FastPath,
        pool: Caller,
        clock: Clock,
        dialect_for: Callable[[Backend], Dialect],
    ) -> None:
        self._fleet = fleet
        self._path = path
        self._pool = pool
        self._clock = clock
        self._dialect_for = dialect_for
        self._watched: dict[str, _Watched] = {}

    def tick(self) -> None:
        """Begin the tests that are due, and give up those that take too long."""
        if not self._watched and not self._path.anyone_out:
            return
        now = self._clock.monotonic()
        views = {view.backend.id: view for view in self._fleet.snapshot.backends}
        for backend_id in list(self._watched):
            if backend_id not in views or not self._path.is_out(backend_id):
                self._watched.pop(backend_id).stop()
        for backend_id, view in views.items():
            if self._path.is_out(backend_id) and not view.backend.type.is_cloud:
                self._look_after(view, now)

    def _look_after(self, view: BackendView, now: float) -> None:
        watched = self._watched.get(view.backend.id)
        if watched is None:
            self._watched[view.backend.id] = _Watched(now + INTERVAL_SECONDS)
        elif watched.test is not None:
            if now >= watched.test.deadline:
                watched.test.finish(ok=False)
        elif now >= watched.due_at:
            self._begin(view, watched, now)

    def _begin(self, view: BackendView, watched: "_Watched", now: float) -> None:
        model = next((name for name, info in view.models.items() if info.embedding is not True), None)
        breaker = self._path.breaker_of(view.backend.id)
        if model is None or breaker is None:
            return
        reserved = False
        if not breaker.permits():
            watched.open_to_live_since = None
        elif watched.open_to_live_since is None:
            watched.open_to_live_since = now
        elif now - watched.open_to_live_since >= UNTESTED_SECONDS:
            reserved = breaker.allow()

        def ended(ok: bool, silent: bool) -> None:
            watched.test = None
            watched.due_at = self._clock.monotonic() + INTERVAL_SECONDS
            if reserved:
                (breaker.record_success if ok else breaker.record_failure)()
            if watched.is_news(ok, silent=silent):
                self._welcome(view, breaker, counted=reserved)

        target = Target(view.backend, self._dialect_for(view.backend))
        test = watched.test = _Test(now + DEADLINE_SECONDS, ended)
        test.call = self._pool.send(target.origin, _completion(target, model), test)

    def _welcome(self, view: BackendView, breaker: Gate, *, counted: bool) -> None:
        """It has recovered, as far as we can tell: end all its waits. This test is the first success."""
        breaker.end_wait()
        for gate in view.live.gates.values():
            gate.end_wait()
        if not counted and breaker.allow():
            breaker.record_success()


def _completion(target: Target, model: str) -> bytes:
    """A complete request for one token."""
    question = {"role": "user", "content": "Hi"}
    body = msgspec.json.encode({"model": model, "messages": [question], "max_tokens": 1, "stream": False})
    encoded = target.dialect.encode(Surface.CHAT, body, model, model)
    return target.origin.post(target.paths[Surface.CHAT], b"", encoded)


class _Watched:
    """One backend that is out: when its next test is due, and how many in a row have failed, or worked."""

    __slots__ = ("_failed", "_worked", "due_at", "open_to_live_since", "test")

    def __init__(self, due_at: float) -> None:
        self.due_at = due_at
        self._failed = 0
        self._worked = 0
        self.open_to_live_since: float | None = None
        self.test: _Test | None = None

    def is_news(self, ok: bool, *, silent: bool) -> bool:
        """Count a test, `silent` if nobody answered; True if by now the backend has likely recovered."""
        if not ok:
            self._failed += SURE_AFTER if silent else 1
            self._worked = 0
            return False
        self._worked += 1
        news = self._failed >= SURE_AFTER or self._worked >= SURE_AFTER
        self._failed = 0
        return news

    def stop(self) -> None:
        if self.test is not None:
            self.test.drop()


class _Test:
    """One completion on its way (a `CallHandler`)."""

    __slots__ = ("_body", "_ended", "_size", "_status", "call", "deadline")

    def __init__(self, deadline: float, ended: Callable[[bool, bool], None]) -> None:
        self.deadline = deadline
        self.call: RunningCall | None = None
        self._ended: Callable[[bool, bool], None] | None = ended
        self._status = 0
        self._body: list[bytes] = []
        self._size = 0

    def finish(self, *, ok: bool) -> None:
        """Tell what was found, once, and end the call."""
        ended = self._ended
        self.drop()
        if ended is not None:
            ended(ok, not self._status)

    def drop(self) -> None:
        """End the call without a word."""
        self._ended = None
        call, self.call = self.call, None  # the two refer to each other
        if call is not None:
            call.cancel()

    def on_head(self, head: ResponseHead) -> None:
        self._status = head.status

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > _MAX_BODY_BYTES:
            self.finish(ok=False)
        else:
            self._body.append(data)

    def on_read_done(self) -> None:
        pass

    def on_end(self) -> None:
        answered = _OK <= self._status < _REDIRECT
        self.finish(ok=answered and inspect_answer(Surface.CHAT, b"".join(self._body)).kind is None)

    def on_failure(self, kind: FailureKind, message: str) -> None:  # noqa: ARG002 - the interface
        self.finish(ok=False)

"""The client's half of an exchange: how answers, refusals and broken streams are written, and how it ends."""

import logging
from collections.abc import Callable
from typing import Any, Final

from nexus.core.decision import Decision
from nexus.core.errors import ErrorReply
from nexus.core.outcome import AttemptOutcome, RequestOutcome, RequestResult
from nexus.core.request import Request, Surface
from nexus.proxy import refusal
from nexus.proxy.answer_head import own_lines, routed_lines
from nexus.proxy.attempt import Attempt
from nexus.proxy.calling import RunningCall
from nexus.proxy.context import ProxyContext
from nexus.proxy.downstream import ClientHeaders, Downstream
from nexus.proxy.hedging import cancel_loser
from nexus.proxy.owner import Tried

_log: Final = logging.getLogger("nexus.proxy")
_CLIENT_ERROR: Final = 400
# Members of an enumeration are looked up slowly.
_CHAT: Final = Surface.CHAT
_SUCCESS: Final = RequestResult.SUCCESS


class Answering:
    """Writes what attempts report to the client. `Exchange` decides which attempts are made.

    `_attempt` is the running attempt and `_rival` a second one beside it (None mostly); `_attempts` are the
    outcomes so far.
    """

    __slots__ = (
        "_attempt",
        "_attempts",
        "_body",
        "_client",
        "_decision",
        "_downstream",
        "_ended",
        "_overhead_ms",
        "_path",
        "_race_from",
        "_reason",
        "_rival",
        "_status",
        "_upstream_seconds",
        "request",
        "shared",
        "total_deadline",
    )

    def __init__(  # noqa: PLR0917 - made for every request, where names cost
        self,
        shared: ProxyContext,
        request: Request,
        client: ClientHeaders,
        downstream: Downstream,
        body: bytes,
        path: str,
        ended: Callable[[Any], None],
    ) -> None:
        self.shared = shared
        self.request = request
        self.total_deadline = request.received_at + shared.timeouts.total_seconds
        self._body = body
        self._path = path
        self._client = client
        self._downstream = downstream
        self._ended = ended
        self._attempt: Attempt | None = None
        self._rival: Attempt | None = None
        self._attempts: list[AttemptOutcome] = []
        self._reason = ""
        self._status = 0
        self._upstream_seconds = 0.0
        self._race_from = 0.0
        self._overhead_ms = 0.0
        self._decision: Decision

    # --- what attempts report

    def send(self, attempt: Tried) -> RunningCall | None:
        """Send the request of an attempt upstream; None where the gateway itself failed to."""
        request, target = self.request, attempt.target
        forwarded = self._client.forwarded
        if self.shared.forward_authorization and not target.has_own_key:
            forwarded += self._client.authorization
        try:
            body = target.dialect.encode(request.surface, self._body, attempt.candidate.model, request.model)
            data = target.origin.post(target.paths[request.surface], forwarded, body)
            return self.shared.pool.send(target.origin, data, attempt)
        except Exception:  # noqa: BLE001  # reason: a fault of ours must not leave the client without an answer
            self.fault()
            return None

    def deliver(
        self,
        attempt: Tried,
        outcome: AttemptOutcome,
        relayed: bytes,
        body: bytes,
        arrived_at: float,
    ) -> None:
        """A whole answer: send it in one piece."""
        if self._rival is not None:
            self._win(attempt)
        status = outcome.status
        self._upstream_seconds += arrived_at - self._waited_since(attempt)
        head = self._head(attempt, relayed)
        self._attempts.append(outcome)
        self._downstream.reply(status, head, body)
        result = _SUCCESS if status < _CLIENT_ERROR else RequestResult.ERROR
        self._finish(status, result, outcome)

    def open_stream(self, attempt: Tried, status: int, relayed: bytes) -> None:
        """The first piece of an answer is good: from here on there is no other candidate."""
        if self._rival is not None:
            self._win(attempt)
        self._status = status
        self._upstream_seconds += self.shared.clock.monotonic() - self._waited_since(attempt)
        self._downstream.start(status, self._head(attempt, relayed))

    def pass_on(self, data: bytes) -> None:
        """A piece of the answer."""
        self._downstream.write(data)

    def end_stream(self, outcome: AttemptOutcome) -> None:
        """The streamed answer is complete."""
        self._attempts.append(outcome)
        self._downstream.end()
        self._finish(self._status, _SUCCESS, outcome)

    def break_off(self, outcome: AttemptOutcome, *, explain: bool) -> None:
        """The answer broke after its first byte. `explain` adds an error event to a stream of events."""
        self._attempts.append(outcome)
        if outcome.stream:
            if explain:
                self._downstream.write(refusal.error_event(self.request, outcome))
            self._downstream.end(close=True)
        else:
            self._downstream.abort()
        self._finish(self._status, RequestResult.ERROR, outcome)

    def fault(self) -> None:
        """The gateway itself failed on the request: say so, in the log too, and call off what runs."""
        _log.exception("answering %s failed", self._path, extra={"trace_id": self.request.trace_id})
        attempts = self._attempt, self._rival
        self._attempt = self._rival = None
        self._ended(self)
        self._downstream.fault()
        for attempt in attempts:
            if attempt is not None:
                attempt.cancel()

    # --- what the client reports

    def pause(self) -> None:
        """The client reads too slowly."""
        if self._attempt is not None:
            self._attempt.pause()

    def resume(self) -> None:
        """The client has caught up."""
        if self._attempt is not None:
            self._attempt.resume()

    # --- answering and ending

    def _win(self, winner: Tried) -> None:
        """One of the two has something to pass on: the other one is cancelled."""
        first, second = self._attempt, self._rival
        self._rival = None
        if first is None or second is None:
            return
        loser = second
        if winner is second:
            self._attempt, loser, self._reason = second, first, "hedge"
        # That it kept a client waiting for so long speaks against it, although its outcome says nothing.
        self._attempts.append(cancel_loser(loser, overdue=loser is first))

    def _waited_since(self, attempt: Tried) -> float:
        """Since when backends have been working on what this attempt answers."""
        return self._race_from or attempt.started_at

    def _head(self, attempt: Tried, relayed: bytes) -> bytes:
        candidate = attempt.candidate
        fallback = self._decision.chain_index > 0
        served_by = attempt.target.served_by(candidate.model, fallback=fallback)
        routed = routed_lines(candidate, self._reason, len(self._attempts) + 1)
        return b"".join((relayed, served_by, self._own_lines(), routed))

    def _own_lines(self) -> bytes:
        gateway = self.shared.clock.monotonic() - self.request.received_at - self._upstream_seconds
        self._overhead_ms = gateway * 1000.0 if gateway > 0.0 else 0.0
        return own_lines(self.request.trace_id, self._client, self._overhead_ms)

    def _refuse(self, reply: ErrorReply) -> None:
        headers = self._own_lines() + refusal.header_lines(reply).encode("latin-1")
        if self._attempts:
            headers += b"X-Nexus-Attempts: %d\r\n" % len(self._attempts)
        self._downstream.reply(reply.status, headers, reply.encode())
        result = RequestResult.ERROR if self._attempts else RequestResult.REJECTED
        self._finish(reply.status, result, None, reply.error.code)

    def _finish(
        self, status: int, result: RequestResult, served: AttemptOutcome | None, code: str = ""
    ) -> None:
        """The one end of every exchange."""
        shared = self.shared
        self._ended(self)
        attempt = self._attempt
        if shared.listener is not None and self.request.surface is _CHAT:
            answer = attempt.answer if attempt is not None and result is _SUCCESS else None
            shared.listener.heard(self.request, self._body, answer)
        self._attempt = None
        self._rival = None
        now = shared.clock.monotonic()
        # In the order of the record's fields: naming them would make this several times as slow.
        outcome = RequestOutcome(
            self.request,
            self._path,
            status,
            result,
            shared.clock.time(),
            (now - self.request.received_at) * 1000.0,
            self._overhead_ms,
            self._reason,
            tuple(self._attempts),
            served,
            code,
        )
        shared.recording.request(outcome, self._decision)

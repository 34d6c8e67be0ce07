"""One client request from its decision to its answer: attempts in order, failover before the first byte."""

from collections.abc import Callable

from nexus.core.decision import Candidate, Decision, Verdict
from nexus.core.errors import ErrorReply
from nexus.core.fleet import Gate
from nexus.core.outcome import AttemptOutcome, RequestOutcome, RequestResult
from nexus.core.request import Request
from nexus.proxy import refusal
from nexus.proxy.admission import admit
from nexus.proxy.attempt import Attempt
from nexus.proxy.context import ProxyContext
from nexus.proxy.downstream import ClientHeaders, Downstream
from nexus.proxy.headers import header_text, relayed_headers
from nexus.proxy.owner import Tried

_CLIENT_ERROR = 400
_CLIENT_CLOSED = 499
_FOREVER = float("inf")


class Exchange:
    """The life of one request. Reads downward: start, attempts, answer, end.

    `deadline` is the monotonic time at which `expire` is due; `ended` is called once, at the end.
    """

    __slots__ = (
        "_attempt",
        "_attempts",
        "_body",
        "_client",
        "_decision",
        "_downstream",
        "_ended",
        "_first_sent_at",
        "_path",
        "_position",
        "_reason",
        "_status",
        "_upstream_seconds",
        "request",
        "shared",
        "total_deadline",
    )

    def __init__(
        self,
        shared: ProxyContext,
        request: Request,
        client: ClientHeaders,
        downstream: Downstream,
        *,
        body: bytes,
        path: str,
        ended: "Callable[[Exchange], None]",
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
        self._attempts: list[AttemptOutcome] = []
        self._position = 0
        self._reason = ""
        self._status = 0
        self._upstream_seconds = 0.0
        self._first_sent_at = 0.0

    @property
    def deadline(self) -> float:
        """When `expire` is due, as a monotonic reading."""
        return self._attempt.deadline if self._attempt is not None else _FOREVER

    # --- deciding and trying

    def start(self) -> None:
        """Decide, and make the first attempt or refuse."""
        shared = self.shared
        decision = shared.router.decide(self.request, shared.fleet.snapshot, self.request.received_at)
        self._decision: Decision = decision
        if decision.verdict is Verdict.ROUTE:
            self._try_next()
        else:
            self._refuse(refusal.for_decision(self.request, decision))

    def _try_next(self) -> None:
        """Attempt the next candidate that admits one; go down the fallback chain when there is none left."""
        while len(self._attempts) <= self.shared.max_retries:
            candidates = self._decision.candidates
            while self._position < len(candidates):
                candidate = candidates[self._position]
                self._position += 1
                gates = admit(candidate)
                if gates is not None:
                    self._begin(candidate, gates)
                    return
            if not self._go_down_the_chain():
                break
        self._give_up()

    def _go_down_the_chain(self) -> bool:
        decision, shared = self._decision, self.shared
        if decision.chain_index + 1 >= decision.chain_length:
            return False
        following = shared.router.decide(
            self.request,
            shared.fleet.snapshot,
            shared.clock.monotonic(),
            chain_start=decision.chain_index + 1,
        )
        if following.verdict is not Verdict.ROUTE:
            return False
        self._decision = following
        self._position = 0
        return True

    def _begin(self, candidate: Candidate, gates: tuple[Gate, ...]) -> None:
        self._reason = "failover" if self._attempts else self._decision.route_reason
        target = self.shared.target(candidate.view.backend)
        self._attempt = Attempt(self, candidate, target, gates)
        self._attempt.start()

    def _give_up(self) -> None:
        """No candidate is left: say what every attempt ran into."""
        candidates = self._decision.candidates
        if not self._attempts and self.shared.try_degraded and candidates:
            # Every candidate is being probed by somebody else. One try without a reservation beats a refusal.
            self._begin(candidates[0], ())
            return
        if self._attempts:
            reply = refusal.for_attempts(self.request, self._attempts)
        else:
            reply = refusal.for_busy_probes(self.request, self._decision)
        self._refuse(reply)

    # --- what attempts report

    def encode(self, attempt: Tried) -> bytes:
        """The complete upstream request of an attempt."""
        request, target = self.request, attempt.target
        body = target.dialect.encode(request.surface, self._body, attempt.candidate.model, request.model)
        forwarded = self._client.forwarded
        if self.shared.forward_authorization and not target.has_own_key:
            forwarded += self._client.authorization
        return target.origin.post(target.paths[request.surface], forwarded, body)

    def attempt_failed(self, outcome: AttemptOutcome) -> None:
        """An attempt ended before anything was sent: the next candidate's turn."""
        self._note(outcome)
        if outcome.ended_at >= self.total_deadline:
            self._refuse(refusal.for_attempts(self.request, self._attempts))
        else:
            self._try_next()

    def deliver(
        self,
        attempt: Tried,
        outcome: AttemptOutcome,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        arrived_at: float,
    ) -> None:
        """A whole answer: send it in one piece."""
        status = outcome.status
        self._upstream_seconds += arrived_at - attempt.started_at
        head = self._head(attempt, headers)
        self._attempts.append(outcome)
        self._downstream.reply(status, head, body)
        result = RequestResult.SUCCESS if status < _CLIENT_ERROR else RequestResult.ERROR
        self._finish(status, result, outcome)

    def open_stream(self, attempt: Tried, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The first piece of an answer is good: from here on there is no other candidate."""
        self._status = status
        self._upstream_seconds += self.shared.clock.monotonic() - attempt.started_at
        self._downstream.start(status, self._head(attempt, headers))

    def pass_on(self, data: bytes) -> None:
        """A piece of the answer."""
        self._downstream.write(data)

    def end_stream(self, outcome: AttemptOutcome) -> None:
        """The streamed answer is complete."""
        self._attempts.append(outcome)
        self._downstream.end()
        self._finish(self._status, RequestResult.SUCCESS, outcome)

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

    # --- what the client's side and the clock report (Upflow)

    def pause(self) -> None:
        """The client reads too slowly."""
        if self._attempt is not None:
            self._attempt.pause()

    def resume(self) -> None:
        """The client has caught up."""
        if self._attempt is not None:
            self._attempt.resume()

    def client_gone(self) -> None:
        """The client left before its answer was complete."""
        if self._attempt is not None:
            self._attempts.append(self._attempt.cancel())
        self._finish(_CLIENT_CLOSED, RequestResult.CANCELLED, None)

    def expire(self) -> None:
        """The running attempt's deadline has passed."""
        if self._attempt is not None:
            self._attempt.expire()

    # --- answering and ending

    def _note(self, outcome: AttemptOutcome) -> None:
        self._attempts.append(outcome)
        self._upstream_seconds += outcome.latency_ms / 1000.0
        self._attempt = None

    def _head(self, attempt: Tried, headers: list[tuple[bytes, bytes]]) -> bytes:
        candidate = attempt.candidate
        fallback = self._decision.chain_index > 0
        served_by = attempt.target.served_by(candidate.model, fallback=fallback)
        extra = ""
        if candidate.cost_usd is not None:
            extra = f"X-Nexus-Cost-Estimated: {candidate.cost_usd:.6f}\r\n"
        if candidate.degraded:
            extra += "X-Nexus-Degraded: true\r\n"
        lines = (
            f"{self._own_lines()}X-Nexus-Route-Reason: {self._reason}\r\n"
            f"X-Nexus-Attempts: {len(self._attempts) + 1}\r\n{extra}"
        )
        return relayed_headers(headers) + served_by + lines.encode("latin-1")

    def _own_lines(self) -> str:
        """The header lines that every answer has."""
        trace_id = self.request.trace_id
        self._first_sent_at = self.shared.clock.monotonic()
        overhead = self._overhead_ms()
        request_id = header_text(self._client.request_id) or trace_id
        return (
            f"X-Nexus-Trace-Id: {trace_id}\r\nX-Request-Id: {request_id}\r\n"
            f"X-Nexus-Overhead-Ms: {overhead:.3f}\r\n"
        )

    def _overhead_ms(self) -> float:
        gateway = self._first_sent_at - self.request.received_at - self._upstream_seconds
        return max(0.0, gateway * 1000.0)

    def _refuse(self, reply: ErrorReply) -> None:
        headers = self._own_lines() + refusal.header_lines(reply)
        if self._attempts:
            headers += f"X-Nexus-Attempts: {len(self._attempts)}\r\n"
        self._downstream.reply(reply.status, headers.encode("latin-1"), reply.encode())
        result = RequestResult.ERROR if self._attempts else RequestResult.REJECTED
        self._finish(reply.status, result, None, reply.error.code)

    def _finish(
        self, status: int, result: RequestResult, served: AttemptOutcome | None, code: str = ""
    ) -> None:
        """The one end of every exchange."""
        shared = self.shared
        self._ended(self)
        self._attempt = None
        now = shared.clock.monotonic()
        outcome = RequestOutcome(
            request=self.request,
            path=self._path,
            status=status,
            result=result,
            timestamp=shared.clock.time(),
            latency_ms=(now - self.request.received_at) * 1000.0,
            overhead_ms=self._overhead_ms() if self._first_sent_at else 0.0,
            route_reason=self._reason,
            attempts=tuple(self._attempts),
            served=served,
            code=code,
        )
        shared.record_request(outcome, self._decision)

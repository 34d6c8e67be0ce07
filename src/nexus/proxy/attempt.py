"""One try of one request on one backend: what comes back, whether it is an answer, and how it ended."""

from functools import partial
from typing import Final

from nexus.core.decision import Candidate
from nexus.core.live import Gate
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.proxy import admission
from nexus.proxy.answer_fields import UNREAD, Finding, Usage
from nexus.proxy.answer_text import AnswerText
from nexus.proxy.calling import RunningCall
from nexus.proxy.failing import FAULT_KINDS, timeout_text
from nexus.proxy.headers import ResponseHead, header_value, retry_after_seconds
from nexus.proxy.inspect import MAX_INSPECTED_BYTES, inspect_answer, upstream_error_text
from nexus.proxy.owner import AttemptOwner
from nexus.proxy.sse import SseMonitor, StreamFault
from nexus.proxy.status import THROTTLED, failure_of
from nexus.proxy.target import Target

_OK: Final = 200
_REDIRECT: Final = 300
_MAX_ERROR_BODY: Final = 64 * 1024
_ERROR_BODY_SECONDS: Final = 2.0
# A whole answer has no first token to wait for: its first byte comes when all of it has been generated.
_WHOLE_ANSWER_FACTOR: Final = 5.0
# Members of an enumeration are looked up slowly.
_SUCCESS: Final = AttemptResult.SUCCESS
_FIRST_TOKEN_TIMEOUT: Final = FailureKind.FIRST_TOKEN_TIMEOUT
_IDLE_TIMEOUT: Final = FailureKind.IDLE_TIMEOUT
_NO_FAULT: Final = StreamFault.NONE
_NO_HEAD: Final = ResponseHead(0, [])


class Attempt:
    """Follows one upstream call from its sending to its end.

    It tells its exchange one of: a whole answer, the start and pieces of a stream, or a failure before
    anything was let through. Exactly one `AttemptOutcome` is recorded, however it ends. `answer` collects
    what is said, where somebody listens.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_call",
        "_decoder",
        "_failing",
        "_first_byte_at",
        "_first_token_at",
        "_flight",
        "_gates",
        "_head",
        "_monitor",
        "_outbox",
        "_recorded",
        "_shared",
        "_usage",
        "answer",
        "candidate",
        "committed",
        "deadline",
        "deadline_kind",
        "exchange",
        "started_at",
        "target",
    )

    def __init__(
        self, exchange: AttemptOwner, candidate: Candidate, target: Target, gates: tuple[Gate, ...]
    ) -> None:
        self.exchange = exchange
        self.candidate = candidate
        self.target = target
        self.committed = False
        self._gates = gates
        self._monitor: SseMonitor | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        self._outbox: list[bytes] = []
        self._failing: FailureKind | None = None
        self._first_byte_at: float | None = None
        self._first_token_at: float | None = None
        self._usage: Usage | None = None
        self._head = _NO_HEAD
        self._recorded = False
        self._call: RunningCall | None = None
        self._shared = exchange.shared
        listener = self._shared.listener
        self.answer = AnswerText() if listener is not None and listener.listening else None

    def start(self) -> None:
        """Take its place at the backend, and send the request there with the others of this moment."""
        exchange = self.exchange
        request, shared = exchange.request, self._shared
        needs = request.needs
        stream = needs.stream
        self._decoder = self.target.dialect.decoder(request.surface, stream=stream)
        self.started_at = shared.clock.monotonic()
        seconds = shared.timeouts.first_token_seconds * (1.0 if stream else _WHOLE_ANSWER_FACTOR)
        self.deadline, self.deadline_kind = self.started_at + seconds, _FIRST_TOKEN_TIMEOUT
        if exchange.total_deadline < self.deadline:
            self._set_deadline(exchange.total_deadline, FailureKind.TOTAL_TIMEOUT)
        candidate, live = self.candidate, self.candidate.view.live
        self._flight = shared.watch.started(
            live, candidate.model, needs.input_tokens, stream=stream, now=self.started_at
        )
        admission.begin(live)
        shared.order.send(self._send)

    def _send(self) -> None:
        if not self._recorded:  # else the exchange has failed since
            self._call = self.exchange.send(self)

    # --- the upstream's side (CallHandler)

    def on_head(self, head: ResponseHead) -> None:
        """Decide from the status what the body will mean."""
        self._head = head
        status = head.status
        if _OK <= status < _REDIRECT:
            head.read()
            if head.is_events:
                self._monitor = SseMonitor(self.answer)
            return
        self._failing = failure_of(status)
        if self._failing is None:
            head.read()
        else:
            # The body of an error only explains it: it is awaited briefly and bounded.
            now = self._shared.clock.monotonic()
            self._set_deadline(min(self.deadline, now + _ERROR_BODY_SECONDS), self._failing)

    def on_body(self, data: bytes) -> None:
        """Take in some bytes of the answer."""
        if self._first_byte_at is None:
            self._first_byte_at = self._shared.clock.monotonic()
        if self._failing is not None:
            self._body.append(data)
            self._body_size += len(data)
            if self._body_size > _MAX_ERROR_BODY:
                self._end_failed_status()
            return
        if self._decoder is not None:
            data = self._decoder.feed(data)
        if self._monitor is None:
            self._take_whole(data)
        else:
            self._take_stream(self._monitor, data)

    def on_read_done(self) -> None:
        """Pass on what one read has let through, and count the silence from here."""
        if self._failing is not None or self._recorded:
            return
        if self._monitor is not None and self._monitor.started:
            self._flush()
        # Before a stream's first event only the first-token deadline counts: comments are no answer.
        if self.committed or (self._monitor is None and self._first_byte_at is not None):
            shared = self._shared
            self._set_deadline(shared.clock.monotonic() + shared.timeouts.stream_idle_seconds, _IDLE_TIMEOUT)

    def on_end(self) -> None:
        """The upstream's answer is complete."""
        if self._recorded:
            pass  # it was given up in the moment before this
        elif self._failing is not None:
            self._end_failed_status()
        elif self._monitor is not None:
            self._end_stream(self._monitor)
        else:
            self._end_whole()

    def on_failure(self, kind: FailureKind, message: str) -> None:
        """The connection could not be made or broke."""
        if self._failing is not None:
            self._end_failed_status()
            return
        if self._monitor is not None:
            self._flush()
        self._fail(kind, message)

    # --- the exchange's side

    def cancel(self, *, overdue: bool = False) -> AttemptOutcome:
        """The client is gone (or another attempt won): stop the upstream; neither success nor failure.

        `overdue`: the breaker is told of a failure all the same, because the backend kept its client waiting.
        """
        self._stop()
        if overdue:
            self._gates = admission.condemn(self.candidate.view.live, self._gates)
        return self._record(AttemptResult.CANCELLED)

    def expire(self) -> None:
        """The deadline has passed."""
        if self._failing is not None:
            self._end_failed_status()
            return
        waited = self._shared.clock.monotonic() - self.started_at
        self._fail(self.deadline_kind, timeout_text(self.deadline_kind, waited))

    def pause(self) -> None:
        """The client reads too slowly: let the upstream wait, which is no silence of its own."""
        if self._call is not None:
            self._call.pause()
            self._set_deadline(self.exchange.total_deadline, FailureKind.TOTAL_TIMEOUT)

    @property
    def held(self) -> bool:
        """Whether it waits for the client."""
        return self._call is not None and self._call.paused

    def resume(self) -> None:
        """The client has caught up. The silence while it had not is not the upstream's."""
        shared = self._shared
        self._set_deadline(shared.clock.monotonic() + shared.timeouts.stream_idle_seconds, _IDLE_TIMEOUT)
        if self._call is not None:
            self._call.resume()

    # --- whole answers

    def _take_whole(self, data: bytes) -> None:
        if self.committed:
            self.exchange.pass_on(data)
            return
        self._body.append(data)
        self._body_size += len(data)
        if self._body_size > MAX_INSPECTED_BYTES:
            self._commit()
            self.exchange.pass_on(b"".join(self._body))
            self._body.clear()

    def _end_whole(self) -> None:
        rest = self._decoder.end() if self._decoder is not None else b""
        if self.committed:
            if rest:
                self.exchange.pass_on(rest)
            self.exchange.end_stream(self._record(_SUCCESS))
            return
        body = b"".join((*self._body, rest)) if rest or len(self._body) != 1 else self._body[0]
        arrived = self._shared.clock.monotonic()
        finding = UNREAD
        if self._head.status < _REDIRECT and not self._head.is_opaque:
            finding = inspect_answer(self.exchange.request.surface, body, self.answer)
        self._shared.order.deliver(partial(self._deliver, finding, body, arrived))

    def _deliver(self, finding: Finding, body: bytes, arrived: float) -> None:
        """Pass on what was found to be an answer."""
        if self._recorded:
            return  # the answer of the attempt beside it came in the same turn, and has gone before
        if finding.kind is not None:
            self._fail(finding.kind, finding.message)
            return
        self._usage = finding.usage
        self.exchange.deliver(self, self._record(_SUCCESS, now=arrived), self._head.relayed, body, arrived)

    def _end_failed_status(self) -> None:
        kind = self._failing or FailureKind.SERVER_ERROR
        self._stop()
        text = upstream_error_text(b"".join(self._body))
        message = f"HTTP {self._head.status}: {text}" if text else f"HTTP {self._head.status} with no body"
        if self._head.status == THROTTLED:
            self._end_throttled(message)
        else:
            self._fail(kind, message)

    def _end_throttled(self, message: str) -> None:
        clock = self._shared.clock
        asked = retry_after_seconds(header_value(self._head.headers, b"retry-after"), clock.time())
        seconds = admission.pace(self.candidate.view.live, clock.monotonic(), asked)
        outcome = self._record(AttemptResult.RATE_LIMITED, None, message, seconds)
        self.exchange.attempt_failed(outcome)

    # --- streams

    def _take_stream(self, monitor: SseMonitor, data: bytes) -> None:
        passed = monitor.feed(data)
        if passed:
            self._outbox.append(passed)
        if self._first_token_at is None and monitor.content_seen:
            self._first_token_at = self._shared.clock.monotonic()
            self._shared.watch.first_token(self._flight, self._first_token_at)
        fault = monitor.fault
        if fault is not _NO_FAULT and (fault is StreamFault.MALFORMED or not monitor.started):
            self._flush()
            self._fail(FAULT_KINDS[fault], monitor.fault_message)

    def _flush(self) -> None:
        monitor = self._monitor
        if not self._outbox or monitor is None or not monitor.started:
            return
        if not self.committed:
            self._commit()
        self.exchange.pass_on(self._outbox[0] if len(self._outbox) == 1 else b"".join(self._outbox))
        self._outbox.clear()

    def _end_stream(self, monitor: SseMonitor) -> None:
        if self._decoder is not None:
            rest = self._decoder.end()
            if rest:
                self._take_stream(monitor, rest)
        tail = monitor.end()
        if tail:
            self._outbox.append(tail)
        self._flush()
        self._usage = monitor.usage
        if self._recorded:
            return
        if monitor.fault is not _NO_FAULT:
            self._fail(FAULT_KINDS[monitor.fault], monitor.fault_message)
        elif not monitor.finished and not monitor.done:
            self._fail(FailureKind.CUT, "the stream ended without a finish reason or an end mark")
        elif not monitor.finished and not monitor.content_seen:
            self._fail(FailureKind.EMPTY, "the stream has neither content nor a finish reason")
        else:
            self.exchange.end_stream(self._record(_SUCCESS))

    # --- ends

    def _stop(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _commit(self) -> None:
        self.committed = True
        self.exchange.open_stream(self, self._head.status, self._head.relayed)

    def _fail(self, kind: FailureKind, message: str) -> None:
        if self._recorded:
            return
        self._stop()
        outcome = self._record(AttemptResult.FAILURE, kind, message)
        if not self.committed:
            self.exchange.attempt_failed(outcome)
        elif self._monitor is None:
            self.exchange.break_off(outcome, explain=False)
        else:
            relayed = self._monitor.fault is StreamFault.ERROR_EVENT or self._monitor.done
            self.exchange.break_off(outcome, explain=not relayed)

    def _record(
        self,
        result: AttemptResult,
        kind: FailureKind | None = None,
        message: str = "",
        retry_after: float | None = None,
        now: float | None = None,
    ) -> AttemptOutcome:
        self._recorded = True
        self._call = None  # the two refer to each other, and garbage collection is slower than counting
        shared, candidate = self._shared, self.candidate
        view, model = candidate.view, candidate.model
        started, now = self.started_at, shared.clock.monotonic() if now is None else now
        first_byte, first_token = self._first_byte_at, self._first_token_at
        latency_ms = (now - started) * 1000.0
        admission.settle(view.live, self._gates, result, latency_ms)
        sent, received, estimated = self._tokens()
        price = view.prices.get(model)
        # In the order of the record's fields: naming them would make this five times as slow.
        outcome = AttemptOutcome(
            self.exchange.request.trace_id,
            view.backend.id,
            model,
            result,
            now,
            latency_ms,
            kind,
            self._head.status,
            None if first_byte is None else (first_byte - started) * 1000.0,
            None if first_token is None else (first_token - started) * 1000.0,
            self._monitor is not None,
            sent,
            received,
            estimated,
            price.cost(sent, received) if price is not None else None,
            retry_after,
            candidate.probe,
            message,
        )
        shared.recording.attempt(self._flight, outcome)
        if shared.queue.depth:
            shared.queue.freed(outcome.backend_id)
        return outcome

    def _tokens(self) -> tuple[int, int, bool]:
        """Input and output tokens, and whether they are estimates."""
        usage = self._usage or (self._monitor.usage if self._monitor is not None else None)
        if usage is not None and usage.prompt_tokens is not None:
            return usage.prompt_tokens, usage.completion_tokens or 0, False
        if self._head.status == 0 or self._failing is not None:
            return 0, 0, True
        counted = self._monitor.content_events if self._monitor is not None else 0
        return self.exchange.request.needs.input_tokens, counted, True

    def _set_deadline(self, moment: float, kind: FailureKind) -> None:
        total = self.exchange.total_deadline
        if total < moment:
            self.deadline, self.deadline_kind = total, FailureKind.TOTAL_TIMEOUT
        else:
            self.deadline, self.deadline_kind = moment, kind

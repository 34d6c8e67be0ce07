"""The request log: one line per request, written in batches.

A line says who was asked and how it went; it never has text of a prompt or an answer.
"""

import logging
import math
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from nexus.core.clock import Clock
from nexus.core.decision import Finished
from nexus.core.log_fields import encodable, printable
from nexus.core.outcome import RequestOutcome
from nexus.telemetry.request_line import RequestLine
from nexus.telemetry.sink import LogSink

LOGGER: Final = "nexus.request"
_SERVICE: Final = "nexus"
_CAPACITY: Final = 65536
_SERVER_ERROR: Final = 500
_NAME_LENGTH: Final = 256
_TIME_OF_DAY: Final = slice(11, 23)


class RequestLog:
    """Makes a line of every finished request, and writes what there is at each `flush`.

    Call `flush` about ten times a second, and once at the end, before the sink is closed. Of more than
    `capacity` lines between two flushes the oldest are dropped and counted in `overflowed`. Lines have the
    level `warning` for statuses from 500 on, else `info`; the component `request` sets which are written.
    """

    def __init__(
        self, sink: LogSink, clock: Clock, *, pretty: bool = False, capacity: int = _CAPACITY
    ) -> None:
        self.overflowed = 0
        self.unwritten = 0
        self._sink = sink
        self._clock = clock
        self._pretty = pretty
        self._capacity = capacity
        self._waiting: deque[tuple[bytes, int]] = deque()  # lines, and how many they are
        self._lines = 0
        self._times = _Timestamps()
        self._encoder = msgspec.json.Encoder()
        self._log = logging.getLogger(LOGGER)

    def record_requests(self, finished: Sequence[Finished]) -> None:
        """Make the lines of finished requests.

        At once: by the next flush the processor's caches have long forgotten these outcomes.
        """
        least = self._least_status()
        self._keep([self._line(outcome) for outcome, _ in finished if outcome.status >= least])

    def record_unrouted(
        self, status: int, _code: str, path: str, *, trace_id: str = "", client: str = ""
    ) -> None:
        """Make the line of a request that was refused at the edge, before it became a `Request`."""
        if status >= self._least_status():
            self._keep([self._refused(status, path, trace_id, client)])

    def flush(self) -> None:
        """Write everything kept so far, at once."""
        if self._waiting:
            self._sink.write(b"".join([lines for lines, _ in self._waiting]))
            self._waiting.clear()
            self._lines = 0

    def _least_status(self) -> float:
        """The status from which on requests are logged now."""
        if self._log.isEnabledFor(logging.INFO):
            return 0
        return _SERVER_ERROR if self._log.isEnabledFor(logging.WARNING) else math.inf

    def _keep(self, lines: list[RequestLine]) -> None:
        if not lines:
            return
        self._waiting.append((self._encode(lines), len(lines)))
        self._lines += len(lines)
        while self._lines > self._capacity:
            _, dropped = self._waiting.popleft()
            self._lines -= dropped
            self.overflowed += dropped

    def _encode(self, lines: list[RequestLine]) -> bytes:
        if self._pretty:
            return "".join(map(_pretty, lines)).encode(errors="replace")
        try:
            return self._encoder.encode_lines(lines)
        except UnicodeEncodeError:
            # Half a surrogate pair in a name: JSON from clients may have it, UTF-8 may not.
            return self._encoder.encode_lines([_repaired(line) for line in lines])

    def _line(self, outcome: RequestOutcome) -> RequestLine:
        request = outcome.request
        served = outcome.served
        return RequestLine(
            self._times.text(outcome.timestamp),
            "info" if outcome.status < _SERVER_ERROR else "warning",
            _SERVICE,
            "request",
            request.trace_id,
            "POST",
            outcome.path,
            outcome.status,
            request.model[:_NAME_LENGTH],
            served.model if served is not None else None,
            served.backend_id if served is not None else None,
            outcome.route_reason or None,
            len(outcome.attempts),
            request.needs.stream,
            _thousandths(outcome.latency_ms),
            _thousandths(served.ttft_ms) if served is not None and served.ttft_ms is not None else None,
            _thousandths(outcome.overhead_ms),
            served.input_tokens if served is not None else None,
            served.output_tokens if served is not None else None,
            _cost(outcome),
            request.client or None,
        )

    def _refused(self, status: int, path: str, trace_id: str, client: str) -> RequestLine:
        return RequestLine(
            timestamp=self._times.text(self._clock.time()),
            level="info" if status < _SERVER_ERROR else "warning",
            service=_SERVICE,
            message="request",
            trace_id=trace_id,
            method="POST",
            path=path,
            status=status,
            model=None,
            model_served=None,
            backend=None,
            route_reason=None,
            attempts=0,
            stream=False,
            latency_ms=None,
            ttft_ms=None,
            overhead_ms=None,
            input_tokens=None,
            output_tokens=None,
            cost_usd=None,
            client=client or None,
        )


class _Timestamps:
    """Formats Unix times; the calendar is asked once a second only."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def text(self, seconds: float) -> str:
        """`2025-01-01T00:00:00.123Z`."""
        milliseconds = int(seconds * 1000.0)
        second = milliseconds // 1000
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        # Compiled, a number in a format takes longer than all the rest here.
        return f"{self._prefix}{str(1000 + milliseconds % 1000)[1:]}Z"


def _thousandths(value: float) -> float:
    """A positive number to three decimals; `round` is exact about halves, and four times as slow."""
    return int(value * 1000.0 + 0.5) / 1000.0


def _cost(outcome: RequestOutcome) -> float | None:
    attempts = outcome.attempts
    if len(attempts) == 1:
        only = attempts[0].cost_usd
        return None if only is None else round(only, 9)
    known = [each.cost_usd for each in attempts if each.cost_usd is not None]
    return round(sum(known), 9) if known else None


def _repaired(line: RequestLine) -> RequestLine:
    texts = {
        name: encodable(value)
        for name in line.__struct_fields__
        if isinstance(value := getattr(line, name), str)
    }
    return msgspec.structs.replace(line, **texts)


def _pretty(line: RequestLine) -> str:
    words = [line.timestamp[_TIME_OF_DAY], str(line.status), line.method, line.path]
    if line.model is not None:
        words.append(line.model)
    if line.backend is not None:
        served = "" if line.model_served in (None, line.model) else f" as {line.model_served}"
        words.append(f"-> {line.backend}{served} ({line.route_reason or 'no reason given'})")
    if line.attempts > 1:
        words.append(f"{line.attempts} attempts")
    if line.latency_ms is not None:
        words.append(f"{line.latency_ms:.0f} ms")
    if line.ttft_ms is not None:
        words.append(f"ttft {line.ttft_ms:.0f} ms")
    if line.output_tokens is not None:
        words.append(f"{line.input_tokens}+{line.output_tokens} tokens")
    words.append(line.trace_id)
    return printable(" ".join(words).rstrip()) + "\n"

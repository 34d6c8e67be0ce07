"""Log lines for machines: one flat JSON object each, on standard output.

Stands on structlog, wired locally: nothing global is configured, so a program's own logging stays as it is.
structlog is imported by the first `get_logger`, because importing it takes longer than all the rest of this
package.
"""

import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import msgspec

from nexus.core.clock import Clock, SystemClock
from nexus.core.log_fields import encodable, plain, text, timestamp

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "WARN": 30, "ERROR": 40, "CRITICAL": 50}
_FIXED = ("timestamp", "level", "service", "message")


class StructuredLogger:
    """Writes one JSON object a line; made by `get_logger`. Safe to share between threads and tasks.

    Each line has `timestamp`, `level` (`info`, …), `service`, `message`, then the fields given, then those of
    the context (`trace_context`). Texts pass through `mask_secrets`, and a field whose name says that it is a
    secret is masked whole. A field named as one of the first four is written with `_` at its end. An `error`
    is written as `error_type`, `error` (its text) and `stack_trace`.
    """

    __slots__ = ("_log",)

    def __init__(self, log: Any) -> None:
        self._log = log

    def debug(self, message: str, /, *, error: BaseException | str | None = None, **fields: Any) -> None:
        """Write a line of level `debug`."""
        self._log.debug(message, fields=fields, error=error)

    def info(self, message: str, /, *, error: BaseException | str | None = None, **fields: Any) -> None:
        """Write a line of level `info`."""
        self._log.info(message, fields=fields, error=error)

    def warning(self, message: str, /, *, error: BaseException | str | None = None, **fields: Any) -> None:
        """Write a line of level `warning`."""
        self._log.warning(message, fields=fields, error=error)

    def error(self, message: str, /, *, error: BaseException | str | None = None, **fields: Any) -> None:
        """Write a line of level `error`."""
        self._log.error(message, fields=fields, error=error)

    def metric(self, name: str, value: float, unit: str = "", **fields: Any) -> None:
        """Write a number: message `metric`, fields `metric`, `value`, `unit`."""
        self.info("metric", metric=name, value=value, unit=unit, **fields)

    def api_call(self, method: str, path: str, status: int, ms: float, **fields: Any) -> None:
        """Write a call of an HTTP interface: message `api_call`; `ms` becomes `latency_ms`."""
        self.info("api_call", method=method, path=path, status=status, latency_ms=ms, **fields)

    def llm_call(
        self, model: str, prompt_tokens: int, completion_tokens: int, ms: float, **fields: Any
    ) -> None:
        """Write a call of a model: message `llm_call`; adds `total_tokens`, and `ms` becomes `latency_ms`."""
        self.info(
            "llm_call",
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            latency_ms=ms,
            **fields,
        )

    def tool_call(self, name: str, ok: bool, ms: float, **fields: Any) -> None:
        """Write a call of a tool: message `tool_call`; a failed one has level `warning`."""
        write = self.info if ok else self.warning
        write("tool_call", tool=name, ok=ok, latency_ms=ms, **fields)


def get_logger(service: str, level: str | None = None, *, clock: Clock | None = None) -> StructuredLogger:
    """A logger whose lines carry this service name.

    Lines below `level` (`debug`, `info`, `warning`, `error`, `critical`; any case) are not written; without
    one the variable `LOG_LEVEL` counts, else `info`. Raises ValueError for any other level.
    """
    import structlog  # noqa: PLC0415 - see the module's docstring

    log = structlog.wrap_logger(
        _StandardOutput(),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _Line(service, clock or SystemClock()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_level_number(level)),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    return StructuredLogger(log.bind())


def trace_context(trace_id: str) -> AbstractContextManager[None]:
    """Within the block, every line of the running task (or thread) carries this `trace_id`.

    It is a structlog context variable: what a program binds there itself is written too.
    """
    import structlog.contextvars  # noqa: PLC0415 - see the module's docstring

    return structlog.contextvars.bound_contextvars(trace_id=trace_id)


def _level_number(level: str | None) -> int:
    source, text = ("level", level) if level else ("LOG_LEVEL", os.environ.get("LOG_LEVEL", "").strip())
    number = _LEVELS.get((text or "INFO").upper())
    if number is None:
        raise ValueError(f"{source} must be one of debug, info, warning, error, critical; got {text!r}")
    return number


class _Line:
    """The last structlog processor: makes the text of one line."""

    __slots__ = ("_clock", "_service")

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        fields: Mapping[str, object] = event.pop("fields")
        error: BaseException | str | None = event.pop("error", None)
        line: dict[str, object] = {
            "timestamp": timestamp(self._clock.time()),
            "level": event.pop("level"),
            "service": self._service,
            "message": text(event.pop("event")),
        }
        for name, value in fields.items():
            line[f"{name}_" if name in _FIXED else encodable(name)] = plain(name, value)
        if isinstance(error, BaseException):
            line["error_type"] = type(error).__name__
            line["stack_trace"] = text("".join(traceback.format_exception(error)))
        if error is not None:
            line["error"] = text(error)
        for name, value in event.items():
            line.setdefault(name, plain(name, value))
        return msgspec.json.encode(line).decode()


class _StandardOutput:
    """Where lines go: what is standard output at that moment, one write each."""

    def msg(self, line: str) -> None:
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            # Standard output is closed. A log line must not end the program, so it goes to the other stream,
            # and is lost where that is closed too.
            with suppress(OSError, ValueError):
                sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = msg

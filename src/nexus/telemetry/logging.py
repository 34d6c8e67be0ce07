"""Logging of the whole process: one format, one place to write to, and levels by component.

The program logs through the standard library's `logging`, under the names of its rooms (`nexus.routing…`),
with `extra=` for fields. What libraries log, and what is logged through structlog, comes out the same way.
"""

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, cast

import msgspec
import structlog

from nexus.config.model import LoggingSettings
from nexus.core.log_fields import encodable, plain, printable, text, timestamp
from nexus.telemetry.sink import LogSink

SERVICE = "nexus"
_ROOT = "nexus"
_PREFIX = f"{_ROOT}."
_RESERVED = frozenset({"timestamp", "level", "service", "message"})
_COLORS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_TIME_OF_DAY = slice(11, 23)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class ProcessLog:
    """The logging of this process, as `set_up_logging` left it.

    `sink` takes finished lines; `pretty` and `colors` say how others that write lines of their own should.
    """

    def __init__(self, handler: "SinkHandler", *, pretty: bool, colors: bool) -> None:
        self.sink = handler.sink
        self.pretty = pretty
        self.colors = colors
        self._handler = handler
        self._components: set[str] = set()

    def apply_levels(self, settings: LoggingSettings) -> None:
        """Put the levels of these settings in force; what earlier ones set for other components is undone."""
        level = logging.getLevelName(settings.level.upper())
        logging.getLogger(_ROOT).setLevel(level)
        # Other libraries are heard from warnings on: their debug lines are about themselves.
        logging.getLogger().setLevel(max(level, logging.WARNING))
        wanted = {
            _PREFIX + name.removeprefix(_PREFIX): each for name, each in settings.component_levels.items()
        }
        for name in self._components - wanted.keys():
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, each in wanted.items():
            logging.getLogger(name).setLevel(each.upper())
        self._components = set(wanted)

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued (for at most `timeout` seconds) and leave logging as it was found."""
        logging.getLogger().removeHandler(self._handler)
        for name in (*self._components, _ROOT):
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger().setLevel(logging.WARNING)
        structlog.reset_defaults()
        self._handler.close()
        self.sink.close(timeout)


def set_up_logging(settings: LoggingSettings, *, fd: int = 1, lock: int | None = None) -> ProcessLog:
    """Log to this file descriptor from now on, and return the handle that changes levels and ends it.

    `settings.format` "auto" means pretty on a terminal and JSON lines elsewhere. `lock` is for several
    processes that log to the same place; see `LogSink`.
    """
    terminal = os.isatty(fd)
    pretty = settings.format == "pretty" or (settings.format == "auto" and terminal)
    colors = pretty and terminal and "NO_COLOR" not in os.environ
    handler = SinkHandler(LogSink(fd, lock=lock), PrettyLine(colors=colors) if pretty else JsonLine())
    process_log = ProcessLog(handler, pretty=pretty, colors=colors)
    process_log.apply_levels(settings)
    logging.getLogger().addHandler(handler)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return process_log


class SinkHandler(logging.Handler):
    """Hands each record, as one finished line, to a sink."""

    def __init__(self, sink: LogSink, renderer: "JsonLine | PrettyLine") -> None:
        super().__init__()
        self.sink = sink
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[renderer],
                foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.contextvars.merge_contextvars],
            )
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line. A record that can't be formatted becomes a line that says so."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  # reason: arguments that don't fit the text, a `__str__` that raises
            substitute = logging.LogRecord(
                record.name,
                record.levelno,
                record.pathname,
                record.lineno,
                "a log record at %s:%d can't be written: %s",
                (record.filename, record.lineno, type(error).__name__),
                None,
            )
            substitute.created = record.created
            line = self.format(substitute)
        self.sink.write(line.encode() + b"\n")

    def flush(self) -> None:
        """Wait briefly for the lines so far to be written; `logging.shutdown` calls this at exit."""
        self.sink.flush()


class JsonLine:
    """The last structlog processor: one flat JSON object."""

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
        """The text of the line, without its line feed."""
        return msgspec.json.encode(_fields_of(event)).decode()


class PrettyLine:
    """The last structlog processor, for people: time, level, component, message, fields."""

    def __init__(self, *, colors: bool) -> None:
        self._colors = colors

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
        """The text of the line; a stack trace follows on lines of its own."""
        line = _fields_of(event)
        line.pop("service")
        level = str(line.pop("level"))
        trace = str(line.pop("stack_trace", ""))
        time, component, message = (str(line.pop(key)) for key in ("timestamp", "component", "message"))
        fields = " ".join(f"{key}={_short(value)}" for key, value in line.items())
        words = f"{time[_TIME_OF_DAY]} {level.upper():<8} {component}: {printable(message)}"
        if self._colors and level in _COLORS:
            words = f"{_COLORS[level]}{words}{_PLAIN}"
        if fields:
            words = f"{words}  {fields}"
        lines = [words, *(printable(each) for each in trace.rstrip().split("\n") if each)]
        return "\n".join(lines)


def _fields_of(event: MutableMapping[str, Any]) -> dict[str, object]:
    """The line as ordered fields: what every line has, what was given, and the trace id at the end."""
    record = cast("logging.LogRecord", event.pop("_record"))
    if not event.pop("_from_structlog", True):
        # Other handlers' formatters leave these on the record; nobody can have given them.
        event.pop("message", None)
        event.pop("asctime", None)
    trace_id = event.pop("trace_id", None)
    line: dict[str, object] = {
        "timestamp": timestamp(record.created),
        "level": record.levelname.lower(),
        "service": SERVICE,
        "message": text(event.pop("event")),
        "component": record.name.removeprefix(_PREFIX),
    }
    exc_info = event.pop("exc_info", None)
    stack_info = event.pop("stack_info", None)
    for name, value in event.items():
        line[f"{name}_" if name in _RESERVED else encodable(name)] = plain(name, value)
    _add_error(line, _exc_info(exc_info))
    if stack_info:
        line["stack_trace"] = text(stack_info)
    if trace_id is not None:
        line["trace_id"] = text(trace_id)
    return line


def _exc_info(value: object) -> ExcInfo | None:
    """The exception of a record: the tuple of `logging`, or what structlog's callers may pass instead."""
    if value is True:
        value = sys.exc_info()
    if isinstance(value, BaseException):
        return type(value), value, value.__traceback__
    if isinstance(value, tuple) and value[0] is not None:
        return cast("ExcInfo", value)
    return None


def _add_error(line: dict[str, object], exc_info: ExcInfo | None) -> None:
    if exc_info is not None:
        line["error_type"] = exc_info[0].__name__
        line["error"] = text(exc_info[1])
        line["stack_trace"] = text("".join(traceback.format_exception(*exc_info)))


def _short(value: object) -> str:
    shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return printable(shown) if shown and " " not in shown else repr(shown)

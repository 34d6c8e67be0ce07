"""Everything the process logs comes out in one form, at the right level, without secrets."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from nexus.config.model import LoggingSettings
from nexus.telemetry.logging import ProcessLog, set_up_logging

SetUp = Callable[..., ProcessLog]


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def set_up(target: Path) -> Iterator[SetUp]:
    """Sets up logging to a file; ends it after the test."""
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    made: list[ProcessLog] = []

    def start(**settings: Any) -> ProcessLog:
        made.append(set_up_logging(LoggingSettings(**settings), fd=fd))
        return made[-1]

    yield start
    for each in made:
        each.close()
    os.close(fd)


def written(log: ProcessLog, target: Path) -> list[dict[str, Any]]:
    assert log.sink.flush()
    return [json.loads(line) for line in target.read_text().splitlines()]


def test_a_line_has_the_documented_keys_in_order(set_up, target):
    """Time, level, service, message, the fields, and the trace id at the end."""
    log = set_up()
    logging.getLogger("nexus.proxy").warning(
        "backend %s is slow", "a", extra={"trace_id": "t1", "ms": 12.5, "n": 3}
    )
    (line,) = written(log, target)
    assert list(line) == ["timestamp", "level", "service", "message", "component", "ms", "n", "trace_id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "level": "warning",
        "service": "nexus",
        "message": "backend a is slow",
        "component": "proxy",
        "ms": 12.5,
        "n": 3,
        "trace_id": "t1",
    }


def test_the_timestamp_is_in_utc_with_milliseconds(set_up, target):
    """Whatever the zone of the machine."""
    log = set_up()
    record = logging.makeLogRecord({"name": "nexus.x", "levelno": 20, "levelname": "INFO", "msg": "hi"})
    record.created = 1735689600.1234
    logging.getLogger().handle(record)
    (line,) = written(log, target)
    assert line["timestamp"] == "2025-01-01T00:00:00.123Z"


def test_other_handlers_change_nothing(set_up, target):
    """A formatter of somebody else's leaves its traces on the record."""
    log = set_up()
    record = logging.makeLogRecord({"name": "nexus.x", "levelno": 20, "levelname": "INFO", "msg": "hi"})
    logging.Formatter("%(asctime)s %(message)s").format(record)
    log._handler.handle(record)
    (line,) = written(log, target)
    assert list(line) == ["timestamp", "level", "service", "message", "component"]


def test_levels_hold_by_component(set_up, target):
    """The debug lines of one component, warnings of all others."""
    log = set_up(level="warning", component_levels={"routing.reconciler.quality": "debug"})
    logging.getLogger("nexus.routing.reconciler.quality").debug("seen")
    logging.getLogger("nexus.routing.reconciler.tier").info("not seen")
    logging.getLogger("nexus.server").warning("seen too")
    assert [line["message"] for line in written(log, target)] == ["seen", "seen too"]


def test_levels_change_while_it_runs(set_up, target):
    """A component that is no longer named goes back to the general level."""
    log = set_up(level="info", component_levels={"proxy": "debug"})
    log.apply_levels(LoggingSettings(level="error", component_levels={"nexus.server": "info"}))
    logging.getLogger("nexus.proxy").warning("not seen")
    logging.getLogger("nexus.server").info("seen")
    assert [line["message"] for line in written(log, target)] == ["seen"]


def test_other_libraries_are_heard_from_warnings_on(set_up, target):
    """Through the same renderer."""
    log = set_up(level="debug")
    logging.getLogger("asyncio").info("not seen")
    logging.getLogger("asyncio").warning("seen")
    (line,) = written(log, target)
    assert (line["message"], line["component"], line["service"]) == ("seen", "asyncio", "nexus")


def test_structlog_comes_out_the_same_way(set_up, target):
    """With bound fields, the context's trace id and exceptions."""
    log = set_up()
    logger = structlog.get_logger("nexus.demo")
    with structlog.contextvars.bound_contextvars(trace_id="t9"):
        logger.bind(backend="a").info("hello %s", "there", count=2)
        logging.getLogger("nexus.proxy").info("plain")
    try:
        fail(ValueError("no"))
    except ValueError:
        logger.exception("failed")
    logger.debug("not seen")
    first, second, third = written(log, target)
    del first["timestamp"]
    assert first == {
        "level": "info",
        "service": "nexus",
        "message": "hello there",
        "component": "demo",
        "backend": "a",
        "count": 2,
        "trace_id": "t9",
    }
    assert (second["message"], second["trace_id"]) == ("plain", "t9")
    assert (third["level"], third["error_type"], third["error"]) == ("error", "ValueError", "no")


def test_exceptions_have_type_text_and_stack(set_up, target):
    """On the same line."""
    log = set_up()
    try:
        fail(RuntimeError("upstream said Bearer abcdef123456"))
    except RuntimeError:
        logging.getLogger("nexus.proxy").exception("failed")
    (line,) = written(log, target)
    assert line["error_type"] == "RuntimeError"
    assert "Traceback" in line["stack_trace"]
    assert "abcdef123456" not in json.dumps(line)


def test_an_exception_given_as_a_value_is_shown_too(set_up, target):
    """`exc_info=error`, as one does outside of an except block; a stack can be asked for as well."""
    log = set_up()
    structlog.get_logger("nexus.x").warning("one", exc_info=OSError("gone"))
    logging.getLogger("nexus.x").warning("two", stack_info=True)
    structlog.get_logger("nexus.x").warning("three", exc_info=True)
    one, two, three = written(log, target)
    assert (one["error_type"], one["error"]) == ("OSError", "gone")
    assert "test_process_logging.py" in two["stack_trace"]
    assert "error_type" not in three


def test_secrets_are_masked_wherever_they_stand(set_up, target):
    """In messages, arguments, fields, nested ones too, and by the name of a field."""
    log = set_up()
    logging.getLogger("nexus.proxy").info(
        "key %s",
        "sk-live-0123456789",
        extra={
            "api_key": "plainword",
            "headers": {"Authorization": "hunter2hunter2", "ok": ["sk-live-0123456789", 1]},
            "url": "https://user:hunter2hunter2@host/",
        },
    )
    (line,) = written(log, target)
    text = target.read_text()
    assert "0123456789" not in text
    assert "hunter2" not in text
    assert line["api_key"] == "***"
    assert line["headers"]["ok"][1] == 1


def test_values_that_json_does_not_know_become_text(set_up, target):
    """A line is written whatever is in it."""
    log = set_up()
    deep: list[Any] = [[[[[1]]]]]
    extra = {
        "path": Path("/x"),
        "nan": float("nan"),
        "huge": 2**80,
        "none": None,
        "yes": True,
        "deep": deep,
        "half": "\ud800",
        "level": "mine",
    }
    logging.getLogger("nexus.x").info("half \ud800 pair", extra=extra)
    (line,) = written(log, target)
    assert (line["path"], line["nan"], line["huge"]) == ("/x", "nan", str(2**80))
    assert (line["none"], line["yes"], line["deep"]) == (None, True, [[[["[1]"]]]])
    assert (line["half"], line["message"]) == ("?", "half ? pair")
    assert (line["level"], line["level_"]) == ("info", "mine")


def test_a_record_that_cannot_be_formatted_does_not_end_the_caller(set_up, target):
    """A line says where it was."""
    log = set_up()
    values = {"name": "nexus.x", "levelno": 20, "levelname": "INFO", "msg": "%d items", "args": ("many",)}
    values |= {"filename": "somewhere.py", "lineno": 12}
    log._handler.handle(logging.makeLogRecord(values))
    (line,) = written(log, target)
    assert line["message"] == "a log record at somewhere.py:12 can't be written: TypeError"


def test_pretty_lines_are_for_people(set_up, target):
    """Time of day, level, component, message, fields; no colours in a file."""
    log = set_up(format="pretty")
    logging.getLogger("nexus.proxy").warning("slow", extra={"backend": "a", "why": "two words", "ms": 3})
    assert log.pretty
    assert not log.colors
    assert log.sink.flush()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} WARNING  proxy: slow  backend=a why='two words' ms=3\n", target.read_text()
    )


def test_pretty_lines_cannot_be_forged_and_cannot_command_the_terminal(set_up, target):
    """Control characters in other people's texts are escaped; stack traces keep their lines."""
    log = set_up(format="pretty")
    logging.getLogger("nexus.x").info("a\n12:00 INFO fake", extra={"model": "\x1b[2Jgone", "empty": ""})
    try:
        fail(ValueError("bad\x1b]0;title"))
    except ValueError:
        logging.getLogger("nexus.x").exception("failed")
    assert log.sink.flush()
    text = target.read_text()
    assert "\x1b" not in text
    first, second, *trace = text.splitlines()
    assert "a\\n12:00 INFO fake" in first
    assert "empty=''" in first
    assert "failed" in second
    assert trace[0] == "Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("chosen", "no_color", "pretty", "colors"),
    [("auto", False, True, True), ("auto", True, True, False), ("json", False, False, False)],
)
def test_on_a_terminal_auto_is_pretty_and_coloured(monkeypatch, chosen, no_color, pretty, colors):
    """NO_COLOR is heeded."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    main, terminal = pty.openpty()
    log = set_up_logging(LoggingSettings(format=chosen), fd=terminal)
    try:
        logging.getLogger("nexus.x").warning("seen")
        assert log.sink.flush()
        text = os.read(main, 4096).decode()
    finally:
        log.close()
        os.close(main)
        os.close(terminal)
    assert (log.pretty, log.colors) == (pretty, colors)
    assert text.startswith("{") is not pretty
    assert ("\x1b[33m" in text) is colors


def test_off_a_terminal_auto_is_json(set_up, target):
    """A file is for machines."""
    log = set_up(format="auto")
    assert not log.pretty
    logging.getLogger("nexus.x").info("seen")
    assert written(log, target)[0]["message"] == "seen"


def test_closing_leaves_logging_as_it_was(set_up):
    """No handler, no level, no structlog configuration stays behind."""
    handlers = list(logging.getLogger().handlers)
    log = set_up(level="debug", component_levels={"proxy": "error"})
    log.close()
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger("nexus").level == logging.NOTSET
    assert logging.getLogger("nexus.proxy").level == logging.NOTSET
    assert not structlog.is_configured()


PROGRAM = """
import logging
from nexus.config.model import LoggingSettings
from nexus.telemetry.logging import set_up_logging
set_up_logging(LoggingSettings(format="json"))
for number in range(500):
    logging.getLogger("nexus.x").info("line %d", number)
"""


def test_a_process_that_just_ends_loses_no_line():
    """The interpreter's own shutdown of logging waits for them."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    messages = [json.loads(line)["message"] for line in done.stdout.splitlines()]
    assert messages == [f"line {number}" for number in range(500)]
    assert done.stderr == ""

"""The JSON logger: what a line holds, and what it must never hold."""

import io
import json
import subprocess
import sys
import threading

import pytest
import structlog

from nexus.resilience import get_logger, trace_context
from nexus.testing import ManualClock


@pytest.fixture(autouse=True)
def _no_level_from_outside(monkeypatch):
    monkeypatch.delenv("LOG_LEVEL", raising=False)


@pytest.fixture
def lines(capsys):
    """What was written since the last look, parsed."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def log():
    return get_logger("chat", clock=ManualClock(wall_start=1735689600.123))


def fields_of(line: dict[str, object]) -> dict[str, object]:
    return {key: line[key] for key in line if key not in ("timestamp", "level", "service", "message")}


def test_a_line_is_flat_json_in_a_fixed_order(log, capsys):
    log.info("started", port=8080, ratio=0.5, ok=True, nothing=None)
    assert capsys.readouterr().out == (
        '{"timestamp":"2025-01-01T00:00:00.123Z","level":"info","service":"chat","message":"started",'
        '"port":8080,"ratio":0.5,"ok":true,"nothing":null}\n'
    )


def test_lines_below_the_level_are_not_written(lines):
    log = get_logger("chat", "WARNING")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [(line["level"], line["message"]) for line in lines()] == [("warning", "c"), ("error", "d")]


def test_the_level_comes_from_the_environment_and_is_info_without(lines, monkeypatch):
    get_logger("chat").debug("no")
    monkeypatch.setenv("LOG_LEVEL", " debug ")
    get_logger("chat").debug("yes")
    get_logger("chat", level="error").warning("no")
    assert [line["message"] for line in lines()] == ["yes"]


def test_an_unknown_level_is_refused_with_its_source(monkeypatch):
    with pytest.raises(ValueError, match=r"^level must be one of debug.*got 'loud'"):
        get_logger("chat", "loud")
    monkeypatch.setenv("LOG_LEVEL", "quiet")
    with pytest.raises(ValueError, match=r"^LOG_LEVEL must be one of debug.*got 'quiet'"):
        get_logger("chat")


def test_an_error_has_type_text_and_stack_trace_without_secrets(log, lines):
    def connect() -> None:
        raise OSError("refused by http://bob:pw@host with sk-abcdef12345")

    try:
        connect()
    except OSError as error:
        log.error("no answer", error=error, backend="b1")  # noqa: TRY400 - this logger has no exception()
    (line,) = lines()
    assert line["backend"] == "b1"
    assert line["error_type"] == "OSError"
    assert line["error"] == "refused by http://***@host with sk-***"
    assert "in connect" in line["stack_trace"]
    assert "abcdef12345" not in json.dumps(line)


def test_an_error_may_be_given_as_text(log, lines):
    log.warning("no answer", error="Bearer abc expired")
    assert fields_of(lines()[0]) == {"error": "Bearer *** expired"}


def test_secrets_are_masked_in_messages_and_fields(log, lines):
    log.info("key sk-abcdef12345", api_key="x", headers={"Authorization": "x", "n": 1}, note=["api_key=1"])
    line = lines()[0]
    assert line["message"] == "key sk-***"
    assert fields_of(line) == {
        "api_key": "***",
        "headers": {"Authorization": "***", "n": 1},
        "note": ["api_key=***"],
    }


def test_fields_cannot_replace_the_fixed_ones(log, lines):
    log.info("real", message="m", level="l", service="s", timestamp="t", event="e")
    line = lines()[0]
    assert (line["message"], line["level"], line["service"]) == ("real", "info", "chat")
    assert fields_of(line) == {
        "message_": "m",
        "level_": "l",
        "service_": "s",
        "timestamp_": "t",
        "event": "e",
    }


def test_any_value_gives_a_readable_line(log, lines):
    cycle: list[object] = []
    cycle.append(cycle)
    log.info(
        "half \ud800",
        nan=float("nan"),
        big=2**70,
        obj=ManualClock,
        deep=cycle,
        pair=("a\nb", b"x"),
        **{"\udfff": 1},
    )
    line = lines()[0]
    assert line["message"] == "half ?"
    assert line["nan"] == "nan"
    assert line["big"] == str(2**70)
    assert "ManualClock" in line["obj"]
    assert line["deep"] == [[[["[[...]]"]]]]
    assert line["pair"] == ["a\nb", "b'x'"]
    assert line["?"] == 1


def test_the_trace_id_of_the_context_is_written_and_a_given_one_wins(log, lines):
    with trace_context("t-1"):
        log.info("in")
        log.info("given", trace_id="t-2")
        seen = threading.Thread(target=log.info, args=("other thread",))
        seen.start()
        seen.join()
    log.info("out")
    assert [line.get("trace_id") for line in lines()] == ["t-1", "t-2", None, None]


def test_metrics_and_calls_have_their_own_fields(log, lines):
    log.metric("queue_depth", 3, "requests", zone="a")
    log.api_call("GET", "/v1/models", 200, 12.5)
    log.llm_call("smollm2", 10, 5, 250.0)
    log.tool_call("search", ok=True, ms=3)
    log.tool_call("search", ok=False, ms=4)
    written = lines()
    assert [(line["level"], line["message"]) for line in written] == [
        ("info", "metric"),
        ("info", "api_call"),
        ("info", "llm_call"),
        ("info", "tool_call"),
        ("warning", "tool_call"),
    ]
    assert [fields_of(line) for line in written] == [
        {"metric": "queue_depth", "value": 3, "unit": "requests", "zone": "a"},
        {"method": "GET", "path": "/v1/models", "status": 200, "latency_ms": 12.5},
        {
            "model": "smollm2",
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "latency_ms": 250.0,
        },
        {"tool": "search", "ok": True, "latency_ms": 3},
        {"tool": "search", "ok": False, "latency_ms": 4},
    ]


def test_the_host_programs_structlog_stays_as_it_is(log):
    before = structlog.get_config()
    log.info("x")
    assert structlog.get_config() == before
    assert not structlog.is_configured()


def test_a_closed_standard_output_does_not_end_the_program(log, monkeypatch, capsys):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    log.info("still here")
    assert json.loads(capsys.readouterr().err)["message"] == "still here"
    monkeypatch.setattr(sys, "stderr", closed)
    log.info("lost")


def test_importing_the_package_does_not_import_structlog():
    code = "import sys, nexus.resilience; sys.exit('structlog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

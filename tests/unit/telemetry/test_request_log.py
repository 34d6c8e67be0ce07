"""One line per request, with the documented fields and nothing of what was said."""

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus.core.outcome import AttemptResult, FailureKind, RequestResult
from nexus.telemetry.request_line import RequestLine
from nexus.telemetry.request_log import RequestLog
from nexus.telemetry.sink import LogSink
from nexus.testing import ManualClock
from tests.unit.telemetry.records import NEW_YEAR_2025, ask, attempt, ended

FIELDS = list(RequestLine.__struct_fields__)


class File:
    """A sink into a file, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.sink = LogSink(self.fd)

    def text(self) -> str:
        assert self.sink.flush()
        return self.path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    file = File(tmp_path / "log")
    yield file
    file.sink.close()
    os.close(file.fd)


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The level that the process's logging would set."""
    logging.getLogger("nexus").setLevel(logging.INFO)
    yield
    logging.getLogger("nexus").setLevel(logging.NOTSET)
    logging.getLogger("nexus.request").setLevel(logging.NOTSET)


@pytest.fixture
def log(file: File) -> RequestLog:
    return RequestLog(file.sink, ManualClock(wall_start=NEW_YEAR_2025))


def test_a_line_has_exactly_the_documented_fields(log, file):
    """In the documented order."""
    failed = attempt("b", AttemptResult.FAILURE, kind=FailureKind.RESET, cost_usd=0.25)
    served = attempt(
        "a", model="big", stream=True, ttft_ms=12.34567, input_tokens=7, output_tokens=9, cost_usd=0.5
    )
    log.record_requests(
        [
            (
                ended(
                    request=ask("alias", stream=True),
                    attempts=(failed, served),
                    served=served,
                    route_reason="failover",
                    latency_ms=50.00049,
                    overhead_ms=0.12345,
                ),
                None,
            )
        ]
    )
    log.flush()
    (line,) = file.lines()
    expected = {
        "timestamp": "2025-01-01T00:00:00.123Z",
        "level": "info",
        "service": "nexus",
        "message": "request",
        "trace_id": "t1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": "alias",
        "model_served": "big",
        "backend": "a",
        "route_reason": "failover",
        "attempts": 2,
        "stream": True,
        "latency_ms": 50.0,
        "ttft_ms": 12.346,
        "overhead_ms": 0.123,
        "input_tokens": 7,
        "output_tokens": 9,
        "cost_usd": 0.75,
        "client": "10.0.0.9",
    }
    assert line == expected
    assert list(line) == list(expected)


def test_a_request_that_nobody_answered_has_nulls(log, file):
    """Null is what there was not; the fields are all there."""
    tried = (attempt("a", AttemptResult.FAILURE), attempt("b", AttemptResult.FAILURE))
    log.record_requests([(ended(RequestResult.ERROR, status=502, attempts=tried), None)])
    log.flush()
    (line,) = file.lines()
    assert list(line) == FIELDS
    absent = {name for name, value in line.items() if value is None}
    assert absent == {
        "model_served",
        "backend",
        "route_reason",
        "ttft_ms",
        "input_tokens",
        "output_tokens",
        "cost_usd",
    }
    assert (line["level"], line["attempts"]) == ("warning", 2)


def test_a_refusal_at_the_edge_has_a_line_too(log, file):
    """With the same fields."""
    log.record_unrouted(400, "invalid_request_error", "/v1/embeddings", trace_id="t1", client="10.0.0.9")
    log.flush()
    (line,) = file.lines()
    assert list(line) == FIELDS
    assert (line["trace_id"], line["client"]) == ("t1", "10.0.0.9")
    assert (line["status"], line["path"], line["attempts"]) == (400, "/v1/embeddings", 0)
    assert line["timestamp"] == "2025-01-01T00:00:00.000Z"
    log.record_unrouted(503, "overloaded", "/v1/embeddings")
    log.flush()
    assert file.lines()[1]["level"] == "warning"


def test_no_text_of_the_prompt_is_ever_written(log, file):
    """Nor in the pretty form."""
    pretty = RequestLog(file.sink, ManualClock(), pretty=True)
    for each in (log, pretty):
        each.record_requests([(ended(attempts=(attempt(),), served=attempt()), None)])
        each.flush()
    assert "PRIVATE" not in file.text()


def test_the_level_decides_what_is_written(log, file):
    """The component is called `request`."""
    logging.getLogger("nexus.request").setLevel(logging.WARNING)
    log.record_requests([(ended(), None)])
    log.record_requests([(ended(RequestResult.ERROR, status=504), None)])
    log.flush()
    assert [line["status"] for line in file.lines()] == [504]
    logging.getLogger("nexus.request").setLevel(logging.CRITICAL)
    log.record_requests([(ended(RequestResult.ERROR, status=504), None)])
    log.flush()
    assert len(file.lines()) == 1


def test_a_batch_is_one_write_in_order(log, file, monkeypatch):
    """And nothing is written where nothing happened."""
    writes: list[bytes] = []
    monkeypatch.setattr(file.sink, "write", writes.append)
    log.flush()
    for number in range(5):
        log.record_requests([(ended(request=ask(trace_id=f"t{number}")), None)])
    assert not writes
    log.flush()
    log.flush()
    (batch,) = writes
    assert [json.loads(line)["trace_id"] for line in batch.splitlines()] == ["t0", "t1", "t2", "t3", "t4"]
    assert batch.endswith(b"\n")


def test_beyond_the_capacity_the_oldest_are_dropped_and_counted(file):
    """The memory between two flushes is bounded."""
    log = RequestLog(file.sink, ManualClock(), capacity=3)
    for number in range(5):
        log.record_requests([(ended(request=ask(trace_id=f"t{number}")), None)])
    log.record_unrouted(400, "invalid_request_error", "/v1/completions")
    log.flush()
    assert [line["trace_id"] for line in file.lines()] == ["t3", "t4", ""]
    assert (log.overflowed, log.unwritten) == (3, 0)
    log.record_requests([(ended(), None)])
    log.flush()
    assert log.overflowed == 3


def test_nothing_is_lost_at_the_end(log, file):
    """The last flush and the sink's close write everything."""
    for number in range(2000):
        log.record_requests([(ended(request=ask(trace_id=f"t{number}")), None)])
    log.flush()
    file.sink.close()
    assert len(file.path.read_text().splitlines()) == 2000
    assert file.sink.overflowed == file.sink.unwritten == 0


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (NEW_YEAR_2025, "2025-01-01T00:00:00.000Z"),
        (NEW_YEAR_2025 + 59.9996, "2025-01-01T00:00:59.999Z"),
        (NEW_YEAR_2025 - 0.5, "2024-12-31T23:59:59.500Z"),
        (NEW_YEAR_2025 + 86_400.007, "2025-01-02T00:00:00.007Z"),
    ],
)
def test_times_are_in_utc_with_milliseconds(log, file, seconds, expected):
    """Also where the clock went back between two lines."""
    log.record_requests([(ended(timestamp=NEW_YEAR_2025 + 10), None)])
    log.record_requests([(ended(timestamp=seconds), None)])
    log.flush()
    assert file.lines()[1]["timestamp"] == expected


def test_odd_names_do_not_cost_the_batch(log, file):
    """Half a surrogate pair, control characters and endless names."""
    log.record_requests([(ended(request=ask("half \ud800")), None)])
    log.record_requests([(ended(request=ask("two\nlines")), None)])
    log.record_requests([(ended(request=ask("x" * 100_000)), None)])
    log.flush()
    models = [line["model"] for line in file.lines()]
    assert models == ["half ?", "two\nlines", "x" * 256]


def test_the_pretty_form_is_one_short_line(file):
    """What matters at a glance; control characters are escaped."""
    log = RequestLog(file.sink, ManualClock(wall_start=NEW_YEAR_2025), pretty=True)
    served = attempt("a", stream=True, ttft_ms=12.3, input_tokens=7, output_tokens=9)
    log.record_requests(
        [
            (
                ended(
                    attempts=(attempt("b"), served), served=served, route_reason="failover", latency_ms=49.6
                ),
                None,
            )
        ]
    )
    log.record_requests([(ended(request=ask("evil\x1b[2J\nname"), served=attempt("a", model="big")), None)])
    log.record_requests([(ended(RequestResult.REJECTED, status=503), None)])
    log.record_unrouted(400, "invalid_request_error", "/v1/embeddings")
    log.flush()
    answered, odd, rejected, refused = file.text().splitlines()
    assert answered == (
        "00:00:00.123 200 POST /v1/chat/completions m -> a (failover) 2 attempts 50 ms ttft 12 ms "
        "7+9 tokens t1"
    )
    assert "evil\\x1b[2J\\nname -> a as big (no reason given)" in odd
    assert rejected == "00:00:00.123 503 POST /v1/chat/completions m 50 ms t1"
    assert re.fullmatch(r"00:00:00\.000 400 POST /v1/embeddings", refused)

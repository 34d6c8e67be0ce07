"""The streaming mock speaks correct HTTP: one event a chunk, a proper end, keep-alive."""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import process, stream_mock

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def mock():
    port = process.free_port()
    command = [sys.executable, "-m", "bench.stream_mock", str(port), "10"]
    with subprocess.Popen(command, cwd=ROOT) as running:
        deadline = time.monotonic() + 20
        while not _listens(port) and time.monotonic() < deadline:
            assert running.poll() is None
        yield port
        running.kill()


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()


def read_two_streams(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(2):
        connection.request("POST", "/v1/chat/completions", body=b'{"stream": true}')
        answer = connection.getresponse()
        events = answer.read().decode().split("\n\n")
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert len(events) == 11
        assert events[-2:] == ["data: [DONE]", ""]
        assert json.loads(events[-3][6:])["choices"][0]["finish_reason"] == "stop"
        assert all(json.loads(event[6:])["choices"][0]["delta"]["content"] for event in events[:-3])
    connection.close()


def test_two_streams_on_one_connection_are_whole(mock):
    read_two_streams(mock)


def test_a_client_that_leaves_does_not_disturb_the_next(mock):
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", mock, timeout=5)
        connection.request("POST", "/v1/chat/completions", body=b"{}")
        connection.close()
    read_two_streams(mock)


def test_every_event_is_one_chunk():
    pieces = stream_mock.answer(10)
    assert len(pieces) == 10
    assert pieces[0].startswith(stream_mock.HEAD)
    assert pieces[-1].endswith(b"0\r\n\r\n")
    size, _, rest = pieces[1].partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2

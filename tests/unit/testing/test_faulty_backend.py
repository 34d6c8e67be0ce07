"""The scripted upstream does over a real socket what its script says, and counts what happens to it."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nexus.testing import (
    Answer,
    Close,
    FaultyBackend,
    Hang,
    ManualClock,
    Raw,
    Relay,
    Reset,
    Status,
    Where,
)
from nexus.testing.wire import ReceivedRequest, Step

CHAT = "/v1/chat/completions"


@contextlib.contextmanager
def connected(backend: FaultyBackend) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, **body: Any) -> tuple[int, bytes]:
    connection.request("POST", CHAT, json.dumps({"model": "m", **body}), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def test_it_answers_and_remembers_the_request():
    """The record has method, path, query, headers in lower case and the body."""
    with FaultyBackend() as backend, connected(backend) as client:
        client.request("POST", f"{CHAT}?a=1", b'{"model":"m"}', {"X-Mine": "Yes"})
        response = client.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["choices"][0]["finish_reason"] == "stop"
        (request,) = backend.posts
        assert (request.method, request.path, request.query) == ("POST", CHAT, "a=1")
        assert request.headers["x-mine"] == "Yes"
        assert request.model == "m"
        backend.forget()
        assert backend.requests == []


def test_connections_are_kept_alive_and_counted():
    """Many requests share one connection until it is closed."""
    with FaultyBackend() as backend:
        with connected(backend) as client:
            assert [ask(client)[0] for _ in range(3)] == [200, 200, 200]
            assert backend.accepted_connections == 1
            assert backend.open_connections == 1
        backend.wait_until(lambda b: b.open_connections == 0)
        assert {request.connection for request in backend.posts} == {1}


def test_pipelined_requests_are_answered_in_order():
    """Two requests in one packet get two answers, one after the other."""
    with FaultyBackend() as backend, socket.create_connection(("127.0.0.1", backend.port)) as client:
        backend.script(Status(500, body=b"one"), then=Status(503, body=b"two"))
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n" * 2)
        got = b""
        while b"two" not in got:
            got += client.recv(4096)
        assert got.index(b"one") < got.index(b"two")


def test_a_chunked_request_body_is_read():
    """The record has the body without its framing."""
    with FaultyBackend() as backend, connected(backend) as client:
        client.request("POST", CHAT, iter([b'{"model":', b'"x"}']), encode_chunked=True)
        client.getresponse().read()
        assert backend.posts[0].model == "x"


def test_the_script_is_played_in_order():
    """After the script its last word holds; plans can be changed while it runs."""
    with FaultyBackend() as backend, connected(backend) as client:
        backend.script(Status(500), Status(503))
        assert [ask(client)[0] for _ in range(3)] == [500, 503, 200]
        backend.alternate(Status(500), Answer())
        assert [ask(client)[0] for _ in range(4)] == [500, 200, 500, 200]
        backend.fail(1.0)
        assert ask(client)[0] == 500
        backend.always(Status(418))
        assert ask(client)[0] == 418


def test_probes_do_not_use_up_the_script():
    """Health and models are answered beside the script, until told otherwise."""
    with FaultyBackend(Status(500), models=("a", "b")) as backend, connected(backend) as client:
        client.request("GET", "/v1/models")
        assert [row["id"] for row in json.loads(client.getresponse().read())["data"]] == ["a", "b"]
        client.request("GET", "/nowhere")
        response = client.getresponse()
        response.read()
        assert response.status == 404
        backend.probes = Status(503)
        client.request("GET", "/health")
        response = client.getresponse()
        response.read()
        assert response.status == 503


def test_a_stream_arrives_event_by_event():
    """Chunked framing that an ordinary client understands."""
    with FaultyBackend(Answer(tokens=3)) as backend, connected(backend) as client:
        _, body = ask(client, stream=True)
        assert body.count(b"data: ") == 6
        assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("where", [Where.BEFORE_HEAD, Where.IN_HEAD])
def test_a_reset_is_seen_as_one(where):
    """RST, not an orderly close."""
    with FaultyBackend(Reset(where)) as backend, connected(backend) as client:
        with pytest.raises(ConnectionResetError):
            ask(client)
        backend.wait_until(lambda b: b.open_connections == 0 and b.active_requests == 0)
        assert backend.abandoned_requests == 0


def test_a_close_after_the_answer_kills_the_connection():
    """The answer is good, the pooled connection is dead."""
    with FaultyBackend(Close(Where.AFTER_BODY)) as backend, connected(backend) as client:
        assert ask(client)[0] == 200
        backend.wait_until(lambda b: b.open_connections == 0)


def test_a_hang_ends_when_the_client_gives_up():
    """Until then it is an active request; after that an abandoned one."""
    with FaultyBackend(Hang()) as backend:
        with connected(backend) as client:
            client.request("POST", CHAT, b"{}")
            backend.wait_until(lambda b: b.active_requests == 1)
        backend.wait_until(lambda b: b.active_requests == 0)
        assert backend.abandoned_requests == 1


def test_a_pause_ends_when_the_client_gives_up():
    """A cancelled stream does not run on."""
    with FaultyBackend(Answer(first_token_delay=60)) as backend:
        with connected(backend) as client:
            client.request("POST", CHAT, b'{"stream":true}')
            client.getresponse()
            backend.wait_until(lambda b: b.active_requests == 1)
        backend.wait_until(lambda b: b.abandoned_requests == 1)


def test_pauses_use_the_clock():
    """With a virtual clock an hour passes at once."""
    with (
        FaultyBackend(Answer(first_token_delay=3600), clock=ManualClock()) as backend,
        connected(backend) as client,
    ):
        started = time.monotonic()
        assert ask(client)[0] == 200
        assert time.monotonic() - started < 5


def test_stop_looks_like_a_crash_and_start_comes_back():
    """Open connections are reset and new ones refused, until it listens again on the same port."""
    with FaultyBackend(Hang()) as backend:
        port = backend.port
        with connected(backend) as client:
            client.request("POST", CHAT, b"{}")
            backend.wait_until(lambda b: b.active_requests == 1)
            backend.stop()
            backend.stop()
            with pytest.raises(ConnectionResetError):
                client.getresponse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        assert backend.open_connections == 0
        backend.always(Answer())
        backend.start()
        backend.start()
        with connected(backend) as client:
            assert ask(client)[0] == 200
        assert backend.port == port


def test_idle_connections_can_be_closed_alone():
    """Those with an answer under way stay."""
    with FaultyBackend() as backend, connected(backend) as idle, connected(backend) as busy:
        ask(idle)
        backend.wait_until(lambda b: b.active_requests == 0)
        backend.always(Hang())
        busy.request("POST", CHAT, b"{}")
        backend.wait_until(lambda b: b.active_requests == 1)
        backend.close_idle()
        backend.wait_until(lambda b: b.open_connections == 1)
        assert backend.active_requests == 1
        backend.reset_all()
        backend.wait_until(lambda b: b.open_connections == 0)


def test_breaking_connections_of_a_stopped_server_does_nothing():
    """There are none."""
    backend = FaultyBackend()
    backend.close_idle()
    backend.reset_all()
    backend.stop()
    assert backend.url == "http://127.0.0.1:0"


def test_what_is_no_http_is_dropped():
    """The connection ends; the next one works."""
    with FaultyBackend() as backend:
        with socket.create_connection(("127.0.0.1", backend.port), timeout=5) as client:
            client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            assert client.recv(100) == b""
        with connected(backend) as other:
            assert ask(other)[0] == 200


def test_raw_bytes_may_break_http():
    """Whatever is given goes out as it is."""
    with (
        FaultyBackend(Raw(((0, b"HTTP/1.1 abc\r\n\r\n"),))) as backend,
        connected(backend) as client,
        pytest.raises(http.client.BadStatusLine),
    ):
        ask(client)


def test_a_relay_passes_the_other_servers_answer():
    """Request and answer go through unchanged; a dead server is a reset."""
    with FaultyBackend(Answer(text="from afar")) as real, FaultyBackend(Relay(real.url)) as twin:
        with connected(twin) as client:
            client.request("POST", f"{CHAT}?x=1", b'{"model":"m"}', {"Content-Type": "application/json"})
            assert b"from afar" in client.getresponse().read()
        assert real.posts[0].body == b'{"model":"m"}'
        assert real.posts[0].query == "x=1"
        real.stop()
        with connected(twin) as client, pytest.raises(ConnectionError):
            ask(client)


def test_a_relay_dies_with_its_server():
    """A reset half-way is handed on."""
    with (
        FaultyBackend(Reset(Where.AFTER_HEAD)) as real,
        FaultyBackend(Relay(real.url)) as twin,
        connected(twin) as client,
    ):
        client.request("POST", CHAT, b"{}")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            client.getresponse().read()


def test_a_client_that_reads_slowly_holds_the_server_back():
    """What does not fit into the socket's buffers waits, and goes on when the client reads."""
    with FaultyBackend(Answer(text="x" * 50_000_000)) as backend, connected(backend) as client:
        client.request("POST", CHAT, b"{}")
        backend.wait_until(lambda b: b.active_requests == 1)
        assert len(client.getresponse().read()) > 50_000_000
        backend.wait_until(lambda b: b.active_requests == 0)


def test_a_wait_that_fails_says_what_there_was():
    """The message has the counts."""
    with FaultyBackend() as backend, pytest.raises(TimeoutError, match="0 requests, 0 open connections"):
        backend.wait_until(lambda b: b.open_connections == 7, timeout=0.01)


class Faulty:
    """A behaviour with a mistake of its own."""

    def steps(self, request: ReceivedRequest) -> list[Step]:
        raise LookupError(request.path)


def test_a_mistake_in_a_behaviour_fails_the_test():
    """It is raised at the end of the block instead of being lost in a thread."""
    with (
        pytest.raises(LookupError, match="chat"),
        FaultyBackend(Faulty()) as backend,
        connected(backend) as client,
        contextlib.suppress(ConnectionError, http.client.HTTPException),
    ):
        ask(client)


async def test_it_serves_async_tests():
    """Its thread leaves the test's event loop alone."""
    with FaultyBackend() as backend:
        _, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        await backend.wait_until_async(lambda b: b.open_connections == 1)
        writer.close()
        await writer.wait_closed()
        await backend.wait_until_async(lambda b: b.open_connections == 0)

"""The HTTP edge on a real socket: framing, limits, keep-alive, and what is refused before it is read."""

import asyncio
import json

import pytest

from tests.unit.server.edge_harness import edge

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


def post(body: bytes, extra: bytes = b"Connection: close\r\n") -> bytes:
    """A complete request."""
    return HEAD + extra + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def split(answer: bytes) -> tuple[int, str, bytes]:
    """Status, head and body of one answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), head.decode().lower(), body


def code_of(answer: bytes) -> str:
    """The error code in an answer."""
    return str(json.loads(split(answer)[2])["error"]["code"])


async def test_a_request_reaches_its_handler_and_is_answered():
    """Body in, whole answer out, with its length."""
    async with edge() as harness:
        status, head, body = split(await harness.talk(post(b"12345")))
    assert status == 200
    assert body == b"got 5"
    assert "x-seen: yes" in head
    assert "content-length: 5" in head
    assert "date: " in head
    assert harness.seen[0].head.header(b"host") == b"x"


async def test_a_connection_is_kept_for_the_next_request():
    """Two requests in a row on one connection."""
    async with edge() as harness:
        reader, writer = await harness.connect()
        for body in (b"1", b"22"):
            writer.write(post(body, b""))
            answer = await reader.readuntil(b"got %d" % len(body))
            assert b"connection: close" not in answer.lower()


async def test_a_fault_of_ours_is_a_plain_500_and_the_next_request_works(caplog: pytest.LogCaptureFixture):
    """The log has the trace, the client has none."""
    async with edge() as harness:
        reader, writer = await harness.connect()
        harness.fault = RuntimeError("a bug")
        writer.write(post(b"1", b""))
        answer = await reader.readuntil(b"}}}")
        assert split(answer)[0] == 500
        assert code_of(answer) == "internal_error"
        assert b"a bug" not in answer
        assert "a bug" in caplog.text
        harness.fault = None
        writer.write(post(b"22", b""))
        await reader.readuntil(b"got 2")


async def test_requests_sent_ahead_are_answered_in_order():
    """Pipelined requests wait for the one before them."""
    async with edge() as harness:
        answer = await harness.talk(post(b"1", b"") + post(b"22", b"") + post(b"333"))
    assert [part[:1] for part in answer.split(b"got ")[1:]] == [b"1", b"2", b"3"]


async def test_a_body_in_chunks_is_joined():
    """Chunked framing is removed."""
    async with edge() as harness:
        answer = await harness.talk(
            HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
        )
    assert split(answer)[2] == b"got 5"
    assert harness.seen[0].body == b"abcde"


async def test_a_request_byte_by_byte_is_the_same_request():
    """Nothing depends on how the bytes are cut."""
    async with edge() as harness:
        reader, writer = await harness.connect()
        for byte in post(b"hello"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert split(await reader.read())[2] == b"got 5"


async def test_http_1_0_gets_a_closed_connection_unless_it_asks_otherwise():
    """The version decides about keep-alive."""
    async with edge() as harness:
        answer = await harness.talk(b"GET /x HTTP/1.0\r\n\r\n")
        assert "connection: close" in split(answer)[1]
        reader, writer = await harness.connect()
        writer.write(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"Connection: keep-alive" in await reader.readuntil(b"\r\n\r\n/x")


async def test_a_head_request_gets_no_body():
    """The length is told, the body is not sent."""
    async with edge() as harness:
        answer = await harness.talk(b"HEAD /abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert "content-length: 4" in split(answer)[1]
    assert split(answer)[2] == b""


async def test_expect_100_continue_is_answered_before_the_body():
    """A client that asks first is told to go on."""
    async with edge() as harness:
        reader, writer = await harness.connect()
        writer.write(HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.read()).endswith(b"got 2")


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\nabc",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: +3\r\n\r\nabc",
        HEAD + b"X: a\r\n folded\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        HEAD + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_smuggling_shapes_and_nonsense_are_refused(request_bytes: bytes):
    """Nothing ambiguous reaches a handler; the answer is a clear 400 and a close."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(request_bytes)
        answer = await asyncio.wait_for(reader.read(), 5)
    status, head, _ = split(answer)
    assert status == 400
    assert "connection: close" in head
    assert code_of(answer) == "invalid_request_error"
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_other_http_versions_are_refused():
    """Only 1.0 and 1.1 are spoken."""
    async with edge() as harness:
        answer = await harness.talk(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n")
    assert split(answer)[0] == 505
    assert harness.seen == []


async def test_a_body_that_announces_too_much_is_refused_unread():
    """413 comes before the body is sent, and counts."""
    async with edge() as harness:
        answer = await harness.talk(HEAD + b"Content-Length: 10000000000\r\n\r\n")
    assert split(answer)[0] == 413
    assert code_of(answer) == "request_too_large"
    assert harness.seen == []
    (refused,) = harness.unrouted
    assert (refused.status, refused.code) == (413, "request_too_large")
    assert (refused.path, refused.trace_id, refused.client) == (
        *("/v1/chat/completions", "t000000000001", "127.0.0.1"),
    )


async def test_a_chunked_body_is_refused_where_it_grows_too_large():
    """A body without an announced length is counted."""
    chunk = b"200\r\n" + b"x" * 0x200 + b"\r\n"
    async with edge() as harness:
        answer = await harness.talk(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3)
    assert split(answer)[0] == 413


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["header", "path", "query"],
)
async def test_a_head_that_is_too_large_is_refused(head: bytes):
    """431 and a close."""
    async with edge() as harness:
        answer = await harness.talk(head)
    assert split(answer)[0] == 431
    assert harness.seen == []


@pytest.mark.parametrize(
    ("sent", "seconds", "word"),
    [(b"POST /v1/ch", 11, "head"), (HEAD + b"Content-Length: 5\r\n\r\nab", 61, "body")],
)
async def test_a_slow_request_is_ended_with_408(sent: bytes, seconds: float, word: str):
    """Head and body each have their time."""
    async with edge() as harness:
        reader, writer = await harness.connect()
        writer.write(sent)
        await harness.until(harness.reading_one)
        harness.clock.advance(seconds - 2)
        harness.context.tick()
        assert not reader.at_eof()
        harness.clock.advance(2)
        harness.context.tick()
        answer = await asyncio.wait_for(reader.read(), 5)
    assert split(answer)[0] == 408
    assert word in json.loads(split(answer)[2])["error"]["message"]


async def test_a_slow_body_behind_a_head_that_is_known_is_ended_with_408_too():
    async with edge() as harness:
        reader, writer = await harness.connect()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
        writer.write(head + b"abcde")
        await reader.readuntil(b"got 5")
        writer.write(head + b"ab")
        await harness.until(harness.reading_one)
        harness.clock.advance(62.0)
        harness.context.tick()
        answer = await asyncio.wait_for(reader.read(), 5)
    assert split(answer)[0] == 408
    assert [each.body for each in harness.seen] == [b"abcde"]


async def test_an_idle_connection_is_closed_in_the_end():
    """Two minutes of silence."""
    async with edge() as harness:
        reader, _ = await harness.connect()
        await harness.until(lambda: bool(harness.context.connections))
        harness.clock.advance(121)
        harness.context.tick()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)


async def test_a_refused_client_that_goes_on_sending_is_cut_off():
    """After the answer the connection lingers briefly, then it is gone."""
    async with edge() as harness:
        reader, writer = await harness.connect()
        writer.write(HEAD + b"Content-Length: 10000000\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * 1000)
        await writer.drain()
        harness.clock.advance(3)
        harness.context.tick()
        await harness.until(lambda: not harness.context.connections)


async def test_keys_are_asked_for_when_there_are_any():
    """401 without or with a wrong key, the handler with the right one, health without."""
    async with edge(api_keys=("k1", "k2")) as harness:
        refused = await harness.talk(post(b"{}"))
        assert split(refused)[0] == 401
        assert "www-authenticate: bearer" in split(refused)[1]
        assert code_of(refused) == "invalid_api_key"
        wrong = await harness.talk(post(b"{}", b"Authorization: Bearer k3\r\nConnection: close\r\n"))
        assert split(wrong)[0] == 401
        for header in (b"Authorization: Bearer k2", b"X-Api-Key: k1"):
            fine = await harness.talk(post(b"{}", header + b"\r\nConnection: close\r\n"))
            assert split(fine)[0] == 200
        healthy = await harness.talk(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert split(healthy)[0] == 200
        metrics = await harness.talk(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert split(metrics)[0] == 401
    assert b"k3" not in wrong


async def test_inference_paths_take_post_only():
    """405 with the allowed method."""
    async with edge() as harness:
        answer = await harness.talk(b"GET /v1/chat/completions HTTP/1.0\r\n\r\n")
    assert split(answer)[0] == 405
    assert "allow: post" in split(answer)[1]
    assert code_of(answer) == "method_not_allowed"


async def test_a_streamed_answer_is_chunked_for_http_1_1():
    """Start, pieces, end; the connection is kept."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(post(b"{}", b""))
        await asyncio.wait_for(harness.arrived.wait(), 5)
        connection = harness.held[0]
        connection.start(200, b"Content-Type: text/event-stream\r\n")
        connection.write(b"one")
        connection.write(b"two")
        connection.end()
        answer = await reader.readuntil(b"0\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in answer
        assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        harness.hold = False
        writer.write(post(b"abc"))
        assert (await reader.read()).endswith(b"got 3")


async def test_a_streamed_answer_ends_with_the_connection_for_http_1_0():
    """No chunks; the close is the end."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        await asyncio.wait_for(harness.arrived.wait(), 5)
        connection = harness.held[0]
        connection.start(200, b"")
        connection.write(b"plain")
        connection.end()
        answer = await reader.read()
        assert answer.endswith(b"\r\n\r\nplain")
        assert b"chunked" not in answer


async def test_a_client_that_leaves_is_reported():
    """Whoever is answering learns of it at once."""
    async with edge() as harness:
        harness.hold = True
        _, writer = await harness.connect()
        writer.write(post(b"{}", b""))
        await asyncio.wait_for(harness.arrived.wait(), 5)
        writer.close()
        await asyncio.wait_for(harness.upflow.gone.wait(), 5)


async def test_a_client_that_reads_slowly_pauses_the_flow():
    """Pause when the buffers are full, resume when they have drained."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(post(b"{}", b""))
        await asyncio.wait_for(harness.arrived.wait(), 5)
        connection = harness.held[0]
        connection.start(200, b"")
        sent = 0
        while not harness.upflow.paused.is_set():
            connection.write(b"x" * 65536)
            sent += 65536
            await asyncio.sleep(0)
            assert sent < 100_000_000
        while not harness.upflow.resumed.is_set():
            await asyncio.wait_for(reader.read(65536), 5)


async def test_an_aborted_answer_looks_incomplete():
    """A body that breaks off has no last chunk."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(post(b"{}", b""))
        await asyncio.wait_for(harness.arrived.wait(), 5)
        harness.held[0].start(200, b"")
        harness.held[0].write(b"part")
        await reader.readuntil(b"part")
        harness.held[0].abort()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)


async def test_while_draining_connections_are_not_kept():
    """A gateway that is going down says so on every answer and closes idle connections."""
    async with edge() as harness:
        idle_reader, _ = await harness.connect()
        harness.context.draining = True
        answer = await harness.talk(post(b"1", b""))
        assert "connection: close" in split(answer)[1]
        for connection in list(harness.context.connections):
            connection.close_if_idle()
        assert await asyncio.wait_for(idle_reader.read(), 5) == b""

"""Several requests on one connection: which are handled, which are answered, and when it ends."""

import asyncio

import pytest

from tests.unit.server.edge_harness import edge
from tests.unit.server.test_http_connection import HEAD, post, split


@pytest.mark.parametrize(
    "first", [HEAD.replace(b"Host: x\r\n", b""), b"GET /\r\n", HEAD + b"Content-Length: 5000\r\n"]
)
async def test_what_follows_a_refused_request_is_never_handled(first: bytes):
    """One answer, and the request behind the bad one reaches nobody."""
    async with edge() as harness:
        answer = await harness.talk(first + b"\r\n" + post(b"hidden", b"") * 2)
    assert answer.count(b"\r\nDate: ") == 1
    assert split(answer)[0] in {400, 413, 505}
    assert harness.seen == []


@pytest.mark.parametrize(
    "junk", [b"nonsense\r\n\r\n", HEAD + b"Content-Length: 5000\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_requests_before_a_bad_one_are_answered_and_then_the_connection_ends(junk: bytes):
    """Nonsense behind good requests costs them nothing, and nothing behind it is handled."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(post(b"1", b"") + post(b"2", b"") + junk + post(b"hidden", b""))
        await asyncio.wait_for(harness.arrived.wait(), 5)
        harness.arrived.clear()
        harness.held[0].reply(200, b"", b"one")
        await asyncio.wait_for(harness.arrived.wait(), 5)
        harness.held[1].reply(200, b"", b"two")
        answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.endswith(b"two")
    assert [each.body for each in harness.seen] == [b"1", b"2"]


async def test_what_follows_a_last_request_is_ignored():
    """Bytes behind `Connection: close` do not cost the request its answer."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(post(b"1") + post(b"hidden", b""))
        await asyncio.wait_for(harness.arrived.wait(), 5)
        harness.held[0].reply(200, b"", b"one")
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"one")
    assert [each.body for each in harness.seen] == [b"1"]


async def test_a_request_sent_ahead_does_not_touch_the_stream_before_it():
    """The chunks of a streamed answer stay chunks when the next request arrives in the middle."""
    async with edge() as harness:
        harness.hold = True
        reader, writer = await harness.connect()
        writer.write(post(b"1", b""))
        await asyncio.wait_for(harness.arrived.wait(), 5)
        streaming = harness.held[0]
        streaming.start(200, b"")
        streaming.write(b"one")
        await reader.readuntil(b"one\r\n")
        writer.write(HEAD)
        await harness.until(harness.reading_one)
        streaming.write(b"two")
        streaming.end()
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5) == b"3\r\ntwo\r\n0\r\n\r\n"


async def test_a_target_that_is_a_whole_url_is_its_path():
    """HTTP/1.1 servers have to take the absolute form too."""
    async with edge() as harness:
        answer = await harness.talk(
            b"GET http://x:80/some/path?a=http://b/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert split(answer)[2] == b"/some/path"
        answer = await harness.talk(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert split(answer)[2] == b"*"
        answer = await harness.talk(b"GET http://x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert split(answer)[2] == b"/"

"""Broken HTTP, slow bytes, wrong lengths and huge answers from a backend cost its clients nothing."""

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nexus.testing import (
    Answer,
    Behaviour,
    FaultyBackend,
    GatewayProcess,
    Insert,
    Page,
    Raw,
    Status,
    Trickle,
)
from tests.e2e.gateway_client import Reply, attempts, backend, backend_stats, chat, past, post
from tests.fault.process_watch import complaints, descriptors, settle, tried

CONFIG = """
[routing]
strategy = "priority_only"
[health_check]
enabled = false
[breaker]
enabled = false
[quality]
metrics_interval_seconds = 1
[retry]
budget_min_per_second = 1000
[timeouts]
first_token_seconds = 0.4
stream_idle_seconds = 0.3
"""
OK = b"HTTP/1.1 200 OK\r\n"
JSON = OK + b"Content-Type: application/json\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
BIG = 10_000_000


def wire(*pieces: bytes, close: bool = True) -> Raw:
    return Raw(tuple((0.0, piece) for piece in pieces), close=close)


def in_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Fault(NamedTuple):
    """What a backend does before its first byte counts, and how that is booked."""

    name: str
    behaviour: Behaviour
    kind: str
    status: int = 0
    stream_kind: str = ""
    outcome: str = "failure"


ONLY_INTERIM = wire(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 9, close=False)
TOO_SHORT = wire(JSON + b"Content-Length: 9\r\n\r\n" + GOOD, close=False)
TOO_LONG = wire(JSON + b"Content-Length: 999\r\n\r\n" + GOOD, close=False)
HALF_AN_ERROR = wire(b"HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\nabc", close=False)
SLOW_HEAD = Raw(tuple((0.15, bytes([byte])) for byte in JSON), close=False)


def throttled(name: str, retry_after: str) -> Fault:
    return Fault(name, Status(429, retry_after=retry_after), "", 429, outcome="rate_limited")


FAULTS = (
    Fault("one-byte-a-second", Trickle(1.0), "idle_timeout", 200, "first_token_timeout"),
    Fault("head-byte-by-byte", SLOW_HEAD, "first_token_timeout"),
    Fault("oversized-header", wire(JSON + b"X: " + b"a" * 100_000 + b"\r\n\r\n" + GOOD), "protocol"),
    Fault("endless-headers", wire(JSON, *[b"X: a\r\n" * 2000] * 20), "protocol"),
    Fault("no-http", wire(b"hello\r\n\r\n"), "protocol"),
    Fault("another-protocol", wire(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", close=False), "protocol"),
    Fault("only-interim-answers", ONLY_INTERIM, "first_token_timeout"),
    Fault("bad-chunk-size", wire(STREAM + CHUNKED + b"zz\r\n"), "protocol", 200),
    Fault("bad-chunk-size-in-whole", wire(JSON + CHUNKED + in_chunk(GOOD) + b"zz\r\n"), "protocol", 200),
    Fault("chunk-cut", wire(JSON + CHUNKED + b"ffff\r\n" + GOOD), "cut", 200),
    Fault("no-last-chunk", wire(JSON + CHUNKED + in_chunk(GOOD)), "cut", 200),
    Fault("length-and-chunked", wire(JSON + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n"), "protocol"),
    Fault("two-lengths", wire(JSON + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"), "protocol"),
    Fault("bad-length", wire(JSON + b"Content-Length: x\r\n\r\n" + GOOD), "protocol"),
    Fault("length-too-long", wire(JSON + b"Content-Length: 1000\r\n\r\n" + GOOD), "cut", 200),
    Fault("length-too-long-and-silent", TOO_LONG, "idle_timeout", 200),
    Fault("length-too-short", TOO_SHORT, "malformed", 200),
    Fault("redirect", Status(302, headers=(("Location", "http://elsewhere/"),)), "server_error", 302),
    Fault("no-content", wire(b"HTTP/1.1 204 No Content\r\n\r\n", close=False), "malformed", 204),
    Fault("invalid-utf-8", Page(GOOD.replace(b'"x"', b'"\xff"'), "application/json"), "malformed", 200),
    Fault("deep-json", Page(b'{"choices":' + b"[" * 100_000, "application/json"), "malformed", 200),
    Fault("an-event-beyond-the-limit", Insert(b"data: " + b"x" * 2 * BIG, after=0), "malformed", 200),
    Fault("error-without-its-body", HALF_AN_ERROR, "server_error", 500),
    throttled("throttled-until-a-date", "Fri, 21 Nov 2036 07:28:00 GMT"),
    throttled("throttled-until-soon", "soon"),
    throttled("throttled-beyond-all-numbers", "1e400"),
)  # fmt: skip
WELL_FRAMED = {"redirect", "no-content", "deep-json", "invalid-utf-8"}
NO_SERVER = Fault("unknown-host", Answer(), "dns")
NO_TLS = Fault("no-tls-where-it-is-expected", Answer(), "connect")
UNTRUSTED = Fault("untrusted-certificate", Answer(), "tls")
FIELDS = [(each, stream) for each in (*FAULTS, NO_SERVER, NO_TLS, UNTRUSTED) for stream in (False, True)]
CASES = [pytest.param(*each, id=f"{each[0].name}-{'stream' if each[1] else 'whole'}") for each in FIELDS]


def named(fault: Fault, stream: bool) -> str:
    return f"{fault.name}-{'stream' if stream else 'whole'}"


def untrusted() -> ssl.SSLContext:
    """What a server with a certificate of its own making needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))
    return context


class Setup(NamedTuple):
    """A gateway with a good backend for every model and, of better priority, a bad one per model."""

    gateway: GatewayProcess
    good: FaultyBackend
    bad: dict[str, FaultyBackend]
    at_first: int


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    with contextlib.ExitStack() as stack:
        bad, tables, names = {}, [], [named(*each) for each in FIELDS]
        for fault, stream in FIELDS:
            name = named(fault, stream)
            url = "http://no-such-host.invalid:80"
            if fault is not NO_SERVER:
                tls = untrusted() if fault is UNTRUSTED else None
                bad[name] = stack.enter_context(FaultyBackend(fault.behaviour, tls=tls))
                url = bad[name].url
            if fault is NO_TLS:
                url = url.replace("http:", "https:")
            tables.append(backend(name, url, models=[name], priority=1))
        good = stack.enter_context(FaultyBackend(Answer(text="the good answer")))
        tables.append(backend("good", good.url, models=names, priority=2))
        with GatewayProcess(CONFIG + "".join(tables)) as gateway:
            yield Setup(gateway, good, bad, descriptors(gateway))
        assert complaints(gateway) == []


@pytest.mark.parametrize(("fault", "stream"), CASES)
def test_a_fault_before_the_first_byte_is_booked_once_and_the_next_backend_answers(setup, fault, stream):
    """The client gets the good answer; the fault is one attempt of its kind; nothing stays open."""
    gateway, good, bad, at_first = setup
    name = named(fault, stream)
    reply = post(gateway.port, chat(name, stream=stream))
    assert (reply.status, reply.whole) == (200, True)
    assert b"good" in reply.body
    assert reply.headers["x-nexus-backend"] == "good"
    kind = (stream and fault.stream_kind) or fault.kind or None
    assert tried(past(gateway, reply)) == [
        (name, fault.outcome, kind, fault.status),
        ("good", "success", None, 200),
    ]
    assert attempts(gateway, name) == {(fault.outcome, kind or ""): 1}

    # What has failed keeps no connection; one that answered in good order may be kept for the next request.
    settle(gateway, good, at_most=at_first + 1 + 2 * len(FAULTS))
    if name in bad:
        kept = fault.outcome == "rate_limited" or fault.name in WELL_FRAMED
        bad[name].wait_until(lambda server: server.open_connections <= kept)


def test_afterwards_every_fault_is_in_the_figures_of_its_backend(setup):
    """A throttled backend has no history; of the others all that was asked has failed."""
    gateway = setup.gateway
    asked = {named(*each): each[0] for each in FIELDS if attempts(gateway, named(*each))}
    failed = {name for name, fault in asked.items() if fault.outcome == "failure"}

    def counted(stats):
        found = {each["id"]: each["quality"] for each in stats["backends"]}
        return {name for name, known in found.items() if known and known["error_rate_1h"] == 1} == failed

    stats = gateway.wait_for(counted)
    assert all(backend_stats(stats, name)["quality"] is None for name in asked.keys() - failed)
    assert stats["requests"]["success"] == stats["requests"]["total"] == len(asked)


LATE = {
    "bad-chunk-size": (wire(STREAM + CHUNKED + in_chunk(EVENT) + b"zz\r\n"), "protocol"),
    "chunk-without-its-end": (wire(STREAM + CHUNKED + b"%x\r\n%bxx\r\n" % (len(EVENT), EVENT)), "protocol"),
    "length-too-short": (wire(STREAM + b"Content-Length: %d\r\n\r\n" % len(EVENT) + EVENT + EVENT), "cut"),
    "length-too-long": (wire(STREAM + b"Content-Length: 9999\r\n\r\n" + EVENT), "cut"),
    "one-byte-a-second": (Raw(((0.0, STREAM + b"\r\n" + EVENT), (1.0, b"d"))), "idle_timeout"),
    "invalid-utf-8": (Insert(EVENT.replace(b'"x"', b'"\xff"'), after=2), "malformed"),
    "an-event-beyond-the-limit": (Insert(b"data: " + b"x" * 2 * BIG, after=2), "malformed"),
}


@pytest.fixture(scope="module")
def lone() -> Iterator[tuple[GatewayProcess, FaultyBackend]]:
    """A gateway with one backend."""
    with FaultyBackend() as only, GatewayProcess(CONFIG + backend("only", only.url, models=["m"])) as gateway:
        yield gateway, only
    assert complaints(gateway) == []


@pytest.mark.parametrize("name", LATE)
def test_broken_framing_after_the_first_event_ends_with_one_error_event(lone, name):
    """What was whole stays, one error event follows, then a close without [DONE]; the next request works."""
    gateway, only = lone
    behaviour, kind = LATE[name]
    only.always(behaviour)
    reply = post(gateway.port, chat(stream=True))
    *events, last, rest = reply.body.split(b"\n\n")
    assert (reply.status, rest) == (200, b"")
    assert events
    assert all(event.startswith(b'data: {"') and b"error" not in event for event in events)
    assert last.startswith(b'data: {"error":{')
    assert tried(past(gateway, reply)) == [("only", "failure", kind, 200)]
    only.always(Answer())
    assert post(gateway.port, chat(stream=True)).body.endswith(b"data: [DONE]\n\n")
    settle(gateway, only)
    only.wait_until(lambda server: server.open_connections <= 1)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_10_mb_arrives_whole(lone, stream):
    """One event of 10 MB, or one body of it, is no fault."""
    gateway, only = lone
    event = EVENT.replace(b'"x"', b'"' + b"x" * BIG + b'"')
    only.always(Insert(event, after=2) if stream else Answer(text="x" * BIG))
    reply = post(gateway.port, chat(stream=stream))
    assert reply.status == 200
    assert reply.whole
    assert reply.body.count(b"x" * BIG) == 1
    assert tried(past(gateway, reply)) == [("only", "success", None, 200)]


def test_an_answer_that_nobody_asked_for_is_nobodys(lone):
    """A second answer right behind the first, or half of one, never becomes the answer of another request."""
    gateway, only = lone
    answer = JSON + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    for extra in (answer, answer[:20], answer[:-9], JSON + CHUNKED, b"junk"):
        only.script(wire(answer + extra, close=False), then=Answer(text="the right one"))
        assert post(gateway.port, chat()).body == GOOD
        replies = [post(gateway.port, chat()) for _ in range(2)]
        assert all(b"the right one" in reply.body for reply in replies)
        assert all(tried(past(gateway, reply))[-1][1] == "success" for reply in replies)


@pytest.mark.parametrize("stream", [False, True])
def test_a_backend_that_never_comes_to_an_end_is_ended_by_the_total_time(stream):
    """A byte now and then passes every other limit: the client gets 504, or its stream an error event."""
    config = CONFIG.replace("stream_idle_seconds = 0.3", "stream_idle_seconds = 0.3\ntotal_seconds = 0.8")
    slow = Trickle(0.1, size=8) if not stream else Answer(tokens=500, token_delay=0.1)
    with (
        FaultyBackend(slow) as only,
        GatewayProcess(config + backend("only", only.url, models=["m"])) as gateway,
    ):
        started = time.monotonic()
        reply: Reply = post(gateway.port, chat(stream=stream))
        assert 0.7 < time.monotonic() - started < 3
        assert tried(past(gateway, reply)) == [("only", "failure", "total_timeout", 200)]
        if stream:
            assert b'"code":"upstream_timeout"' in reply.body.split(b"\n\n")[-2]
        else:
            assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_timeout")
        settle(gateway, only)
        only.wait_until(lambda server: server.open_connections == 0)
        only.always(Answer())
        assert post(gateway.port, chat(stream=stream)).status == 200

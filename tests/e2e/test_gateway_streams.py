"""Streams that break, clients that leave, and the books afterwards."""

import contextlib
import random
import socket
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from msgspec import Struct

from nexus.testing import (
    Answer,
    Behaviour,
    Close,
    Cut,
    Delay,
    ErrorBody,
    FaultyBackend,
    GatewayProcess,
    Hang,
    Insert,
    NoDone,
    Page,
    ReceivedRequest,
    Reset,
    Status,
    Where,
)
from nexus.testing.wire import Body, End, Framing, Head, Stall, Step
from tests.e2e.gateway_client import attempts, backend, backend_stats, chat, idle, open_request, past, post

CONFIG = """
[health_check]
interval_seconds = 600
[quality]
metrics_interval_seconds = 1
error_rate_threshold = 1.0
[breaker]
enabled = false
[timeouts]
first_token_seconds = 5
stream_idle_seconds = 0.4
"""
GOOD = Answer(tokens=6)


class Setup(NamedTuple):
    gateway: GatewayProcess
    backend: FaultyBackend


@pytest.fixture(scope="module")
def running() -> Iterator[Setup]:
    """One gateway in front of two backends: the second serves only the model `spare`."""
    with (
        FaultyBackend() as upstream,
        FaultyBackend() as spare,
        GatewayProcess(
            CONFIG
            + backend("only", upstream.url, models=["m"])
            + backend("spare", spare.url, models=["spare"])
        ) as gateway,
    ):
        gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
        yield Setup(gateway, upstream)


@pytest.fixture
def setup(running: Setup) -> Setup:
    running.backend.forget()
    running.backend.always(GOOD)
    return running


def whole_stream(behaviour: Behaviour = GOOD) -> list[bytes]:
    """The pieces of body that a backend sends for a streamed chat."""
    request = ReceivedRequest("POST", "/v1/chat/completions", "", {}, b'{"model":"m","stream":true}', 1)
    return [step.data for step in behaviour.steps(request) if isinstance(step, Body)]


def changed(before: dict[Any, int], after: dict[Any, int]) -> dict[Any, int]:
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


BREAKS = {
    "cut": (Cut(events=3), "cut"),
    "closed": (Close(Where.IN_BODY, events=3), "cut"),
    "silent": (Hang(Where.IN_BODY, events=3), "idle_timeout"),
    "garbage": (Insert(b"data: {broken\n\n", after=3), "malformed"),
    "half-an-event": (Cut(events=4, inner=Insert(b'data: {"choices":[{"del', after=3)), "malformed"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_stream_that_breaks_ends_with_one_error_event_and_is_a_failure(setup, name):
    """The client has what was whole, then one error event, no [DONE] and a close; it is booked once."""
    behaviour, kind = BREAKS[name]
    gateway, upstream = setup
    upstream.always(behaviour)
    booked = attempts(gateway, "only")
    counts = gateway.get("/v1/stats")["requests"]
    reply = post(gateway.port, chat(stream=True))

    good = b"".join(whole_stream()[:3])
    assert reply.status == 200
    assert reply.body.startswith(good)
    events = reply.body[len(good) :].split(b"\n\n")
    assert len(events) == 2
    assert events[1] == b""
    assert events[0].startswith(b'data: {"error":{')
    assert b'"code":"upstream_error"' in events[0] or b'"code":"upstream_timeout"' in events[0]
    assert b"[DONE]" not in reply.body
    assert reply.headers["x-nexus-attempts"] == "1"

    assert changed(booked, attempts(gateway, "only")) == {("failure", kind): 1}
    after = gateway.get("/v1/stats")
    assert changed(counts, after["requests"]) == {"total": 1, "errors": 1}
    assert idle(after)
    shown = past(gateway, reply)
    assert shown["result"] == "error"
    assert [(each["outcome"], each["kind"]) for each in shown["attempts"]] == [("failure", kind)]
    assert len(upstream.posts) == 1


def test_a_reset_after_the_first_events_is_told_and_booked(setup):
    """The backend dies once the client has its first events; what arrived stays, and the error follows."""
    gateway, upstream = setup
    upstream.always(Hang(Where.IN_BODY, events=3))
    booked = attempts(gateway, "only")
    good = b"".join(whole_stream()[:3])
    with open_request(gateway.port, chat(stream=True)) as peer:
        seen = b""
        while b"word1" not in seen:
            seen += peer.recv(65536)
        upstream.reset_all()
        while data := peer.recv(65536):
            seen += data
    assert [seen.count(event) for event in whole_stream()[:3]] == [1, 1, 1]
    assert seen.index(b'data: {"error":{') > seen.index(good.split(b"\n\n")[2])
    assert seen.count(b'"error"') == 1
    assert b"[DONE]" not in seen
    assert changed(booked, attempts(gateway, "only")) == {("failure", "cut"): 1}


def test_a_backends_own_error_event_is_relayed_and_none_is_added(setup):
    """The client reads the backend's words; the books say error_body."""
    gateway, upstream = setup
    behaviour = ErrorBody("out of memory", events=3)
    upstream.always(behaviour)
    booked = attempts(gateway, "only")
    reply = post(gateway.port, chat(stream=True))
    assert reply.body == b"".join(whole_stream(behaviour))
    assert reply.body.count(b'"error"') == 1
    assert changed(booked, attempts(gateway, "only")) == {("failure", "error_body"): 1}


def test_a_stream_that_lacks_only_done_is_a_success(setup):
    """A finish reason is end enough; nothing is added."""
    gateway, upstream = setup
    upstream.always(NoDone())
    booked = attempts(gateway, "only")
    reply = post(gateway.port, chat(stream=True))
    assert reply.body == b"".join(whole_stream(NoDone()))
    assert changed(booked, attempts(gateway, "only")) == {("success", ""): 1}


def leave(peer: socket.socket, *, reset: bool) -> None:
    """Close a client's socket, in good order or with a reset."""
    if reset:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize(
    ("stream", "behaviour", "reads"),
    [
        pytest.param(True, Hang(Where.IN_BODY, events=2), b"word0", id="in-a-stream"),
        pytest.param(True, Answer(tokens=400, token_delay=0.02), b"word3", id="in-a-lively-stream"),
        pytest.param(True, Hang(), b"", id="before-the-first-token"),
        pytest.param(False, Hang(), b"", id="before-a-whole-answer"),
        pytest.param(False, Hang(Where.IN_BODY), b"", id="in-a-whole-answer"),
    ],
)
def test_a_client_that_leaves_cancels_its_attempt(setup, stream, behaviour, reads, reset):
    """The backend's connection is closed at once, and it is booked as cancelled: neither good nor bad."""
    gateway, upstream = setup
    upstream.always(behaviour)
    booked = attempts(gateway, "only")
    before = gateway.get("/v1/stats")
    abandoned = upstream.abandoned_requests
    peer = open_request(gateway.port, chat(stream=stream))
    upstream.wait_until(lambda server: server.active_requests == 1)
    seen = b""
    while reads not in seen:
        seen += peer.recv(65536)
    leave(peer, reset=reset)

    upstream.wait_until(lambda server: server.abandoned_requests == abandoned + 1)
    stats = gateway.wait_for(
        lambda stats: stats["requests"]["cancelled"] == before["requests"]["cancelled"] + 1
    )
    assert changed(before["requests"], stats["requests"]) == {"total": 1, "cancelled": 1}
    assert idle(stats)
    assert changed(booked, attempts(gateway, "only")) == {("cancelled", ""): 1}
    assert upstream.active_requests == 0
    assert len(upstream.posts) == 1


def test_a_cancelled_attempt_is_no_evidence(setup):
    """The hour's count and rate stay as they were, also after the next recompute."""
    gateway, upstream = setup
    post(gateway.port, chat())

    def settled(stats: Any) -> bool:
        done = attempts(gateway, "only")
        evidence = sum(count for (outcome, _), count in done.items() if outcome in {"success", "failure"})
        quality = backend_stats(stats, "only")["quality"]
        return quality is not None and quality["request_count_1h"] == evidence

    before = backend_stats(gateway.wait_for(settled), "only")["quality"]
    upstream.always(Hang())
    peer = open_request(gateway.port, chat())
    upstream.wait_until(lambda server: server.active_requests == 1)
    peer.close()
    upstream.wait_until(lambda server: server.active_requests == 0)
    upstream.always(Answer())
    assert post(gateway.port, chat()).status == 200
    after = backend_stats(gateway.wait_for(settled), "only")["quality"]
    assert after["request_count_1h"] == before["request_count_1h"] + 1
    assert after["error_rate_1h"] < before["error_rate_1h"] or before["error_rate_1h"] == 0


BEHAVIOURS: tuple[Behaviour, ...] = (
    Answer(),
    Answer(tokens=20, token_delay=0.003),
    Delay(0.02),
    Status(500),
    Status(422),
    Page(),
    Reset(),
    Reset(Where.IN_BODY),
    Cut(),
    Close(Where.AFTER_HEAD),
    Hang(Where.IN_BODY, events=3),
)


def ask_somehow(gateway: GatewayProcess, number: int) -> str:
    """One request of a burst: whole or streamed, read to the end or left early."""
    rng = random.Random(number)
    model = rng.choice(("m", "m", "m", "unknown"))
    body = chat(model, stream=rng.random() < 0.5)
    if rng.random() < 0.2:
        peer = open_request(gateway.port, body)
        if rng.random() < 0.5:
            peer.recv(1)
        leave(peer, reset=rng.random() < 0.5)
        return "left"
    # Whatever else comes, it comes as an answer: post raises where there is none.
    return str(post(gateway.port, body).status)


def test_after_a_burst_of_mixed_requests_nothing_is_pending_and_every_attempt_has_one_outcome():
    """A hundred requests, a dozen ways to end, twenty at a time; the books balance and nothing leaks."""
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(FaultyBackend()) for name in ("one", "two", "three")}
        for number, server in enumerate(servers.values()):
            server.alternate(*BEHAVIOURS[number * 3 :], *BEHAVIOURS[: number * 3])
        tables = [backend(name, server.url, models=["m"]) for name, server in servers.items()]
        gateway = stack.enter_context(GatewayProcess(CONFIG + "".join(tables)))
        gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
        with ThreadPoolExecutor(20) as clients:
            ended = list(clients.map(lambda number: ask_somehow(gateway, number), range(100)))
        # A client that left before its request was read was never a request.
        asked = 100 - ended.count("left")
        assert set(ended) <= {"left", "200", "404", "422", "502", "504"}

        stats = gateway.wait_for(idle)
        for server in servers.values():
            server.wait_until(lambda each: each.active_requests == 0)
        requests = stats["requests"]
        assert asked <= requests["total"] <= 100
        assert requests["total"] == sum(
            requests[each] for each in ("success", "errors", "cancelled", "rejected")
        )
        assert requests["cancelled"] <= ended.count("left")
        # The 404s for the unknown model never reached a backend; some who left had asked for it too.
        assert requests["rejected"] >= ended.count("404") > 0
        assert requests["success"] + requests["errors"] >= asked - ended.count("404")
        for name, server in servers.items():
            booked = attempts(gateway, name)
            # A pooled connection that was found dead costs a second sending of the same attempt.
            assert 0 < sum(booked.values()) <= len(server.posts) + booked.get(("cancelled", ""), 0)
            assert backend_stats(stats, name)["pending"] == 0
        assert post(gateway.port, chat("unknown")).status == 404


class Chatter(Struct, frozen=True):
    """A stream that says much and answers nothing: comments without end."""

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:  # noqa: ARG002 - the same for every request
        """Head, 64 MB of comments, and silence."""
        comment = b": " + b"x" * 1_000_000 + b"\n\n"
        head = Head(200, (("Content-Type", "text/event-stream"),), Framing.CHUNKED)
        return (head, *[Body(comment)] * 64, Stall())


def test_a_flood_before_the_first_event_is_given_up_long_before_it_fills_the_memory(setup):
    """The attempt fails as malformed once a fixed amount has come, and the backend's connection is closed."""
    gateway, upstream = setup
    upstream.always(Chatter())
    booked = attempts(gateway, "only")
    reply = post(gateway.port, chat(stream=True))
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_error")
    assert "before the first event" in reply.json["error"]["message"]
    assert changed(booked, attempts(gateway, "only")) == {("failure", "malformed"): 1}
    upstream.wait_until(lambda server: server.active_requests == 0)


LONG = "x" * 3_000_000


class Unmeasured(Struct, frozen=True):
    """A large whole answer whose end is that of the connection, which `reset` breaks off half-way."""

    reset: bool

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """Head and body; then a close, or half of the body, a moment to read it, and a reset."""
        _, body, _ = Answer(text=LONG).steps(request)
        assert isinstance(body, Body)
        head = Head(200, (("Content-Type", "application/json"),), Framing.CLOSE)
        if not self.reset:
            return (head, body, End())
        return (head, Body(body.data[: len(body.data) // 2]), Stall())


def test_a_large_answer_without_a_length_is_whole_only_if_its_connection_ends_well(setup):
    """A reset is told from the end of the answer: the client's answer breaks off too, and it is a failure."""
    gateway, upstream = setup
    upstream.always(Unmeasured(reset=False))
    booked = attempts(gateway, "only")
    reply = post(gateway.port, chat())
    assert (reply.status, reply.whole) == (200, True)
    assert reply.json["choices"][0]["message"]["content"] == LONG
    assert changed(booked, attempts(gateway, "only")) == {("success", ""): 1}

    upstream.always(Unmeasured(reset=True))
    booked = attempts(gateway, "only")
    with open_request(gateway.port, chat()) as peer:
        seen = len(peer.recv(65536))
        while seen < 1_400_000:
            seen += len(peer.recv(65536))
        upstream.reset_all()
        tail = b""
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(65536):
                tail = data
    assert not tail.endswith(b"0\r\n\r\n")
    assert changed(booked, attempts(gateway, "only")) == {("failure", "cut"): 1}

"""What clients do wrong gets a clear answer or none, is booked right, and costs nobody else anything."""

import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nexus.testing import (
    SMUGGLED_MODEL,
    Answer,
    FaultyBackend,
    GatewayProcess,
    Hang,
    HostileAnswer,
    HostileClient,
    Moment,
    Shape,
    Trickle,
    bad_bodies,
    chat_body,
    chunked_bytes,
    odd_bodies,
    parse_answers,
    request_bytes,
    smuggling_shapes,
    upgrades,
)
from tests.e2e.gateway_client import DONE, attempts, backend, chat, open_request
from tests.fault.process_watch import complaints, descriptors, settle

CONFIG = """
[server]
max_body_bytes = 1000000
header_timeout_seconds = 1
body_timeout_seconds = 2
[health_check]
enabled = false
[breaker]
enabled = false
[logging]
format = "json"
[timeouts]
stream_idle_seconds = 1
[ledger]
url = "none"
"""
TEN_GB = 10_000_000_000
MB = 1_000_000


class Setup(NamedTuple):
    """A gateway with one backend, a client that attacks it, and how many descriptors it had when idle."""

    gateway: GatewayProcess
    only: FaultyBackend
    client: HostileClient
    at_first: int

    def counts(self) -> dict[str, int]:
        """Requests so far, by how they ended."""
        found: dict[str, int] = self.gateway.get("/v1/stats")["requests"]
        return found

    def works(self) -> None:
        """The next request gets its answer, and nothing is left of the one before."""
        self.only.always(Answer())
        answer = self.client.ask()
        assert (answer.status, answer.whole) == (200, True)
        # One connection to the backend may be kept for the next request.
        settle(self.gateway, self.only, at_most=self.at_first + 1)


@pytest.fixture(scope="module")
def running() -> Iterator[Setup]:
    with FaultyBackend() as only, GatewayProcess(CONFIG + backend("only", only.url, models=["m"])) as gateway:
        yield Setup(gateway, only, HostileClient(gateway.url, timeout=20), descriptors(gateway))
    assert complaints(gateway) == []


@pytest.fixture
def setup(running: Setup) -> Setup:
    running.only.always(Answer())
    running.only.forget()
    return running


def streamed(body: bytes, *, stream: bool) -> bytes:
    # As many bytes as before, so that lengths within shapes stay right.
    return body.replace(b'"stream": false', b'"stream":  true') if stream else body


def changes(before: Mapping[Any, int], after: Mapping[Any, int]) -> dict[Any, int]:
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


def assert_refused(answer: HostileAnswer, status: int, code: str) -> None:
    """A whole error in OpenAI's form that says nothing of our insides."""
    assert answer.whole
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-nexus-trace-id"] == answer.json["error"]["context"]["trace_id"]
    assert "Traceback" not in answer.json["error"]["message"]


# --- bodies


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", bad_bodies())
def test_a_body_that_is_no_request_is_refused_and_reaches_nobody(setup: Setup, name: str, stream: bool):
    """400 that says what is wrong; the same connection takes the next request."""
    before = setup.counts()
    bad, good = streamed(bad_bodies()[name], stream=stream), streamed(chat_body(), stream=stream)
    refused, served = setup.client.pipeline(bad, good)
    assert_refused(refused, 400, "invalid_request_error")
    assert served.status == 200
    assert [request.body for request in setup.only.posts] == [good]
    assert changes(before, setup.counts()) == {"total": 2, "rejected": 1, "success": 1}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", odd_bodies())
def test_an_unusual_body_that_is_valid_arrives_as_it_was_sent(setup: Setup, name: str, stream: bool):
    """Huge numbers, unknown fields, duplicate keys: the backend decides, and it gets every byte."""
    body = streamed(odd_bodies()[name], stream=stream)
    assert setup.client.ask(body).status == 200
    assert [request.body for request in setup.only.posts] == [body]


def test_headers_of_the_wrong_kind_are_refused_by_name(setup: Setup):
    """Another content type is 415; a header of ours with a value that does not exist is 400."""
    odd = request_bytes(chat_body()).replace(b"application/json", b"text/plain")
    (answer,) = setup.client.exchange(odd)
    assert_refused(answer, 415, "unsupported_media_type")
    (answer,) = setup.client.exchange(request_bytes(chat_body(), headers=[("X-Nexus-Priority", "urgent")]))
    assert_refused(answer, 400, "invalid_request_error")
    assert "X-Nexus-Priority" in answer.json["error"]["message"]
    assert setup.only.posts == []


# --- lengths and sizes


def test_a_head_that_is_too_long_is_refused(setup: Setup):
    """A header, many headers or a target of 100 kB: 431, and the connection ends."""
    many = [(f"X-Odd-{number}", "a" * 50) for number in range(2000)]
    for data in (
        request_bytes(chat_body(), headers=[("X-Odd", "a" * 100_000)]),
        request_bytes(chat_body(), headers=many),
        request_bytes(chat_body(), path="/v1/chat/completions?" + "a" * 100_000),
    ):
        (answer,) = setup.client.exchange(data)
        assert_refused(answer, 431, "invalid_request_error")
        assert answer.headers["connection"] == "close"
    assert setup.only.posts == []
    setup.works()


def test_a_body_of_ten_gigabytes_is_refused_before_it_is_sent(setup: Setup):
    """Announced, it is 413 at once, also to a client that asks first; sent in chunks, after a megabyte."""
    before = setup.counts()
    announced = request_bytes(b"", length=TEN_GB)
    asking = request_bytes(b"", length=TEN_GB, headers=[("Expect", "100-continue")])
    for data in (announced, asking):
        (answer,) = setup.client.exchange(data)
        assert_refused(answer, 413, "request_too_large")
    sent, answers = setup.client.flood(TEN_GB)
    assert_refused(answers[0], 413, "request_too_large")
    assert len(answers) == 1
    # Beyond the limit there is only what the kernel's buffers took.
    assert sent < 64 * MB
    assert setup.only.posts == []
    assert changes(before, setup.counts()) == {"total": 3, "rejected": 3}
    setup.works()


def test_a_length_that_is_too_small_gives_two_refusals_and_no_request(setup: Setup):
    """The body breaks off where its length says, and the rest is no request."""
    answers = setup.client.lie_about_length(-5)
    assert [answer.status for answer in answers] in ([400, 400], [400])
    for answer in answers:
        assert_refused(answer, 400, "invalid_request_error")
    assert setup.only.posts == []
    setup.works()


# --- slow senders


def drip(client: HostileClient, kind: str) -> tuple[HostileAnswer, ...]:
    """A request that is sent too slowly, and what is answered."""
    whole = request_bytes(chat_body())
    head = whole.index(b"\r\n\r\n") + 4
    match kind:
        case "head":
            return client.send_slowly(whole, pause=0.1)
        case "head-silent":
            return client.send_slowly(whole[: head - 2] + b"\r\n" * 99, pause=20, at_once=head - 2)
        case "headers-without-end":
            return client.send_slowly(whole[: head - 2] + b"X-Odd: a\r\n" * 999, pause=0.1, at_once=head - 2)
        case "body":
            return client.send_slowly(whole, pause=0.1, at_once=head)
        case "body-silent":
            return client.lie_about_length(1)
        case _:
            chunks = chunked_bytes([b" "] * 999)
            return client.send_slowly(chunks, pause=0.1, at_once=chunks.index(b"\r\n\r\n") + 4, size=6)


SLOW = ("head", "head-silent", "headers-without-end", "body", "body-silent", "chunks")


def test_slow_senders_are_ended_by_408_while_others_are_served(setup: Setup):
    """Head and body have their time, however they are spun out; those whose path came count as refused."""
    before = setup.counts()
    with ThreadPoolExecutor(len(SLOW)) as pool:
        slow = {kind: pool.submit(drip, setup.client, kind) for kind in SLOW}
        assert setup.client.ask().status == 200
        for kind, future in slow.items():
            (answer,) = future.result()
            assert_refused(answer, 408, "request_timeout")
            assert ("body" if kind in {"body", "body-silent", "chunks"} else "head") in answer.json["error"][
                "message"
            ]
    assert len(setup.only.posts) == 1
    assert changes(before, setup.counts()) == {"total": 6, "rejected": 5, "success": 1}
    setup.works()


# --- slow readers


def resident(gateway: GatewayProcess) -> int:
    """The gateway's memory in bytes."""
    return int(Path(f"/proc/{gateway.pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_reads_slowly_holds_back_its_backend_and_nobody_else(setup: Setup, stream: bool):
    """Its answer waits at the backend, not in our memory, longer than a silent backend may; it ends whole."""
    text = " ".join(["x" * 100_000] * 400)
    setup.only.always(Trickle(0.0, size=100_000, inner=Answer(text=text)))
    before = resident(setup.gateway)
    client = HostileClient(setup.gateway.url, body=streamed(chat_body(), stream=stream), timeout=20)
    with client.read_slowly() as reader:
        reader.take(1000)
        with pytest.raises(TimeoutError):  # twice the time that a backend may be silent
            setup.only.wait_until(lambda server: server.active_requests == 0, timeout=2)
        assert resident(setup.gateway) - before < 20 * MB
        (answer,) = reader.take_all()
    assert (answer.status, answer.whole) == (200, True)
    assert answer.body.count(b"x") >= 40 * MB
    assert answer.body.endswith(DONE) == stream
    setup.works()


# --- leaving


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("moment", ["before_request", "in_head", "after_head", "in_body"])
def test_a_client_that_leaves_before_its_request_is_whole_was_never_there(
    setup: Setup, moment: str, reset: bool
):
    before = setup.counts()
    assert setup.client.leave(Moment(moment), reset=reset) == b""
    setup.works()
    assert changes(before, setup.counts()) == {"total": 1, "success": 1}
    assert len(setup.only.posts) == 1


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_right_after_its_request_is_booked_as_gone(
    setup: Setup, stream: bool, reset: bool
):
    """Its attempt is cancelled; a reset may take the request with it before it was read."""
    setup.only.always(Hang())
    before, booked = setup.counts(), attempts(setup.gateway, "only")
    HostileClient(setup.gateway.url, body=streamed(chat_body(), stream=stream)).leave(
        Moment.AFTER_REQUEST, reset=reset
    )
    expected = [{"total": 1, "cancelled": 1}] + ([{}] if reset else [])
    setup.gateway.wait_for(lambda stats: changes(before, stats["requests"]) in expected)
    settle(setup.gateway, setup.only)
    assert changes(booked, attempts(setup.gateway, "only")) in ({("cancelled", ""): 1}, {})
    setup.works()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_within_its_answer_stops_the_backend(setup: Setup, stream: bool, reset: bool):
    """The attempt is cancelled, neither good nor bad, and the backend's connection is closed."""
    setup.only.always(Answer(tokens=1000, token_delay=0.05) if stream else Answer(text="x" * 40 * MB))
    before, booked = setup.counts(), attempts(setup.gateway, "only")
    body = streamed(chat_body(), stream=stream)
    assert HostileClient(setup.gateway.url, body=body).leave(Moment.IN_ANSWER, reset=reset) == b"H"
    stats = setup.gateway.wait_for(lambda stats: changes(before, stats["requests"]).get("cancelled"))
    assert changes(before, stats["requests"]) == {"total": 1, "cancelled": 1}
    assert changes(booked, attempts(setup.gateway, "only")) == {("cancelled", ""): 1}
    setup.only.wait_until(lambda server: server.open_connections == 0)
    setup.works()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_leaves_after_its_answer_was_served(setup: Setup, stream: bool, reset: bool):
    before, booked = setup.counts(), attempts(setup.gateway, "only")
    body = streamed(chat_body(), stream=stream)
    seen = HostileClient(setup.gateway.url, body=body).leave(Moment.AFTER_ANSWER, reset=reset)
    (answer,) = parse_answers(seen)
    assert (answer.status, answer.whole) == (200, True)
    assert changes(before, setup.counts()) == {"total": 1, "success": 1}
    assert changes(booked, attempts(setup.gateway, "only")) == {("success", ""): 1}
    setup.works()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_closes_its_half_has_left(setup: Setup, stream: bool):
    """Nobody can tell it from one that is gone, and a model's time is dear: the attempt is cancelled."""
    setup.only.always(Hang())
    before = setup.counts()
    with open_request(setup.gateway.port, chat(stream=stream)) as peer:
        setup.only.wait_until(lambda server: server.active_requests == 1)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(100) == b""
    stats = setup.gateway.wait_for(lambda stats: changes(before, stats["requests"]).get("cancelled"))
    assert changes(before, stats["requests"]) == {"total": 1, "cancelled": 1}
    setup.works()


# --- smuggling


def by_name(shape: Shape) -> str:
    return shape.name


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("shapes", [smuggling_shapes, upgrades], ids=["shapes", "upgrades"])
def test_nothing_hidden_in_a_request_is_ever_taken_for_one(
    setup: Setup, shapes: Callable[[], tuple[Shape, ...]], stream: bool
):
    """Ambiguous requests get one refusal and a close; unusual ones with a single meaning are answered."""
    for shape in shapes():
        setup.only.forget()
        answers = setup.client.exchange(streamed(shape.data, stream=stream and shape.valid))
        statuses = [answer.status for answer in answers]
        assert len(statuses) == 1, shape.name
        if shape.valid:
            assert statuses == [200], shape.name
        else:
            assert statuses[0] in {400, 413, 505}, shape.name
            assert answers[0].headers["connection"] == "close", shape.name
            assert answers[0].json["error"]["code"] in {"invalid_request_error", "request_too_large"}
        assert [request.model for request in setup.only.posts] == ["m"] * shape.valid, shape.name
    assert SMUGGLED_MODEL not in setup.gateway.text("/metrics")
    setup.works()

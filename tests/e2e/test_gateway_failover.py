"""Whatever goes wrong before the first byte costs the client nothing: the next backend answers."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from nexus.testing import (
    Answer,
    Behaviour,
    BrokenJson,
    Close,
    EmptyChoices,
    ErrorBody,
    FaultyBackend,
    GatewayProcess,
    Hang,
    Page,
    Reset,
    Status,
    Where,
)
from tests.e2e.gateway_client import attempts, backend, backend_stats, chat, idle, past, post

SERVED = Answer(text="the good answer")


class Fault(NamedTuple):
    """What a backend does, and how that is to be booked."""

    name: str
    behaviour: Behaviour
    kind: str
    status: int = 0
    outcome: str = "failure"
    posts: int = 1


# Where the connection breaks without a byte of answer it may have been a pooled one that had died: such a
# request goes out once more, on a fresh connection, and that is still the same attempt.
FAULTS = (
    Fault("refused", Answer(), "connect", posts=0),
    Fault("reset-at-once", Reset(), "reset", posts=2),
    Fault("reset-in-head", Reset(Where.IN_HEAD), "reset"),
    Fault("reset-after-head", Reset(Where.AFTER_HEAD), "cut", 200),
    Fault("reset-in-body", Reset(Where.IN_BODY, events=1), "cut", 200),
    Fault("closed-at-once", Close(), "reset", posts=2),
    Fault("closed-after-head", Close(Where.AFTER_HEAD), "cut", 200),
    Fault("http-500", Status(500), "server_error", 500),
    Fault("http-502", Status(502, body=b""), "server_error", 502),
    Fault("http-503", Status(503, body=b"<p>busy</p>"), "server_error", 503),
    Fault("http-504", Status(504), "server_error", 504),
    Fault("http-408", Status(408), "upstream_timeout", 408),
    Fault("http-401", Status(401), "auth", 401),
    Fault("http-403", Status(403), "auth", 403),
    Fault("http-404", Status(404), "model_missing", 404),
    Fault("html", Page(), "malformed", 200),
    Fault("broken-json", BrokenJson(), "malformed", 200),
    Fault("error-body", ErrorBody(), "error_body", 200),
    Fault("empty-choices", EmptyChoices(), "empty", 200),
    Fault("silent", Hang(), "first_token_timeout"),
    Fault("silent-after-head", Hang(Where.AFTER_HEAD), "first_token_timeout", 200),
    Fault("throttled", Status(429, retry_after=30), "", 429, "rate_limited"),
    Fault("throttled-vaguely", Status(429), "", 429, "rate_limited"),
)
# A stream's first event goes to the client at once, so what breaks after it breaks too late.
TOO_LATE = {("reset-in-body", True)}
CASES = [
    pytest.param(fault, stream, id=f"{fault.name}-{'stream' if stream else 'whole'}")
    for fault in FAULTS
    for stream in (False, True)
    if (fault.name, stream) not in TOO_LATE
]
CONFIG = """
[routing]
strategy = "priority_only"
[health_check]
enabled = false
[quality]
metrics_interval_seconds = 1
[timeouts]
first_token_seconds = 0.2
"""


def named(fault: Fault, stream: bool) -> str:
    return f"{fault.name}-{'stream' if stream else 'whole'}"


class Setup(NamedTuple):
    """A gateway with a good backend for every model and, of better priority, a bad one per model."""

    gateway: GatewayProcess
    good: FaultyBackend
    bad: dict[str, FaultyBackend]


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    with contextlib.ExitStack() as stack:
        bad = {}
        for case in CASES:
            fault, stream = case.values
            assert isinstance(fault, Fault)
            name = named(fault, bool(stream))
            bad[name] = stack.enter_context(FaultyBackend(fault.behaviour))
            if fault.name == "refused":
                bad[name].stop()
        good = stack.enter_context(FaultyBackend(SERVED))
        tables = [backend(name, each.url, models=[name], priority=1) for name, each in bad.items()]
        tables.append(backend("good", good.url, models=list(bad), priority=2))
        gateway = stack.enter_context(GatewayProcess(CONFIG + "".join(tables)))
        yield Setup(gateway, good, bad)


@pytest.mark.parametrize(("fault", "stream"), CASES)
def test_a_failure_before_the_first_byte_is_booked_once_and_the_next_backend_answers(setup, fault, stream):
    """The client gets the good answer, whole; the bad backend gets one outcome of the right kind."""
    gateway, good, bad = setup
    name = named(fault, stream)
    good.forget()
    reply = post(gateway.port, chat(name, stream=stream))

    assert reply.status == 200
    assert b"good" in reply.body
    assert reply.whole
    assert reply.body.endswith(b"data: [DONE]\n\n") == stream
    assert b'"error"' not in reply.body
    assert reply.headers["x-nexus-backend"] == "good"
    assert reply.headers["x-nexus-attempts"] == "2"
    assert reply.headers["x-nexus-route-reason"] == "failover"
    assert reply.headers["content-type"] == ("text/event-stream" if stream else "application/json")
    assert len(good.posts) == 1
    assert len(bad[name].posts) == fault.posts

    shown = past(gateway, reply)
    tried = [(each["backend"], each["outcome"], each["kind"], each["status"]) for each in shown["attempts"]]
    assert tried == [
        (name, fault.outcome, fault.kind or None, fault.status),
        ("good", "success", None, 200),
    ]
    assert (shown["result"], shown["status"]) == ("success", 200)
    assert attempts(gateway, name) == {(fault.outcome, fault.kind): 1}


def test_afterwards_the_figures_hold_one_failure_each_and_nothing_is_pending(setup):
    """429 is no evidence; every other fault is one failure of its backend, and none of the good one."""
    gateway = setup.gateway
    asked = {name for name in setup.bad if attempts(gateway, name)}
    failed = {name for name in asked if not name.startswith("throttled")}

    def all_counted(stats):
        figures = {each["id"]: each["quality"] for each in stats["backends"]}
        return {name for name, known in figures.items() if known and known["error_rate_1h"] == 1} == failed

    stats = gateway.wait_for(all_counted)
    assert idle(stats)
    assert {backend_stats(stats, name)["quality"]["request_count_1h"] for name in failed} <= {1}
    assert all(backend_stats(stats, name)["quality"] is None for name in asked - failed)
    assert stats["requests"]["success"] == stats["requests"]["total"] == len(asked)


def test_with_nobody_left_the_error_lists_every_attempt():
    """502 with backend, kind and status of each; 504 where all ran out of time; 429 where all throttle."""
    with FaultyBackend(Status(500)) as one, FaultyBackend(Page()) as two:
        toml = (
            CONFIG
            + backend("one", one.url, models=["m"])
            + backend("two", two.url, models=["m"], priority=60)
        )
        with GatewayProcess(toml) as gateway:
            reply = post(gateway.port, chat(stream=True))
            assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_error")
            assert reply.json["error"]["context"]["attempts"] == [
                {"backend": "one", "kind": "server_error", "status": 500},
                {"backend": "two", "kind": "malformed", "status": 200},
            ]
            assert reply.headers["x-nexus-attempts"] == "2"
            one.always(Hang())
            two.always(Hang())
            reply = post(gateway.port, chat(stream=True))
            assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_timeout")
            one.always(Status(429, retry_after=20))
            two.always(Status(429, retry_after=10))
            for attempted in ("2", None):  # the second one knows without asking
                reply = post(gateway.port, chat())
                assert (reply.status, reply.json["error"]["code"]) == (429, "rate_limit_exceeded")
                assert reply.headers.get("x-nexus-attempts") == attempted
                assert 9 <= int(reply.headers["retry-after"]) <= 10
            assert idle(gateway.get("/v1/stats"))


def test_a_fault_of_the_client_is_passed_on_and_not_tried_elsewhere():
    """Status and body arrive unchanged after one attempt, which is a success of the backend."""
    said = b'{"error":{"message":"no","type":"invalid_request_error","param":"x","code":"odd"},"more":1}'
    with FaultyBackend() as one, FaultyBackend() as two:
        tables = backend("one", one.url, models=["m"]) + backend("two", two.url, models=["m"], priority=60)
        with GatewayProcess(CONFIG + tables) as gateway:
            for status in (400, 409, 413, 415, 422):
                one.always(Status(status, body=said))
                for stream in (False, True):
                    reply = post(gateway.port, chat(stream=stream))
                    assert (reply.status, reply.body) == (status, said)
                    assert reply.headers["x-nexus-attempts"] == "1"
            assert attempts(gateway, "one") == {("success", ""): 10}
            assert two.posts == []
            assert gateway.get("/v1/stats")["requests"]["errors"] == 10

"""Retries within their budget, pauses that backends ask for, and second attempts beside slow ones."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import NamedTuple

import pytest

from nexus.testing import Delay, FaultyBackend, GatewayProcess, Hang, Status
from tests.e2e.gateway_client import attempts, backend, backend_stats, chat, idle, past, post, samples

CONFIG = """
[routing]
strategy = "priority_only"
fallbacks = { paced = ["spare"] }
[health_check]
enabled = false
[breaker]
failure_threshold = 3
[quality]
metrics_interval_seconds = 1
"""


class Pair(NamedTuple):
    """A gateway with two backends for `m`; `one` is preferred."""

    gateway: GatewayProcess
    one: FaultyBackend
    two: FaultyBackend


def pair_with(extra: str, *, models: tuple[str, ...] = ("m",)) -> Iterator[Pair]:
    with FaultyBackend() as one, FaultyBackend() as two:
        tables = backend("one", one.url, models=[*models, "solo", "paced"], priority=1)
        tables += backend("two", two.url, models=[*models, "spare"], priority=2)
        with GatewayProcess(CONFIG + extra + tables) as gateway:
            yield Pair(gateway, one, two)


@pytest.fixture
def thrifty() -> Iterator[Pair]:
    """One retry in ten seconds."""
    yield from pair_with("[retry]\nbudget_percent = 0\nbudget_min_per_second = 0.1\n")


@pytest.fixture
def patient() -> Iterator[Pair]:
    yield from pair_with("[retry]\ninitial_delay_seconds = 0.3\njitter = false\n")


@pytest.fixture
def plain() -> Iterator[Pair]:
    yield from pair_with("")


def test_retries_beyond_the_budget_are_not_made(thrifty):
    """The client gets the failure, and the other backend is spared."""
    gateway, one, two = thrifty
    one.always(Status(500))
    first, second = post(gateway.port, chat()), post(gateway.port, chat())
    assert (first.status, first.headers["x-nexus-backend"]) == (200, "two")
    assert (second.status, second.json["error"]["code"]) == (502, "upstream_error")
    assert len(two.posts) == 1
    assert samples(gateway, "nexus_retries_total")[frozenset()] == 1
    assert samples(gateway, "nexus_retries_refused_total")[frozenset()] == 1


def test_a_configured_delay_comes_before_a_retry(patient):
    gateway, one, _ = patient
    one.always(Status(500))
    began = time.monotonic()
    reply = post(gateway.port, chat())
    assert (reply.status, reply.headers["x-nexus-backend"]) == (200, "two")
    assert time.monotonic() - began >= 0.3
    assert float(reply.headers["x-nexus-overhead-ms"]) < 100, "waiting is no work of the gateway"


def test_a_short_pause_is_waited_for_once(plain):
    """The only backend asks for half a second, gets it, and answers."""
    gateway, one, _ = plain
    one.script(Status(429, retry_after=0.5))
    reply = post(gateway.port, chat("solo"))
    assert (reply.status, reply.headers["x-nexus-attempts"]) == (200, "2")
    assert [each["outcome"] for each in past(gateway, reply)["attempts"]] == ["rate_limited", "success"]
    one.always(Status(429, retry_after=0.5))
    again = post(gateway.port, chat("solo"))
    assert (again.status, again.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert len(one.posts) == 4


@pytest.mark.parametrize("kind", ["seconds", "date", "nothing"])
def test_a_throttled_backend_is_left_alone(plain, kind):
    """It is not asked before its time, its quality is untouched, and the client learns how long it takes."""
    gateway, one, _ = plain
    asked: dict[str, float | str | None] = {
        "seconds": 5,
        "date": formatdate(time.time() + 5, usegmt=True),
        "nothing": None,
    }
    one.always(Status(429, retry_after=asked[kind]))
    first = post(gateway.port, chat("solo"))
    assert int(first.headers["retry-after"]) in ([1] if kind == "nothing" else [3, 4, 5])
    if kind != "nothing":
        assert post(gateway.port, chat("solo")).status == 429
    assert (first.status, len(one.posts)) == (429, 1)
    assert set(attempts(gateway, "one")) == {("rate_limited", "")}
    stats = backend_stats(gateway.get("/v1/stats"), "one")
    assert (stats["quality"], stats["breaker"]) == (None, "closed")


def test_the_fallback_chain_comes_before_a_pause(plain):
    gateway, one, two = plain
    one.always(Status(429, retry_after=0.5))
    reply = post(gateway.port, chat("paced"))
    assert (reply.status, reply.headers["x-nexus-fallback-model"]) == (200, "spare")
    assert (len(one.posts), len(two.posts)) == (1, 1)
    direct = post(gateway.port, chat("paced"))
    assert direct.status == 200
    assert len(one.posts) == 1, "it is still waiting"


def test_the_smallest_wait_of_all_is_told(plain):
    gateway, one, two = plain
    one.always(Status(429, retry_after=40))
    two.always(Status(429, retry_after=20))
    assert post(gateway.port, chat()).headers["retry-after"] == "20"
    assert post(gateway.port, chat()).headers["retry-after"] in {"19", "20"}


def test_a_second_attempt_starts_beside_one_that_is_overdue(plain):
    """Its answer is the client's, the slow one is cancelled, and its breaker learns of it."""
    gateway, one, two = plain
    for _ in range(3):
        assert post(gateway.port, chat(stream=True)).headers["x-nexus-backend"] == "one"
    one.always(Hang())
    began = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda _: post(gateway.port, chat(stream=True)), range(3)))
    assert 2.0 <= time.monotonic() - began < 5.0
    for reply in replies:
        assert (reply.status, reply.headers["x-nexus-backend"]) == (200, "two")
        assert (reply.headers["x-nexus-route-reason"], reply.headers["x-nexus-attempts"]) == ("hedge", "2")
        assert reply.body.endswith(b"data: [DONE]\n\n")
        outcomes = [(each["backend"], each["outcome"]) for each in past(gateway, reply)["attempts"]]
        assert outcomes == [("one", "cancelled"), ("two", "success")]
    stats = gateway.wait_for(idle)
    assert backend_stats(stats, "one")["breaker"] == "open"
    assert len(two.posts) == 3
    one.wait_until(lambda backend: backend.active_requests == 0)


def test_the_first_attempt_may_still_win(plain):
    """Then the second one is cancelled, and nothing is held against anybody."""
    gateway, one, two = plain
    for _ in range(3):
        post(gateway.port, chat(stream=True))
    one.always(Delay(2.5))
    two.always(Hang())
    reply = post(gateway.port, chat(stream=True))
    assert (reply.status, reply.headers["x-nexus-backend"]) == (200, "one")
    assert [each["outcome"] for each in past(gateway, reply)["attempts"]] == ["cancelled", "success"]
    stats = gateway.wait_for(idle)
    assert [backend_stats(stats, name)["breaker"] for name in ("one", "two")] == ["closed", "closed"]


def test_a_failure_of_one_leaves_the_other_to_answer(plain):
    gateway, one, two = plain
    for _ in range(3):
        post(gateway.port, chat(stream=True))
    one.always(Hang())
    two.always(Delay(0.5))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, gateway.port, chat(stream=True))
        two.wait_until(lambda backend: len(backend.posts) == 1)
        one.stop()
        reply = waiting.result()
    assert (reply.status, reply.headers["x-nexus-backend"]) == (200, "two")
    assert [each["outcome"] for each in past(gateway, reply)["attempts"]] == ["failure", "success"]


def test_no_second_attempt_without_a_budget(thrifty):
    """The one retry of the budget is spent; the request waits for the slow backend."""
    gateway, one, two = thrifty
    for _ in range(3):
        post(gateway.port, chat(stream=True))
    one.script(Status(500), then=Delay(2.6))
    assert post(gateway.port, chat(stream=True)).headers["x-nexus-backend"] == "two"
    assert post(gateway.port, chat(stream=True)).headers["x-nexus-backend"] == "one"
    assert len(two.posts) == 1

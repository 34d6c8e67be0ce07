"""Rate limits at the edge, in virtual time and over a real socket."""

import asyncio
from collections.abc import Callable

import pytest

from nexus.config.model import RateLimitSettings
from nexus.server.edge import ClientConnection, EdgeContext, Incoming
from nexus.server.rate_limits import Buckets, Grant, RateLimiting
from tests.unit.server.edge_harness import Harness, edge

PATH = b"/v1/chat/completions"


def settings(**changes: object) -> RateLimitSettings:
    return RateLimitSettings.model_validate({"enabled": True, "per_second": 2.0, "burst": 3, **changes})


def test_a_burst_and_then_the_rate():
    """Three at once, one more every half second, and those that wait are counted."""
    buckets = Buckets(settings(max_wait_seconds=1.0))
    grants = [buckets.take("a", 0.0) for _ in range(6)]
    assert [(each.granted, each.wait, each.remaining) for each in grants] == [
        (True, 0.0, 2),
        (True, 0.0, 1),
        (True, 0.0, 0),
        (True, 0.5, 0),
        (True, 1.0, 0),
        (False, 1.5, 0),
    ]
    assert buckets.take("a", 1.0).wait == 0.5
    assert buckets.take("b", 1.0) == Grant(True, 0.0, 2, 0.5)


def test_never_more_than_burst_and_rate_allow():
    buckets = Buckets(settings(max_wait_seconds=0.0))
    granted = sum(buckets.take("a", step / 100).granted for step in range(1001))
    assert granted == 3 + 2 * 10


def test_a_refused_request_costs_nothing():
    buckets = Buckets(settings(max_wait_seconds=0.0))
    for _ in range(50):
        buckets.take("a", 0.0)
    assert buckets.take("a", 0.5).granted


def test_what_is_given_back_is_there_for_the_next():
    buckets = Buckets(settings(max_wait_seconds=0.5))
    for _ in range(4):
        assert buckets.take("a", 0.0).granted
    assert not buckets.take("a", 0.0).granted
    buckets.give_back("a")
    buckets.give_back("nobody")
    assert buckets.take("a", 0.0).wait == 0.5


def test_full_buckets_are_forgotten_and_their_number_is_bounded():
    buckets = Buckets(settings(), max_buckets=10)
    for number in range(100):
        buckets.take(str(number), 0.0)
    assert len(buckets) == 10
    buckets.take("late", 5.0)
    assert len(buckets) == 1


class Timers:
    """Timers that fire when the test says so."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0

    def call_later(self, seconds: float, action: Callable[[], None]) -> "Timers":
        self.set.append((seconds, action))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def fire(self) -> None:
        self.set.pop(0)[1]()


class Limited:
    """An edge with a limit before its handler."""

    def __init__(self, harness: Harness, **changes: object) -> None:
        self.harness = harness
        self.timers = Timers()
        self.limiting = RateLimiting(settings(**changes), harness.clock, self.timers.call_later)
        harness.context.posts = {PATH: self.limiting.guard(self._handle)}

    def _handle(self, _: EdgeContext, connection: ClientConnection, incoming: Incoming, lines: str) -> None:
        self.harness.seen.append(incoming)
        connection.reply(200, lines.encode(), b"ok")

    async def ask(self, *headers: str) -> str:
        head = "".join(
            f"{line}\r\n" for line in ("Host: x", "Connection: close", "Content-Length: 0", *headers)
        )
        return (await self.harness.talk(b"POST %b HTTP/1.1\r\n%b\r\n" % (PATH, head.encode()))).decode()


async def test_answers_say_what_is_left():
    async with edge() as harness:
        limited = Limited(harness, max_wait_seconds=0)
        answer = await limited.ask()
        assert answer.startswith("HTTP/1.1 200")
        assert "x-ratelimit-limit-requests: 3\r\n" in answer
        assert "x-ratelimit-remaining-requests: 2\r\n" in answer
        assert "x-ratelimit-reset-requests: 0.500\r\n" in answer


async def test_beyond_the_limit_it_is_429_with_the_time_to_wait():
    async with edge() as harness:
        limited = Limited(harness, max_wait_seconds=0, per_second=0.2)
        for _ in range(3):
            await limited.ask()
        answer = await limited.ask("X-Request-Id: mine")
        assert answer.startswith("HTTP/1.1 429")
        assert "Retry-After: 5\r\n" in answer
        assert "x-ratelimit-remaining-requests: 0\r\n" in answer
        assert "X-Request-Id: mine\r\n" in answer
        assert '"message":"Rate limit exceeded: 0.2 requests per second and 3 at once' in answer
        assert '"code":"rate_limit_exceeded"' in answer
        assert harness.unrouted[0].status == 429


async def test_a_request_waits_for_its_turn():
    async with edge() as harness:
        limited = Limited(harness)
        for _ in range(3):
            await limited.ask()
        waiting = asyncio.ensure_future(limited.ask())
        await harness.until(lambda: limited.limiting.waiting == 1)
        assert len(harness.seen) == 3
        assert limited.timers.set[0][0] == 0.5
        harness.clock.advance(0.5)
        limited.timers.fire()
        assert (await waiting).startswith("HTTP/1.1 200")
        assert limited.limiting.waiting == 0
        assert harness.seen[3].received_at == 0.5, "the wait is not the gateway's work"


async def test_who_leaves_while_waiting_gives_the_turn_back():
    async with edge() as harness:
        limited = Limited(harness, max_wait_seconds=0.5)
        for _ in range(3):
            await limited.ask()
        _, writer = await harness.connect()
        writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % PATH)
        await harness.until(lambda: limited.limiting.waiting == 1)
        writer.close()
        await harness.until(lambda: limited.limiting.waiting == 0)
        assert limited.timers.cancelled == 1
        assert limited.limiting.buckets.take("127.0.0.1", 0.0).granted


async def test_nobody_waits_while_the_gateway_shuts_down():
    async with edge() as harness:
        limited = Limited(harness)
        for _ in range(3):
            await limited.ask()
        harness.context.draining = True
        assert (await limited.ask()).startswith("HTTP/1.1 429")


@pytest.mark.parametrize(
    ("scope", "keys", "shared"),
    [
        ("key", ("one", "two"), False),
        ("key", (), True),
        ("ip", ("one", "two"), True),
        ("global", ("one", "two"), True),
    ],
)
async def test_whose_requests_count_together(scope, keys, shared):
    """By key only where keys are checked: anybody could make some up."""
    async with edge(api_keys=keys) as harness:
        limited = Limited(harness, scope=scope, burst=1, max_wait_seconds=0)
        first = await limited.ask("Authorization: Bearer one")
        second = await limited.ask("X-Api-Key: two")
        assert first.startswith("HTTP/1.1 200")
        assert second.startswith("HTTP/1.1 429" if shared else "HTTP/1.1 200")

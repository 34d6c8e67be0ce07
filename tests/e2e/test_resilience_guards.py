"""Breakers take out a backend that is the problem, and nobody when the whole fleet is."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import backend, chat, post

CONFIG = """
[routing]
strategy = "round_robin"
[health_check]
enabled = false
[quality]
min_samples = 1000
[retry]
max_retries = 0
[breaker]
first_timeout_seconds = 1
"""
NAMES = ("a", "b", "c", "d")


class Fleet(NamedTuple):
    gateway: GatewayProcess
    backends: dict[str, FaultyBackend]

    def ask(self, times: int) -> list[int]:
        return [post(self.gateway.port, chat()).status for _ in range(times)]

    def out(self) -> set[str]:
        """Who is out of rotation."""
        states = self.gateway.get("/health")["circuit_breakers"]
        return {name for name, state in states.items() if state != "closed"}


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        backends = {name: stack.enter_context(FaultyBackend()) for name in NAMES}
        tables = "".join(backend(name, each.url, models=["m"]) for name, each in backends.items())
        yield Fleet(stack.enter_context(GatewayProcess(CONFIG + tables)), backends)


def test_a_problem_that_everybody_has_takes_nobody_out(fleet):
    """Else the few that are left would get all the traffic, and fail even more."""
    for each in fleet.backends.values():
        each.fail(0.6, seed=3)
    fleet.ask(80)
    assert len(fleet.out()) <= 1
    for each in fleet.backends.values():
        each.always(Status(500))
    fleet.ask(40)
    assert fleet.out() == set()
    assert all(len(each.posts) > 20 for each in fleet.backends.values())


def test_one_that_fails_alone_goes_out_and_comes_back(fleet):
    fleet.ask(8)
    fleet.backends["a"].always(Status(500))
    statuses = fleet.ask(30)
    assert fleet.out() == {"a"}
    assert statuses.count(502) == 3
    fleet.backends["a"].always(Answer())
    fleet.gateway.wait_for(lambda _: fleet.ask(4) and not fleet.out())


def test_those_that_are_out_come_back_when_the_others_fail_too(fleet):
    fleet.ask(8)
    fleet.backends["a"].always(Status(500))
    fleet.ask(16)
    assert fleet.out() == {"a"}
    for name in "bcd":
        fleet.backends[name].always(Status(500))
    fleet.ask(40)
    assert fleet.out() == set()

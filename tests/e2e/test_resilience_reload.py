"""A changed configuration goes into the running gateway; requests under way are not touched."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import backend, chat, post

CONFIG = '[health_check]\nenabled = false\n[logging]\nformat = "json"\n'


class Setup(NamedTuple):
    gateway: GatewayProcess
    one: FaultyBackend
    two: FaultyBackend

    def served_by(self, model: str = "m") -> str:
        return post(self.gateway.port, chat(model)).headers.get("x-nexus-backend", "nobody")

    def ids(self) -> list[str]:
        return [each["id"] for each in self.gateway.get("/v1/stats")["backends"]]


@pytest.fixture
def setup() -> Iterator[Setup]:
    with (
        FaultyBackend() as one,
        FaultyBackend() as two,
        GatewayProcess(CONFIG + backend("one", one.url, models=["m"])) as process,
    ):
        yield Setup(process, one, two)


def test_backends_come_and_go_while_their_requests_finish(setup):
    """A stream on a removed backend ends as it would have; the next request goes to the new one."""
    setup.one.always(Answer(tokens=8, token_delay=0.1))
    with ThreadPoolExecutor(1) as pool:
        streaming = pool.submit(post, setup.gateway.port, chat(stream=True))
        setup.one.wait_until(lambda each: each.active_requests == 1)
        setup.gateway.configure(CONFIG + backend("two", setup.two.url, models=["m"]))
        setup.gateway.wait_for(lambda _: setup.ids() == ["two"])
        assert not streaming.done()
        assert setup.served_by() == "two"
        reply = streaming.result()
    assert reply.headers["x-nexus-backend"] == "one"
    assert reply.body.endswith(b"data: [DONE]\n\n")


def test_settings_change_and_mistakes_change_nothing(setup):
    good = setup.gateway.toml
    aliases = '[routing]\naliases = { nick = "m" }\n'
    setup.gateway.configure(aliases + "[quality]\nerror_rate_threshold = 0.2\n" + good, hang_up=True)
    setup.gateway.wait_for(lambda stats: stats["config"]["quality"]["error_rate_threshold"] == 0.2)
    assert setup.served_by("nick") == "one"
    setup.gateway.configure("[quality]\nerror_rate_threshold = 0.3\nmin_sample = 1\n" + good, hang_up=True)
    setup.gateway.configure("[rate_limit]\nenabled = true\nburst = 1\nmax_wait_seconds = 0\n" + good)
    setup.gateway.wait_for(lambda _: "x-ratelimit-limit-requests" in post(setup.gateway.port, chat()).headers)
    assert setup.gateway.get("/v1/stats")["config"]["quality"]["error_rate_threshold"] == 0.5


def test_breakers_are_switched_off_and_on(setup):
    setup.one.always(Status(500))
    for _ in range(3):
        post(setup.gateway.port, chat())
    assert setup.gateway.get("/health")["circuit_breakers"] == {"one": "open"}
    good = setup.gateway.toml
    setup.gateway.configure("[breaker]\nenabled = false\n" + good)
    setup.gateway.wait_for(lambda _: setup.gateway.get("/health")["circuit_breakers"] == {"one": "closed"})
    for _ in range(4):
        post(setup.gateway.port, chat())
    assert setup.gateway.get("/health")["circuit_breakers"] == {"one": "closed"}
    setup.gateway.configure("[breaker]\nfailure_threshold = 1\n" + good)
    setup.gateway.wait_for(
        lambda _: (
            post(setup.gateway.port, chat()).status
            and setup.gateway.get("/health")["circuit_breakers"] == {"one": "open"}
        )
    )

"""Tests of our own, of backends that are out: when they are sent, what they ask, what follows from them."""

import json
import random
from typing import Any

import pytest

from nexus.core.backend import Backend, BackendType, ModelInfo
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.core.live import BackendLive, SpendMeter
from nexus.core.outcome import FailureKind
from nexus.dialects.table import dialect_for
from nexus.proxy.fast_path import FastPath
from nexus.proxy.headers import ResponseHead
from nexus.proxy.probing import DEADLINE_SECONDS, Prober
from nexus.quality.guard_rules import GuardRules
from nexus.resilience import CircuitBreaker, CircuitBreakerConfig
from nexus.testing import ManualClock

ANSWER = b'{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"length"}]}'


class Pool:
    """Keeps the calls that were sent, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def send(self, origin: Any, data: bytes, handler: Any) -> "Call":
        call = Call(origin, data, handler)
        self.calls.append(call)
        return call

    def is_connected(self, origin: Any) -> bool:
        return any(call.origin == origin for call in self.calls)


class Call:
    paused = False

    def __init__(self, origin: Any, data: bytes, handler: Any) -> None:
        self.origin, self.data, self.handler = origin, data, handler
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def pause(self) -> None:
        raise AssertionError("a test of our own is read as it comes")

    resume = pause

    def answer(self, status: int = 200, body: bytes = ANSWER) -> None:
        self.handler.on_head(ResponseHead(status, []))
        self.handler.on_body(body)
        self.handler.on_read_done()
        self.handler.on_end()

    def refuse(self) -> None:
        self.handler.on_failure(FailureKind.CONNECT, "refused")


class Rig:
    """Two backends, "a" of the given type and "b"; the breaker of "a" waits a minute."""

    def __init__(
        self, kind: BackendType = BackendType.VLLM, info: ModelInfo | None = None, *, first_wait: float = 60.0
    ) -> None:
        self.clock = ManualClock()
        self.pool = Pool()
        self.views = [
            BackendView(
                Backend(name, name, f"http://{name}.test", kind),
                BackendStatus.HEALTHY,
                {"m": info or ModelInfo("m")},
                BackendLive(),
            )
            for name in ("a", "b")
        ]
        self.show(*self.views)
        self.path = FastPath(
            self,
            breaker=CircuitBreakerConfig(
                success_threshold=2, timeout_seconds=60.0, first_timeout_seconds=first_wait, jitter=0.0
            ),
            rules=GuardRules(),
            clock=self.clock,
            rng=random.Random(1),
        )
        self.path.equip()
        self.prober = Prober(
            self,
            self.path,
            self.pool,
            self.clock,
            lambda backend: dialect_for(backend.type),
        )

    def show(self, *views: BackendView) -> None:
        self.snapshot = FleetSnapshot(1, tuple(views), {"m": tuple(views)}, SpendMeter())

    @property
    def breaker(self) -> Any:
        return self.path.breaker_of("a")

    @property
    def state(self) -> str:
        return str(self.breaker.state)

    def fail(self) -> None:
        """Take "a" out."""
        for _ in range(3):
            self.breaker.record_failure()
        assert self.path.is_out("a")

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            self.prober.tick()

    def err(self, times: int) -> None:
        """So many tests are answered with an error."""
        for _ in range(times):
            self.wait(2.5)
            self.pool.calls[-1].answer(500)

    def die(self, times: int) -> None:
        """So many tests are refused."""
        for _ in range(times):
            self.wait(2.5)
            self.pool.calls[-1].refuse()


def test_nothing_is_sent_while_nobody_is_out():
    rig = Rig()
    rig.wait(60)
    assert rig.pool.calls == []


def test_a_backend_that_is_out_is_asked_for_one_token():
    rig = Rig()
    rig.fail()
    rig.wait(2.0)
    assert rig.pool.calls == []
    rig.wait(0.5)
    (call,) = rig.pool.calls
    head, body = call.data.split(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a.test\r\n")
    assert json.loads(body)["max_tokens"] == 1
    rig.wait(2.0)
    assert len(rig.pool.calls) == 1, "one test at a time"


def test_the_end_of_an_outage_ends_the_wait():
    rig = Rig()
    rig.fail()
    rig.err(4)
    rig.wait(2.5)
    assert rig.state == "open"
    rig.pool.calls[-1].answer()
    assert rig.state == "half_open"


def test_one_test_that_works_among_many_is_no_news():
    """A backend that fails two times of three is not let in by a lucky test."""
    rig = Rig()
    rig.fail()
    for _ in range(3):
        rig.err(3)
        rig.wait(2.5)
        rig.pool.calls[-1].answer()
        assert rig.state == "open"


def test_a_test_that_works_after_one_that_nobody_answered_is_news():
    rig = Rig()
    rig.fail()
    rig.die(1)
    rig.wait(2.5)
    rig.pool.calls[-1].answer()
    assert rig.state == "half_open"


def test_four_tests_that_work_end_a_wait_that_began_with_the_recovery():
    rig = Rig()
    rig.fail()
    for _ in range(3):
        rig.wait(2.5)
        rig.pool.calls[-1].answer()
    assert rig.state == "open"
    rig.wait(2.5)
    rig.pool.calls[-1].answer()
    assert rig.state == "half_open"


def test_the_test_that_ends_a_wait_is_the_first_success():
    rig = Rig()
    rig.fail()
    rig.die(4)
    rig.wait(2.5)
    rig.pool.calls[-1].answer()
    assert rig.breaker.allow(), "a live request is the second test"
    rig.breaker.record_success()
    assert rig.state == "closed"


def test_the_gates_of_its_models_wait_no_longer_either():
    rig = Rig()
    gate = CircuitBreaker(rig.path.breaker, clock=rig.clock)
    gate.trip()
    rig.views[0].live.gates["m"] = gate
    rig.fail()
    rig.die(4)
    assert not gate.permits()
    rig.wait(2.5)
    rig.pool.calls[-1].answer()
    assert gate.permits()
    assert gate.state == "half_open"


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"{}"), (200, b'{"error":{"message":"no"}}'), (200, b"x" * 1_100_000), (404, ANSWER)],
)
def test_what_is_no_answer_counts_as_a_failed_test(status, body):
    rig = Rig()
    rig.fail()
    for _ in range(6):
        rig.wait(2.5)
        rig.pool.calls[-1].answer(status, body)
    assert rig.state == "open"
    rig.wait(2.5)
    rig.pool.calls[-1].answer()
    assert rig.state == "half_open"


def test_a_test_that_hangs_is_given_up():
    rig = Rig()
    rig.fail()
    rig.wait(2.5)
    (call,) = rig.pool.calls
    rig.wait(DEADLINE_SECONDS)
    assert call.cancelled
    call.answer()
    rig.wait(2.5)
    assert len(rig.pool.calls) == 2


def test_without_traffic_two_tests_close_a_half_open_breaker():
    rig = Rig(first_wait=1.0)
    rig.fail()
    rig.clock.advance(1.0)
    for _ in range(8):
        rig.wait(2.5)
        if rig.path.is_out("a"):
            rig.pool.calls[-1].answer()
    assert rig.state == "closed"
    sent = len(rig.pool.calls)
    rig.wait(30)
    assert len(rig.pool.calls) == sent, "it is no longer out"


def test_a_failed_test_of_a_half_open_breaker_opens_it_for_longer():
    rig = Rig(first_wait=1.0)
    rig.fail()
    rig.wait(2.5)
    rig.pool.calls[-1].refuse()
    assert rig.state == "half_open", "live requests come first"
    rig.wait(2.5)
    rig.pool.calls[-1].refuse()
    rig.wait(2.5)
    rig.pool.calls[-1].refuse()
    rig.wait(2.5)
    rig.pool.calls[-1].refuse()
    assert rig.state == "open"
    assert rig.breaker.retry_after() == pytest.approx(2.0)


def test_cloud_backends_and_models_without_completions_are_not_tested():
    for rig in (Rig(BackendType.OPENAI), Rig(info=ModelInfo("m", embedding=True))):
        rig.fail()
        rig.wait(30)
        assert rig.pool.calls == []


def test_the_test_of_a_backend_that_is_removed_is_cancelled():
    rig = Rig()
    rig.fail()
    rig.wait(2.5)
    rig.show(rig.views[1])
    rig.prober.tick()
    assert rig.pool.calls[0].cancelled
    rig.pool.calls[0].answer()
    assert rig.state == "open"

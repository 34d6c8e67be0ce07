"""The forwarder with everything it needs, in virtual time, in front of scripted upstreams on real sockets."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import msgspec

from nexus.app.patience import FirstTokenPatience
from nexus.backends.registry import Fleet
from nexus.config.model import (
    BreakerSettings,
    QualitySettings,
    RetrySettings,
    RoutingConfig,
    TimeoutSettings,
)
from nexus.core.backend import Backend
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus
from nexus.core.live import SpendMeter
from nexus.core.outcome import AttemptOutcome, RequestOutcome
from nexus.core.request import Needs, Priority, Request, Surface
from nexus.dialects.table import dialect_for
from nexus.proxy.context import ProxyContext
from nexus.proxy.downstream import ClientHeaders
from nexus.proxy.exchange import Exchange
from nexus.proxy.fast_path import FastPath
from nexus.proxy.forward import Forwarder
from nexus.proxy.limits import ProxyLimits
from nexus.proxy.recording import Recording
from nexus.proxy.retry_budget import RetryBudget
from nexus.proxy.turn import Turn
from nexus.proxy.upstream import UpstreamPool
from nexus.proxy.waiting_room import WaitingRoom
from nexus.quality import QualityMetricsStore
from nexus.quality.guard_rules import GuardRules
from nexus.quality.learner import AttemptLearner
from nexus.resilience import CircuitBreakerConfig
from nexus.routing.pipeline import Router
from nexus.testing import FaultyBackend, ManualClock


class Client:
    """The client's side of one request (a `Downstream`)."""

    def __init__(self) -> None:
        self.status = 0
        self.headers = ""
        self.body = b""
        self.over = False
        self.exchange: Exchange

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        self.status, self.headers, self.body, self.over = status, headers.decode(), body, True

    def start(self, status: int, headers: bytes) -> None:
        self.status, self.headers = status, headers.decode()

    def write(self, data: bytes) -> None:
        self.body += data

    def end(self, *, close: bool = False) -> None:  # noqa: ARG002  # the interface
        self.over = True

    def fault(self) -> None:
        self.status, self.over = 500, True

    def abort(self) -> None:
        self.over = True

    def header(self, name: str) -> str:
        """The value of a header, empty where there is none."""
        lines = (line.partition(": ") for line in self.headers.split("\r\n"))
        return next((value for key, _, value in lines if key.lower() == name.lower()), "")

    @property
    def error(self) -> Any:
        """The `error` object of the body."""
        return msgspec.json.decode(self.body)["error"]


class Rig:
    """Upstreams "a", "b", … and a forwarder over them.

    All serve the model `m`, "a" preferred; "a" alone serves `only-a`, and so on.
    """

    def __init__(
        self,
        upstreams: list[FaultyBackend],
        *,
        limit: int,
        retry: RetrySettings,
        queue_size: int,
        fallbacks: dict[str, tuple[str, ...]],
        try_degraded: bool,
        priorities: tuple[int, ...],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock = ManualClock(start=1000.0)
        self.upstreams = dict(zip("abc", upstreams, strict=False))
        backends = [
            Backend(name, name, each.url, models=("m", f"only-{name}"), priority=rank, max_concurrency=limit)
            for rank, (name, each) in zip(priorities, self.upstreams.items(), strict=False)
        ]
        self.store = QualityMetricsStore(clock=self.clock)
        self.fleet = Fleet(
            backends, quality_views=self.store.snapshot, prices=lambda _, __: None, spend=SpendMeter()
        )
        for each in backends:
            self.fleet.set_status(each.id, BackendStatus.HEALTHY)
        rng = random.Random(7)
        self.path = FastPath(
            self.fleet, breaker=CircuitBreakerConfig(), rules=GuardRules(), clock=self.clock, rng=rng
        )
        self.path.equip()
        self.pool = UpstreamPool(loop, Turn(loop), self.clock, connect_seconds=5.0)
        self.queue = WaitingRoom(max_size=queue_size, max_wait_seconds=30.0, clock=self.clock)
        self.retries = RetryBudget(retry, rng)
        self.attempts: list[AttemptOutcome] = []
        self.requests: list[RequestOutcome] = []
        routing = RoutingConfig(strategy="priority_only", fallbacks=fallbacks)
        limits = ProxyLimits(TimeoutSettings(), max_retries=retry.max_retries, try_degraded=try_degraded)
        self.forwarder = Forwarder(self._context(routing, limits, rng))

    def _context(self, routing: RoutingConfig, limits: ProxyLimits, rng: random.Random) -> ProxyContext:
        tuning = ExpectedTimeSettings()
        breaker = BreakerSettings()
        learner = AttemptLearner(tuning)
        return ProxyContext(
            fleet=self.fleet,
            router=Router(routing, QualitySettings(), breaker, rng=rng, tuning=tuning, queueing=True),
            pool=self.pool,
            clock=self.clock,
            dialect_for=lambda backend: dialect_for(backend.type),
            limits=limits,
            retries=self.retries,
            queue=self.queue,
            patience=FirstTokenPatience(self.store, tuning),
            forward_authorization=False,
            watch=learner,
            recording=Recording(
                learner,
                (self.attempts.extend,),
                (lambda finished: self.requests.extend(outcome for outcome, _ in finished),),
            ),
            order=self.pool.turn,
        )

    def ask(self, name: str = "t", *, stream: bool = False, high: bool = False, model: str = "m") -> Client:
        """Take a request on."""
        request = Request(
            name,
            Surface.CHAT,
            model,
            Needs(stream=stream),
            self.clock.monotonic(),
            priority=Priority.HIGH if high else Priority.NORMAL,
        )
        asked = {"model": model, "user": name, "stream": stream, "messages": []}
        client = Client()
        client.exchange = self.forwarder.forward(
            request, msgspec.json.encode(asked), ClientHeaders(answer_lines="x-own: 1\r\n"), client, path="/x"
        )
        return client

    def asked(self, upstream: str) -> list[str]:
        """Who has been sent to this upstream, in order."""
        return [each.json["user"] for each in self.upstreams[upstream].posts]

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the sockets work until something is so."""
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  # nothing here has an event for everything
                await asyncio.sleep(0.001)

    async def served(self, *clients: Client) -> None:
        """Until these have their answers."""
        await self.until(lambda: all(client.over for client in clients))

    async def sent(self, upstream: str, count: int) -> None:
        """Until this upstream has received so many requests."""
        await self.until(lambda: len(self.upstreams[upstream].posts) >= count)

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass, and what is due happen."""
        self.clock.advance(seconds)
        self.forwarder.tick()

    def pending(self) -> int:
        """Attempts in flight, over all backends."""
        return sum(view.live.pending for view in self.fleet.snapshot.backends)


@asynccontextmanager
async def forwarding(
    count: int = 1,
    *,
    limit: int = 0,
    queue_size: int = 10,
    fallbacks: dict[str, tuple[str, ...]] | None = None,
    try_degraded: bool = True,
    priorities: tuple[int, ...] = (0, 1, 2),
    **retry: Any,
) -> AsyncIterator[Rig]:
    """A rig with so many upstreams. At its end nothing may be left over."""
    with ExitStack() as stack:
        upstreams = [stack.enter_context(FaultyBackend()) for _ in range(count)]
        rig = Rig(
            upstreams,
            limit=limit,
            retry=RetrySettings(**retry),
            queue_size=queue_size,
            fallbacks=fallbacks or {},
            try_degraded=try_degraded,
            priorities=priorities,
        )
        try:
            yield rig
            assert not rig.forwarder.active
            assert rig.pending() == 0
            assert rig.queue.depth == 0
            assert len(rig.requests) == len({outcome.request.trace_id for outcome in rig.requests})
        finally:
            rig.pool.close()
            await asyncio.sleep(0)

"""What all exchanges share: routing, the fleet, the pool, the limits in time, and who is told of outcomes."""

from collections.abc import Callable
from typing import Protocol

from nexus.core.backend import Backend
from nexus.core.clock import Clock
from nexus.core.decision import Candidate, Decision
from nexus.core.fleet import FleetSnapshot
from nexus.core.flight import Flight
from nexus.core.live import BackendLive
from nexus.core.request import Request
from nexus.dialects.base import Dialect
from nexus.proxy.answer_text import Listener
from nexus.proxy.calling import Caller
from nexus.proxy.limits import ProxyLimits
from nexus.proxy.recording import Landing, Recording
from nexus.proxy.retry_budget import RetryBudget
from nexus.proxy.target import Target
from nexus.proxy.turn import Order
from nexus.proxy.waiting_room import WaitingRoom

Patience = Callable[[Candidate, Request], float]


class FleetSource(Protocol):
    """Who holds the current picture of all backends."""

    snapshot: FleetSnapshot


class Decider(Protocol):
    """Routing, as the proxy needs it."""

    def decide(
        self,
        request: Request,
        snapshot: FleetSnapshot,
        now: float,
        *,
        chain_start: int = 0,
        preview: bool = False,
    ) -> Decision:
        """Decide for the model at `chain_start` of the fallback chain, or further down it.

        `preview`: nothing is measured, and no turn is taken.
        """
        ...


class AttemptWatch(Landing, Protocol):
    """Who learns from attempts while they are under way, and from their ends."""

    def started(self, live: BackendLive, model: str, tokens: int, *, stream: bool, now: float) -> Flight:
        """An attempt is about to be counted as pending; `tokens` is the estimated length of its prompt."""
        ...

    def first_token(self, flight: Flight, now: float) -> None:
        """The first content of its stream is there."""
        ...


class ProxyContext:
    """The collaborators of every exchange, wired once.

    Args:
        fleet, router, pool, clock: the collaborators.
        dialect_for: the dialect spoken to a backend.
        limits: the settings.
        retries: how many retries there may be, for a request and in all.
        queue: where requests wait for a free place.
        patience: seconds that an attempt for this request has for its first token before a second one may
            start beside it.
        forward_authorization: whether a client's own key may go to a backend that has none; never when the
            gateway has keys of its own.
        watch: told of each attempt's start and first token.
        recording: told of each attempt's and each request's end.
        listener: told what was said in chats; None: nobody listens, and nothing is collected.
        order: when steps of a request are done that others of the same moment take, too; None: at once.
    """

    def __init__(
        self,
        *,
        fleet: FleetSource,
        router: Decider,
        pool: Caller,
        clock: Clock,
        dialect_for: Callable[[Backend], Dialect],
        limits: ProxyLimits,
        retries: RetryBudget,
        queue: WaitingRoom,
        patience: Patience,
        forward_authorization: bool,
        watch: AttemptWatch,
        recording: Recording,
        listener: Listener | None = None,
        order: Order | None = None,
    ) -> None:
        self.listener = listener
        self.order = Order() if order is None else order
        self.fleet = fleet
        self.router = router
        self.pool = pool
        self.clock = clock
        self.retries = retries
        self.queue = queue
        self.patience = patience
        self.forward_authorization = forward_authorization
        self.watch = watch
        self.recording = recording
        self.configure(limits)
        self._dialect_for = dialect_for
        self._targets: dict[str, Target] = {}

    def configure(self, limits: ProxyLimits) -> None:
        """Replace the settings; they hold from the next attempt on."""
        self.timeouts = limits.timeouts
        self.max_retries = limits.max_retries
        self.try_degraded = limits.try_degraded
        self.recheck_seconds = limits.recheck_seconds

    def target(self, backend: Backend) -> Target:
        """The prepared target of a backend, made anew when its settings changed."""
        target = self._targets.get(backend.id)
        if target is None or target.backend is not backend:
            target = Target(backend, self._dialect_for(backend))
            self._targets[backend.id] = target
        return target

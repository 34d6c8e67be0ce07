"""What every baseline shares: a lean gateway with the product's retries and deadlines, and bookkeeping.

A baseline sees what the product sees: failures of every kind (gray ones too, although a plain proxy would
pass them on), 429s, and times to the first token.
"""

from collections.abc import Callable, Sequence
from random import Random

from bench.routing_sim.engine import Engine
from bench.routing_sim.measures import Tally
from bench.routing_sim.servers import Job, SimBackend
from bench.routing_sim.trace import Arrival
from nexus.config.model import RetrySettings, TimeoutSettings
from nexus.core.outcome import FailureKind

THROTTLED = 429


class Policy:
    """A routing rule. Subclasses say which backend is next, and may listen to what becomes of attempts.

    `members` are the backends there are, `pending` the attempts in flight on each.
    """

    def __init__(
        self, engine: Engine, backends: Sequence[SimBackend], members: Sequence[int], rng: Random
    ) -> None:
        self.engine = engine
        self.backends = backends
        self.members = list(members)
        self.pending = [0] * len(backends)
        self.rng = rng

    def choose(self, arrival: Arrival, tried: Sequence[int]) -> int | None:
        """The backend for the next attempt, none of `tried`; None where there is none."""
        raise NotImplementedError

    def first_token(self, index: int, seconds: float) -> None:
        """An attempt has its first token after so many seconds."""

    def succeeded(self, index: int) -> None:
        """An attempt was answered in full."""

    def failed(self, index: int, seconds: float, status: int) -> None:
        """An attempt failed after so many seconds; `status` 0: no HTTP answer or none in time."""

    def join(self, index: int) -> None:
        """A backend was added."""
        self.members.append(index)

    def untried(self, tried: Sequence[int]) -> list[int]:
        """The members that this request has not met."""
        return [index for index in self.members if index not in tried] if tried else list(self.members)

    def fewer_pending(self, options: Sequence[int]) -> int:
        """The power of two choices: of two at random, the one with fewer attempts in flight."""
        if len(options) == 1:
            return options[0]
        one, other = self.rng.sample(options, 2)
        return one if self.pending[one] <= self.pending[other] else other


PolicyMaker = Callable[[Engine, Sequence[SimBackend], Sequence[int], Random], Policy]


class BaselineGateway:
    """One replica that follows a policy: at most two retries, each on another backend, none after a token."""

    def __init__(self, engine: Engine, backends: Sequence[SimBackend], policy: Policy, tally: Tally) -> None:
        self.engine = engine
        self.backends = backends
        self.policy = policy
        self.tally = tally
        self.attempts = 1 + RetrySettings().max_retries
        self.first_token_seconds = TimeoutSettings().first_token_seconds

    def join(self, index: int) -> None:
        """A backend is added."""
        self.policy.join(index)

    def submit(self, arrival: Arrival) -> None:
        """A client sends its request."""
        self.attempt(arrival, ())

    def attempt(self, arrival: Arrival, tried: tuple[int, ...]) -> None:
        """The next attempt of a request, if there is one."""
        index = self.policy.choose(arrival, tried) if len(tried) < self.attempts else None
        if index is None:
            self.tally.lost(arrival, self.engine.now - arrival.moment)
            return
        _Attempt(self, arrival, tried, index).start()


class _Attempt:
    __slots__ = ("_arrival", "_gateway", "_index", "_job", "_sent_at", "_tried", "_ttft")

    def __init__(
        self, gateway: BaselineGateway, arrival: Arrival, tried: tuple[int, ...], index: int
    ) -> None:
        self._gateway = gateway
        self._arrival = arrival
        self._tried = tried
        self._index = index
        self._ttft: float | None = None
        self._sent_at = gateway.engine.now
        self._job = Job(
            arrival.prompt_tokens, arrival.output_tokens, arrival.luck[index], arrival.noise[index], self
        )

    def start(self) -> None:
        gateway, index = self._gateway, self._index
        gateway.policy.pending[index] += 1
        gateway.tally.sent(index, self._sent_at)
        gateway.engine.after(gateway.first_token_seconds, self._expire)
        gateway.backends[index].submit(self._job)

    def first_token(self) -> None:
        now = self._gateway.engine.now
        self._ttft = now - self._arrival.moment
        self._gateway.policy.first_token(self._index, now - self._sent_at)

    def finished(self) -> None:
        gateway = self._gateway
        gateway.policy.pending[self._index] -= 1
        gateway.policy.succeeded(self._index)
        gateway.tally.served(self._arrival, self._ttft or 0.0)

    def failed(self, kind: FailureKind, status: int, retry_after: float | None) -> None:  # noqa: ARG002 - a sink
        self._fail(status)

    def _expire(self, _: object) -> None:
        if self._job.live and self._ttft is None:
            self._gateway.backends[self._index].cancel(self._job)
            self._fail(0)

    def _fail(self, status: int) -> None:
        gateway, arrival = self._gateway, self._arrival
        now = gateway.engine.now
        gateway.policy.pending[self._index] -= 1
        gateway.policy.failed(self._index, now - self._sent_at, status)
        gateway.tally.spoiled(self._index)
        if self._ttft is None:
            gateway.attempt(arrival, (*self._tried, self._index))
        else:
            gateway.tally.lost(arrival, now - arrival.moment)

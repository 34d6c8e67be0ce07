"""What an attempt asks of, and tells, the exchange it belongs to."""

from typing import Protocol

from nexus.core.decision import Candidate
from nexus.core.outcome import AttemptOutcome
from nexus.core.request import Request
from nexus.proxy.calling import CallHandler, RunningCall
from nexus.proxy.context import ProxyContext
from nexus.proxy.target import Target


class Tried(CallHandler, Protocol):
    """An attempt, as its owner sees it; `started_at` is monotonic."""

    candidate: Candidate
    target: Target
    started_at: float


class AttemptOwner(Protocol):
    """Whose attempt it is, and who is told what comes of it."""

    request: Request
    shared: ProxyContext
    total_deadline: float

    def send(self, attempt: Tried) -> RunningCall | None:
        """Send the request upstream; None where the gateway itself failed to."""
        ...

    def deliver(
        self,
        attempt: Tried,
        outcome: AttemptOutcome,
        relayed: bytes,
        body: bytes,
        arrived_at: float,
    ) -> None:
        """A whole answer with the status of the outcome; `relayed` are header lines for the client."""
        ...

    def open_stream(self, attempt: Tried, status: int, relayed: bytes) -> None:
        """The first piece of an answer is good and follows."""
        ...

    def pass_on(self, data: bytes) -> None:
        """A piece of the answer."""
        ...

    def end_stream(self, outcome: AttemptOutcome) -> None:
        """All of the answer has been passed on."""
        ...

    def break_off(self, outcome: AttemptOutcome, *, explain: bool) -> None:
        """The answer broke after its first piece."""
        ...

    def attempt_failed(self, outcome: AttemptOutcome) -> None:
        """The attempt ended before anything was passed on."""
        ...

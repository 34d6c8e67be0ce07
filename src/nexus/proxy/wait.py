"""What a request does while there is nowhere to send it: stand in line, or sit out a short pause."""

from typing import Protocol

from nexus.core.decision import Candidate, Decision, RejectCause, Verdict
from nexus.core.request import Request
from nexus.proxy.context import ProxyContext

# A wait of under a second that a backend asks for by 429 is sat out; a longer one is the client's to decide
# about. What is left of a whole second, a moment later, is not under a second.
PACED_SECONDS = 0.95


class Host(Protocol):
    """The exchange that waits."""

    request: Request
    shared: ProxyContext

    def untried(self, decision: Decision) -> tuple[Candidate, ...]:
        """The candidates that have not failed this request yet."""
        ...

    def go_on(self, decision: Decision | None, waited: float) -> None:
        """The wait is over: try again, with this decision or with what is left of the one at hand."""
        ...

    def give_in(self, decision: Decision, waited: float) -> None:
        """The wait was in vain."""
        ...


class Wait(Protocol):
    """A wait under way."""

    def over(self) -> None:
        """Its time is up."""
        ...

    def abandon(self) -> None:
        """The client is gone."""
        ...


class InLine:
    """Waits for a free place (a `Waiter` of the waiting room)."""

    __slots__ = ("_decision", "_host", "request")

    def __init__(self, host: Host, decision: Decision) -> None:
        self.request = host.request
        self._host = host
        self._decision = decision

    def called(self) -> bool:
        """A place may be free: take it, or stay where the request still finds every one taken."""
        host, shared = self._host, self._host.shared
        now = shared.clock.monotonic()
        decision = shared.router.decide(self.request, shared.fleet.snapshot, now, preview=True)
        candidates = host.untried(decision)
        if not candidates and decision.saturated:
            return False
        waited = shared.queue.leave(self, candidates[0].view.backend.id if candidates else None)
        host.go_on(decision, waited)
        return True

    def turned_away(self, waited: float) -> None:
        """The queue has closed."""
        self._host.give_in(self._decision, waited)

    def over(self) -> None:
        """No place within the time."""
        self.turned_away(self._host.shared.queue.leave(self))

    def abandon(self) -> None:
        """Get out of line."""
        self._host.shared.queue.leave(self)


class Pause:
    """Sits out some time; `again`: what is best may have changed meanwhile, so it is decided anew."""

    __slots__ = ("_again", "_host", "_since")

    def __init__(self, host: Host, *, again: bool) -> None:
        self._host = host
        self._again = again
        self._since = host.shared.clock.monotonic()

    def over(self) -> None:
        """Go on."""
        host, shared = self._host, self._host.shared
        now = shared.clock.monotonic()
        decision = shared.router.decide(host.request, shared.fleet.snapshot, now) if self._again else None
        host.go_on(decision, now - self._since)

    def abandon(self) -> None:
        """Nothing is held."""


def get_in_line(host: Host, decision: Decision) -> InLine | None:
    """Wait for a place where one is all that is missing; None where it is not, or the queue takes nobody."""
    if decision.verdict is not Verdict.QUEUE and not decision.saturated:
        return None
    waiter = InLine(host, decision)
    entered = host.shared.queue.enter(waiter, (each.backend for each in decision.rejections))
    return waiter if entered else None


def short_wait(decision: Decision) -> float | None:
    """Seconds after which a throttled backend takes requests again, where that is soon enough to wait for."""
    wait = decision.retry_after
    throttled = decision.cause is RejectCause.RATE_LIMITED and wait is not None and wait < PACED_SECONDS
    return wait if throttled else None

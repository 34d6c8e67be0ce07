"""One client request from its decision to its answer: attempts in order, failover before the first byte."""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from nexus.core.decision import Candidate, Decision, Verdict
from nexus.core.live import Gate
from nexus.core.outcome import AttemptOutcome, RequestResult
from nexus.core.request import Request
from nexus.proxy import refusal
from nexus.proxy.admission import admit
from nexus.proxy.answering import Answering
from nexus.proxy.attempt import Attempt
from nexus.proxy.context import ProxyContext
from nexus.proxy.downstream import ClientHeaders, Downstream
from nexus.proxy.hedging import LEAST_PATIENCE, beside, note_billing
from nexus.proxy.wait import Pause, Wait, get_in_line, short_wait

_CLIENT_CLOSED: Final = 499
_ROUTE: Final = Verdict.ROUTE  # members of an enumeration are looked up slowly
_FOREVER: Final = float("inf")


class Exchange(Answering):
    """The life of one request. Reads downward: start, attempts, waits, answer, end.

    `deadline` is the monotonic time at which `expire` is due; `ended` is called once, at the end.
    """

    __slots__ = ("_paced", "_position", "_reconsidered", "_wait", "_wake_at")

    def __init__(  # noqa: PLR0917 - made for every request, where names cost
        self,
        shared: ProxyContext,
        request: Request,
        client: ClientHeaders,
        downstream: Downstream,
        body: bytes,
        path: str,
        ended: "Callable[[Exchange], None]",
    ) -> None:
        super().__init__(shared, request, client, downstream, body, path, ended)
        self._position = 0
        self._wait: Wait | None = None
        self._wake_at = _FOREVER
        self._paced = False
        self._reconsidered = -1

    @property
    def deadline(self) -> float:
        """When `expire` is due, as a monotonic reading."""
        due = self._wake_at
        attempt = self._attempt
        if attempt is not None and attempt.deadline < due:
            due = attempt.deadline
        rival = self._rival
        return due if rival is None or due < rival.deadline else rival.deadline

    # --- deciding and trying

    def start(self) -> None:
        """Decide, and make the first attempt or refuse."""
        shared = self.shared
        shared.retries.requests += 1
        try:
            decision = shared.router.decide(self.request, shared.fleet.snapshot, self.request.received_at)
            self._decision: Decision = decision
            if decision.verdict is _ROUTE:
                self._try_next()
            elif not self._wait_for(decision):
                self._refuse_unrouted(decision)
        except Exception:  # noqa: BLE001  # reason: a fault of ours must not leave the client without an answer
            self.fault()

    def _try_next(self) -> None:
        """Attempt the next candidate that admits one; go down the fallback chain when there is none left."""
        while len(self._attempts) <= self.shared.max_retries:
            candidates = self._decision.candidates
            while self._position < len(candidates):
                candidate = candidates[self._position]
                self._position += 1
                if self._attempts and not self._may_retry():
                    return
                gates = admit(candidate)
                if gates is not None:
                    self._begin(candidate, gates)
                    return
            if not self._go_down_the_chain():
                break
        self._give_up()

    def _go_down_the_chain(self) -> bool:
        decision, shared = self._decision, self.shared
        if decision.chain_index + 1 >= decision.chain_length:
            return False
        following = shared.router.decide(
            self.request,
            shared.fleet.snapshot,
            shared.clock.monotonic(),
            chain_start=decision.chain_index + 1,
        )
        if following.verdict is not Verdict.ROUTE:
            return False
        self._decision = following
        self._position = 0
        return True

    def _begin(self, candidate: Candidate, gates: tuple[Gate, ...]) -> None:
        self._reason = "failover" if self._attempts else self._decision.route_reason
        target = self.shared.target(candidate.view.backend)
        attempt = Attempt(self, candidate, target, gates)
        self._attempt = attempt
        attempt.start()
        self._wake_at = attempt.started_at + LEAST_PATIENCE

    def _may_retry(self) -> bool:
        """Whether the budget has a retry left; without one the request is refused."""
        if self.shared.retries.take(self.shared.clock.monotonic()):
            return True
        self._refuse(refusal.for_attempts(self.request, self._attempts))
        return False

    def _give_up(self) -> None:
        """No candidate is left: say what every attempt ran into."""
        candidates = self._decision.candidates
        if not self._attempts and self.shared.try_degraded and candidates:
            # Every candidate is being probed by somebody else. One try without a reservation beats a refusal.
            self._begin(candidates[0], ())
            return
        if not self._attempts:
            self._refuse(refusal.for_busy_probes(self.request, self._decision))
        elif not self._reconsider():
            self._refuse(refusal.for_attempts(self.request, self._attempts))

    def _reconsider(self) -> bool:
        """Look once more after each failed attempt: somebody may be back, or only be full or throttled."""
        shared = self.shared
        made = len(self._attempts)
        if made > shared.max_retries or self._reconsidered == made:
            return False
        self._reconsidered = made
        decision = shared.router.decide(self.request, shared.fleet.snapshot, shared.clock.monotonic())
        return self._take_up(decision) or self._wait_for(decision)

    def _take_up(self, decision: Decision) -> bool:
        """Go on with those of its candidates that have not failed this request yet; False: there are none."""
        candidates = self.untried(decision)
        if not candidates:
            return False
        self._decision = decision
        if len(candidates) < len(decision.candidates):
            self._decision = replace(decision, candidates=candidates)
        self._position = 0
        self._try_next()
        return True

    def untried(self, decision: Decision) -> tuple[Candidate, ...]:
        """Its candidates that have not failed this request yet."""
        failed = {(each.backend_id, each.model) for each in self._attempts if each.kind is not None}
        return tuple(each for each in decision.candidates if (each.view.backend.id, each.model) not in failed)

    # --- waiting

    def _wait_for(self, decision: Decision) -> bool:
        """Wait where that is all that is missing: a free place, or a short pause."""
        line = get_in_line(self, decision)
        if line is not None:
            self._sleep(line, self.shared.queue.max_wait_seconds)
            return True
        seconds = None if self._paced else short_wait(decision)
        if seconds is None:
            return False
        self._paced = True
        self._sleep(Pause(self, again=True), seconds)
        return True

    def _sleep(self, wait: Wait, seconds: float) -> None:
        self._wait = wait
        self._wake_at = min(self.shared.clock.monotonic() + seconds, self.total_deadline)

    def go_on(self, decision: Decision | None, waited: float) -> None:
        """A wait is over."""
        self._awake(waited)
        if decision is None:
            self._try_next()
        elif not (self._take_up(decision) or self._wait_for(decision)):
            self._refuse_unrouted(decision)

    def give_in(self, decision: Decision, waited: float) -> None:
        """A wait was in vain."""
        self._awake(waited)
        self._refuse_unrouted(decision)

    def _awake(self, waited: float) -> None:
        self._wait = None
        self._wake_at = _FOREVER
        self._upstream_seconds += waited  # it was not the gateway that took so long

    def _refuse_unrouted(self, decision: Decision) -> None:
        shared = self.shared
        if self._attempts:
            self._refuse(refusal.for_attempts(self.request, self._attempts))
        else:
            self._refuse(refusal.for_decision(self.request, decision, shared.queue, shared.recheck_seconds))

    # --- a second attempt beside a slow one

    def _overdue(self) -> None:
        """No first token yet: start the next candidate beside this one, once it is overdue."""
        self._wake_at = _FOREVER
        attempt = self._attempt
        if attempt is None or attempt.committed or self._rival is not None:
            return
        due = attempt.started_at + self.shared.patience(attempt.candidate, self.request)
        if self.shared.clock.monotonic() < due:
            self._wake_at = due
        elif len(self._attempts) < self.shared.max_retries:
            rest = self._decision.candidates[self._position :]
            second = beside(self, attempt, rest)
            if second is not None:
                self._position += 1 + [each is second.candidate for each in rest].index(True)
                self._race_from = attempt.started_at
                self._rival = second
                second.start()

    def _drop_out(self, outcome: AttemptOutcome) -> None:
        """One of the two failed: the other one goes on alone."""
        first = self._attempt
        self._attempts.append(outcome)
        if first is not None and first.candidate.view.backend.id == outcome.backend_id:
            self._attempt, self._reason = self._rival, "hedge"
        self._rival = None

    # --- what attempts report

    def attempt_failed(self, outcome: AttemptOutcome) -> None:
        """An attempt ended before anything was sent: the next candidate's turn."""
        if self._rival is not None:
            self._drop_out(outcome)
            return
        self._note(outcome)
        if not outcome.status:
            self._prefer_connected()
        delay = self.shared.retries.delay(len(self._attempts) - 1)
        if outcome.ended_at >= self.total_deadline:
            self._refuse(refusal.for_attempts(self.request, self._attempts))
        elif delay and len(self._attempts) <= self.shared.max_retries:
            self._sleep(Pause(self, again=False), delay)
        else:
            self._try_next()

    def _prefer_connected(self) -> None:
        """Nobody answered: of those that are as good as the next one, go on with one that keeps a connection.

        Where several servers go down together, this is what tells the others apart at once.
        """
        shared, candidates = self.shared, self._decision.candidates
        rest = candidates[self._position :]
        for each in rest:
            if not _is_as_good(each, rest[0]):
                return
            if shared.pool.is_connected(shared.target(each.view.backend).origin):
                others = tuple(other for other in rest if other is not each)
                made = (*candidates[: self._position], each, *others)
                self._decision = replace(self._decision, candidates=made)
                return

    # --- what the client's side and the clock report (Upflow)

    def client_gone(self) -> None:
        """The client left before its answer was complete."""
        for attempt in (self._attempt, self._rival):
            if attempt is not None:
                self._attempts.append(attempt.cancel())
        if self._wait is not None:
            self._wait.abandon()
            self._wait = None
        self._finish(_CLIENT_CLOSED, RequestResult.CANCELLED, None)

    def expire(self) -> None:
        """What was due at `deadline` is due: a wait is over, or an attempt has taken too long."""
        now = self.shared.clock.monotonic()
        if self._wake_at <= now:
            if self._wait is None:
                self._overdue()
            else:
                self._wait.over()
        for attempt in (self._attempt, self._rival):
            if attempt is not None and attempt.deadline <= now:
                if attempt.held:
                    # It was the client that took so long, so nothing is held against the backend.
                    self._downstream.abort()
                    self.client_gone()
                else:
                    attempt.expire()
                return

    # --- answering and ending

    def _note(self, outcome: AttemptOutcome) -> None:
        attempt = self._attempt
        if attempt is not None:
            self._upstream_seconds += outcome.ended_at - self._waited_since(attempt)
            note_billing(outcome, attempt.target.backend)
        self._attempts.append(outcome)
        self._attempt = None
        self._race_from = 0.0
        self._wake_at = _FOREVER


def _is_as_good(one: Candidate, other: Candidate) -> bool:
    """Whether nothing but a score puts one before the other."""
    return (
        one.model == other.model
        and one.view.backend.priority == other.view.backend.priority
        and one.degraded == other.degraded
        and one.probe == other.probe
    )

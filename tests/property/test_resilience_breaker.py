"""The circuit breaker against a simple model, under any order of calls."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexus.resilience import CircuitBreaker, CircuitBreakerConfig
from nexus.testing import ManualClock


class Model:
    """The rules in the plainest words: one list of calls under way, each with the period it began in."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.state = "closed"
        self.period = 0
        self.failures = 0
        self.successes = 0
        self.testing = 0
        self.reopened = 0
        self.until = 0.0

    def go(self, state: str) -> None:
        self.state = state
        self.period += 1
        self.failures = self.successes = self.testing = 0

    def open(self, now: float) -> None:
        self.reopened = self.reopened + 1 if self.state == "half_open" else 0
        first = self.config.first_timeout_seconds
        limit = self.config.timeout_seconds
        wait = limit if first is None else min(limit, first * self.config.backoff_factor**self.reopened)
        self.until = now + wait
        self.go("open")

    def look(self, now: float) -> str:
        if self.state == "open" and now >= self.until:
            self.go("half_open")
        return self.state

    def permits(self, now: float) -> bool:
        state = self.look(now)
        return state == "closed" or (state == "half_open" and self.testing < self.config.max_half_open)

    def end(self, period: int | None, verdict: str, now: float) -> None:
        if self.state == "open" or (period is not None and period != self.period):
            return
        if self.state == "half_open":
            if not self.testing:
                return
            self.testing -= 1
        if verdict == "success":
            self.failures = 0
            self.successes += 1
            if self.state == "half_open" and self.successes >= self.config.success_threshold:
                self.go("closed")
        elif verdict == "failure":
            self.failures += 1
            if self.state == "half_open" or self.failures >= self.config.failure_threshold:
                self.open(now)


class BreakerMachine(RuleBasedStateMachine):
    @initialize(
        failures=st.integers(1, 4),
        successes=st.integers(1, 3),
        places=st.integers(1, 3),
        first=st.sampled_from([None, 1.0, 4.0]),
    )
    def start(self, failures: int, successes: int, places: int, first: float | None) -> None:
        config = CircuitBreakerConfig(
            failure_threshold=failures,
            success_threshold=successes,
            timeout_seconds=8.0,
            first_timeout_seconds=first,
            jitter=0.0,
            max_half_open=places,
        )
        self.clock = ManualClock()
        self.breaker = CircuitBreaker(config, name="b", clock=self.clock, rng=random.Random(0))
        self.model = Model(config)
        self.heard: list[tuple[str, str]] = [("", "closed")]
        self.breaker.add_listener(lambda _, old, new: self.heard.append((old.value, new.value)))
        self.calls: list[tuple[int, int]] = []

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def ask(self) -> None:
        assert self.breaker.permits() == self.model.permits(self.clock.monotonic())

    @rule()
    def begin(self) -> None:
        permitted = self.model.permits(self.clock.monotonic())
        ticket = self.breaker.reserve()
        assert (ticket is not None) == permitted
        if ticket is not None:
            self.model.testing += self.model.state == "half_open"
            self.calls.append((ticket, self.model.period))

    @precondition(lambda self: self.calls)
    @rule(verdict=st.sampled_from(["success", "failure", "release"]), data=st.data())
    def end(self, verdict: str, data: st.DataObject) -> None:
        ticket, period = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self._report(verdict, ticket)
        self.model.end(period, verdict, self.clock.monotonic())

    @rule(verdict=st.sampled_from(["success", "failure", "release"]))
    def report_without_ticket(self, verdict: str) -> None:
        self._report(verdict, None)
        self.model.end(None, verdict, self.clock.monotonic())

    @rule()
    def trip(self) -> None:
        self.breaker.trip()
        if self.model.state != "open":
            self.model.open(self.clock.monotonic())

    @rule()
    def outage(self) -> None:
        """Open and wait, with whatever calls are under way: the way to late results."""
        self.trip()
        self.clock.advance(8.0)
        self.begin()

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        if self.model.state == "closed":
            self.model.failures = 0
        else:
            self.model.go("closed")

    @invariant()
    def agree(self) -> None:
        now = self.clock.monotonic()
        assert self.breaker.retry_after() == self._expected_wait(now)
        assert self.breaker.is_closed == (self.model.state == "closed")
        assert all(before[1] == after[0] for before, after in zip(self.heard, self.heard[1:], strict=False))
        assert self.heard[-1][1] == self.model.state

    @rule()
    def look(self) -> None:
        assert self.breaker.state == self.model.look(self.clock.monotonic())

    def _expected_wait(self, now: float) -> float:
        if self.model.state == "open":
            return max(0.0, self.model.until - now)
        full = self.model.testing >= self.model.config.max_half_open
        return 1.0 if self.model.state == "half_open" and full else 0.0

    def _report(self, verdict: str, ticket: int | None) -> None:
        {
            "success": self.breaker.record_success,
            "failure": self.breaker.record_failure,
            "release": self.breaker.release,
        }[verdict](ticket)


TestBreakerAgainstModel = BreakerMachine.TestCase
TestBreakerAgainstModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

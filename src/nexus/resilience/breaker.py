"""A circuit breaker: stops calling what keeps failing, and finds out by single calls when it works again.

closed ── `failure_threshold` failures in a row ──▶ open ── its wait is over ──▶ half-open
half-open ── `success_threshold` successes ──▶ closed; half-open ── one failure ──▶ open, for longer

No timer runs: whoever reads `state`, `permits()` or `allow()` after the wait makes the step to half-open.
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from nexus.core.clock import Clock, SystemClock
from nexus.core.errors import NexusError
from nexus.resilience.breaker_config import BreakerState, CircuitBreakerConfig
from nexus.resilience.callables import guarded

P = ParamSpec("P")
T = TypeVar("T")

# How long a caller is told to wait when every half-open call is taken: nobody knows when one will end.
_PROBE_WAIT_SECONDS: Final = 1.0


Listener = Callable[[str, BreakerState, BreakerState], object]


class CircuitOpenError(NexusError):
    """The breaker let the call not through. `name` is the breaker's, `retry_after` is in seconds."""

    def __init__(self, name: str, state: BreakerState, retry_after: float) -> None:
        super().__init__(f"circuit {name!r} is {state}: the call was not made; retry in {retry_after:.1f} s")
        self.name = name
        self.retry_after = retry_after


class CircuitBreaker:
    """Guards calls to one thing that may fail. Safe to share between threads and tasks.

    Use it as a decorator (`@breaker`, sync and async functions), as a context manager (`with` and
    `async with`), or bare: `allow()`, then exactly one of `record_success()`, `record_failure()` and
    `release()`. The first two forms count every `Exception` as a failure and anything else (cancellation,
    interrupts) not at all: the call is given back without a verdict. Nothing is swallowed.

    **Late results.** A call that was let through before the breaker changed its state says nothing about the
    state after. While open, no result changes anything. In half-open a result counts only against a call that
    half-open let through. To tell the two apart while both run, `reserve()` gives a ticket to pass to
    `record_*` and `release`; a ticket from before the last change is ignored. The decorator and the context
    managers do this. Without tickets, a late result in half-open may be taken for that of the call in flight,
    but never are more results counted than calls were let through. In closed state, results need neither
    ticket nor reservation.

    A reserved half-open call keeps its place until it is reported: losing one keeps the breaker half-open.

    `is_closed` is a plain attribute, for the path where every nanosecond counts. `rng` spreads growing waits.
    """

    __slots__ = (
        "_clock",
        "_events",
        "_failures",
        "_generation",
        "_in_flight",
        "_listeners",
        "_lock",
        "_notifying",
        "_open_until",
        "_reopened",
        "_rng",
        "_state",
        "_successes",
        "config",
        "is_closed",
        "name",
    )

    def __init__(
        self,
        config: CircuitBreakerConfig | None = None,
        *,
        name: str = "circuit",
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config or CircuitBreakerConfig()
        self.name = name
        self.is_closed = True
        self._clock: Clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._lock = threading.Lock()
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._failures = 0
        self._successes = 0
        self._in_flight = 0
        self._reopened = 0
        self._open_until = 0.0
        self._listeners: tuple[Listener, ...] = ()
        self._events: deque[tuple[BreakerState, BreakerState]] = deque()
        self._notifying = threading.Lock()

    @property
    def state(self) -> BreakerState:
        """The state now: `closed`, `open` or `half_open`."""
        if not self.is_closed:
            self._end_wait()
        return self._state

    def permits(self) -> bool:
        """Whether a call would be let through now; reserves nothing."""
        if self.is_closed:
            return True
        state = self.state
        return state is BreakerState.CLOSED or (
            state is BreakerState.HALF_OPEN and self._in_flight < self.config.max_half_open
        )

    def allow(self) -> bool:
        """Reserve a call. True must be followed by exactly one `record_*` or `release`."""
        return self.is_closed or self.reserve() is not None

    def reserve(self) -> int | None:
        """Like `allow`, but a call let through gives a ticket for `record_*` and `release`; refused: None."""
        generation = self._generation  # read before `is_closed`: then it can be too old, but never too new
        if self.is_closed:
            return generation
        self._end_wait()
        with self._lock:
            if self._state is BreakerState.HALF_OPEN:
                if self._in_flight >= self.config.max_half_open:
                    return None
                self._in_flight += 1
            elif self._state is BreakerState.OPEN:
                return None
            return self._generation

    def release(self, ticket: int | None = None) -> None:
        """Give a reserved call back without a verdict (it was cancelled or never made)."""
        if self.is_closed:
            return
        with self._lock:
            self._take_back(ticket)

    def record_success(self, ticket: int | None = None) -> None:
        """The call worked. Closed: the count of failures starts anew."""
        if self.is_closed and not self._failures:
            return
        with self._lock:
            if self._state is BreakerState.CLOSED:
                if ticket is None or ticket == self._generation:
                    self._failures = 0
            elif self._take_back(ticket):
                self._successes += 1
                if self._successes >= self.config.success_threshold:
                    self._close()
        self._notify()

    def record_failure(self, ticket: int | None = None) -> None:
        """The call failed. Closed: one more in a row; half-open: open again, for longer."""
        with self._lock:
            if self._state is BreakerState.CLOSED:
                if ticket is None or ticket == self._generation:
                    self._failures += 1
                    if self._failures >= self.config.failure_threshold:
                        self._open()
            elif self._take_back(ticket):
                self._open()
        self._notify()

    def trip(self) -> None:
        """Open at once, whatever was counted. Half-open counts as a failed recovery; open stays as it is."""
        with self._lock:
            if self._state is not BreakerState.OPEN:
                self._open()
        self._notify()

    def end_wait(self) -> None:
        """Open becomes half-open now, because something says that it is worth a try; else nothing happens."""
        with self._lock:
            if self._state is BreakerState.OPEN:
                self._open_until = self._clock.monotonic()
        self._end_wait()

    def adopt(self, state: BreakerState, wait: float = 0.0) -> None:
        """Go to the state that this breaker has reached in another process; open for `wait` seconds."""
        if state is BreakerState.HALF_OPEN:
            self.end_wait()
            return
        with self._lock:
            if state is BreakerState.OPEN:
                self._reopened = 0 if self._state is BreakerState.CLOSED else self._reopened + 1
                self._open_until = self._clock.monotonic() + wait
            if self._state is not state:
                if state is BreakerState.CLOSED:
                    self._failures = 0
                self._move(state)
        self._notify()

    def reset(self) -> None:
        """Close at once and forget every count."""
        with self._lock:
            if self._state is BreakerState.CLOSED:
                self._failures = 0
            else:
                self._close()
        self._notify()

    def retry_after(self) -> float:
        """Seconds until a call may be let through; 0 when one may now.

        With every half-open call taken nobody can know: the answer then is one second.
        """
        with self._lock:
            if self._state is BreakerState.OPEN:
                return max(0.0, self._open_until - self._clock.monotonic())
            taken = self._state is BreakerState.HALF_OPEN and self._in_flight >= self.config.max_half_open
            return _PROBE_WAIT_SECONDS if taken else 0.0

    def add_listener(self, listener: Listener) -> None:
        """Call `listener(name, old, new)` at each change of state, in order and outside the lock.

        A listener that raises is logged (logger `nexus.resilience.breaker`) and changes nothing.
        """
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Guard every call of `function`; refused ones raise `CircuitOpenError`.

        Raises TypeError for generator functions.
        """
        return guarded(self, function)

    def __enter__(self) -> Self:
        ticket = self.reserve()
        if ticket is None:
            raise CircuitOpenError(self.name, self._state, self.retry_after())
        _entered.set((*_entered.get(), (self, ticket)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ticket = _leave(self)
        if kind is None:
            self.record_success(ticket)
        elif issubclass(kind, Exception):
            self.record_failure(ticket)
        else:
            self.release(ticket)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"CircuitBreaker(name={self.name!r}, state={self._state.value!r})"

    def _end_wait(self) -> None:
        """Open becomes half-open when its wait is over."""
        if self._wait_is_over():
            with self._lock:
                # Another thread may have gone on, and even opened again, since the look without the lock.
                if self._wait_is_over():
                    self._successes = self._in_flight = 0
                    self._move(BreakerState.HALF_OPEN)
            self._notify()

    def _wait_is_over(self) -> bool:
        return self._state is BreakerState.OPEN and self._clock.monotonic() >= self._open_until

    def _take_back(self, ticket: int | None) -> bool:
        """End one half-open call; False where the report belongs to none. Holds the lock."""
        if self._state is not BreakerState.HALF_OPEN or not self._in_flight:
            return False
        if ticket is not None and ticket != self._generation:
            return False
        self._in_flight -= 1
        return True

    def _open(self) -> None:
        self._reopened = self._reopened + 1 if self._state is BreakerState.HALF_OPEN else 0
        self._open_until = self._clock.monotonic() + self.config.wait(self._reopened, self._rng)
        self._move(BreakerState.OPEN)

    def _close(self) -> None:
        self._failures = 0
        self._move(BreakerState.CLOSED)

    def _move(self, new: BreakerState) -> None:
        self._events.append((self._state, new))
        self._state = new
        self._generation += 1
        self.is_closed = new is BreakerState.CLOSED

    def _notify(self) -> None:
        """Tell the listeners of every change, in the order they happened.

        One thread tells at a time; a change made meanwhile (or by a listener) is told by that thread, so that
        nobody waits here.
        """
        while self._events and self._notifying.acquire(blocking=False):
            try:
                while self._events:
                    old, new = self._events.popleft()
                    for listener in self._listeners:
                        self._tell(listener, old, new)
            finally:
                self._notifying.release()

    def _tell(self, listener: Listener, old: BreakerState, new: BreakerState) -> None:
        try:
            listener(self.name, old, new)
        except Exception:
            # Whatever an observer does wrong must not keep the breaker from doing its work.
            logging.getLogger(__name__).exception("a listener of circuit %r failed", self.name)


# The breakers that the running task (or thread) is inside of, innermost last, each with its ticket.
_entered: Final[ContextVar[tuple[tuple[CircuitBreaker, int], ...]]] = ContextVar(
    "nexus_entered_breakers", default=()
)


def _leave(breaker: CircuitBreaker) -> int | None:
    """Take off the breaker's innermost ticket; None where the block was entered in another context."""
    entered = _entered.get()
    for index in range(len(entered) - 1, -1, -1):
        if entered[index][0] is breaker:
            _entered.set(entered[:index] + entered[index + 1 :])
            return entered[index][1]
    return None

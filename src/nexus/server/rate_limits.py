"""Rate limits of the inference paths: a bucket per key, per address, or one for all.

It stands before the handlers of the inference paths, and only while it is switched on: without it a request
pays nothing.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from nexus.core.clock import Clock
from nexus.server.edge import ClientConnection, EdgeContext, Incoming

_MAX_BUCKETS = 10_000
_MAX_WAITING = 1_000


class RateLimitSettings(Protocol):
    """`[rate_limit]`, as the configuration has it."""

    @property
    def per_second(self) -> float:
        """Requests per second in the long run."""
        ...

    @property
    def burst(self) -> int:
        """Requests that may come at once."""
        ...

    @property
    def scope(self) -> str:
        """`key`, `ip` or `global`."""
        ...

    @property
    def max_wait_seconds(self) -> float:
        """Longest wait before a 429."""
        ...


class Grant(Struct, frozen=True, gc=False):
    """What a bucket answers.

    `wait` is in seconds; `granted`: the request may go on after it. `remaining` requests could come at once
    now, and after `reset` seconds without any the bucket is full.
    """

    granted: bool
    wait: float
    remaining: int
    reset: float


class Buckets:
    """Token buckets by name, each kept as one number: when it would be full (GCRA, ITU-T I.371).

    Full buckets need not be kept. Of more than `max_buckets` that are not full the one that was used least
    recently goes, so a client who makes names up can't fill the memory.
    """

    def __init__(self, settings: RateLimitSettings, max_buckets: int = _MAX_BUCKETS) -> None:
        self.settings = settings
        self._max_buckets = max_buckets
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: str, now: float) -> Grant:
        """One request; it is counted where it is granted, also when it has to wait."""
        settings = self.settings
        interval = 1.0 / settings.per_second
        depth = interval * settings.burst
        full_at = max(now, self._full_at.pop(name, now))
        wait = max(0.0, full_at + interval - depth - now)
        granted = wait <= settings.max_wait_seconds
        if granted:
            full_at += interval
        if full_at > now:
            self._full_at[name] = full_at
            self._make_room(now)
        remaining = max(0, math.floor((depth - (full_at - now)) / interval + 1e-9))
        return Grant(granted, wait, remaining, full_at - now)

    def give_back(self, name: str) -> None:
        """A request that was granted was not made after all."""
        if name in self._full_at:
            self._full_at[name] -= 1.0 / self.settings.per_second

    def hear(self, name: str, requests: int, now: float) -> None:
        """Count requests that another process has granted; below zero: that it has given back."""
        full_at = max(now, self._full_at.pop(name, now)) + requests / self.settings.per_second
        if full_at > now:
            self._full_at[name] = full_at
            self._make_room(now)

    def filling(self, now: float) -> dict[str, float]:
        """Seconds until each bucket is full, for those that are not."""
        return {name: full_at - now for name, full_at in self._full_at.items() if full_at > now}

    def _make_room(self, now: float) -> None:
        """Drop from the front, where the least recently used are: all that are full, and one too many."""
        buckets = self._full_at
        while buckets:
            name = next(iter(buckets))
            if buckets[name] > now and len(buckets) <= self._max_buckets:
                return
            del buckets[name]


class Handle(Protocol):
    """A timer."""

    def cancel(self) -> None:
        """Don't fire."""
        ...


InferenceHandler = Callable[[EdgeContext, ClientConnection, Incoming, str], None]
Timer = Callable[[float, Callable[[], None]], Handle]


class RateLimiting:
    """Lets requests through to their handlers at the rate that is allowed.

    Args:
        settings: rate, burst, scope and longest wait.
        clock: measures the rate.
        call_later: calls something back after some seconds; the event loop's.
        buckets: counts the requests; None: buckets of its own.
    """

    def __init__(
        self, settings: RateLimitSettings, clock: Clock, call_later: Timer, buckets: Buckets | None = None
    ) -> None:
        self.buckets = buckets if buckets is not None else Buckets(settings)
        self.waiting = 0
        self._clock = clock
        self._call_later = call_later

    def guard(self, handler: InferenceHandler) -> Callable[[EdgeContext, ClientConnection, Incoming], None]:
        """The handler with the limit before it."""

        def handle(context: EdgeContext, connection: ClientConnection, incoming: Incoming) -> None:
            self._admit(handler, context, connection, incoming)

        return handle

    def _admit(
        self,
        handler: InferenceHandler,
        context: EdgeContext,
        connection: ClientConnection,
        incoming: Incoming,
    ) -> None:
        settings = self.buckets.settings
        name = bucket_name(settings.scope, context, connection, incoming)
        grant = self.buckets.take(name, self._clock.monotonic())
        lines = header_lines(settings, grant)
        if grant.granted and grant.wait and (self.waiting >= _MAX_WAITING or context.draining):
            self.buckets.give_back(name)
        elif grant.granted:
            if grant.wait:
                _Held(self, name, lambda: handler(context, connection, incoming, lines)).hold(
                    connection, incoming, grant.wait
                )
            else:
                handler(context, connection, incoming, lines)
            return
        message = (
            f"Rate limit exceeded: {settings.per_second:g} requests per second and {settings.burst} at once "
            f"(rate_limit, by {settings.scope}). Try again in {grant.wait:.1f} s."
        )
        context.refuse(
            connection,
            429,
            "rate_limit_exceeded",
            message,
            "rate_limit_error",
            retry_after=grant.wait,
            extra=lines,
        )

    def later(self, seconds: float, action: Callable[[], None]) -> Handle:
        """Start a timer."""
        return self._call_later(seconds, action)

    def now(self) -> float:
        """The time, monotonic."""
        return self._clock.monotonic()


class _Held:
    """A request that waits for its turn. Also the connection's `Upflow`, so that it ends with its client."""

    def __init__(self, limiting: RateLimiting, name: str, go_on: Callable[[], None]) -> None:
        self._limiting = limiting
        self._name = name
        self._go_on = go_on

    def hold(self, connection: ClientConnection, incoming: Incoming, seconds: float) -> None:
        """Go on after this many seconds."""
        self._incoming = incoming
        self._limiting.waiting += 1
        self._timer = self._limiting.later(seconds, self._release)
        connection.serve_with(self)

    def _release(self) -> None:
        self._limiting.waiting -= 1
        # What it waited here is neither the gateway's work nor its backends'.
        self._incoming.received_at = self._limiting.now()
        self._go_on()

    def pause(self) -> None:
        """Nothing is being written."""

    def resume(self) -> None:
        """Nothing was paused."""

    def client_gone(self) -> None:
        """Its turn goes to somebody else."""
        self._limiting.waiting -= 1
        self._timer.cancel()
        self._limiting.buckets.give_back(self._name)


def bucket_name(scope: str, context: EdgeContext, connection: ClientConnection, incoming: Incoming) -> str:
    """Whose requests these are counted with.

    By key only where the gateway checks keys: otherwise a client could have as many as it can make up, so its
    address counts.
    """
    if scope == "global":
        return "*"
    if scope == "key" and context.asks_for_key:
        key = incoming.head.header(b"authorization") or incoming.head.header(b"x-api-key") or b""
        return hashlib.sha256(key.rpartition(b" ")[2]).hexdigest()
    return connection.client


def header_lines(settings: RateLimitSettings, grant: Grant) -> str:
    """What every answer says of the limit; the reset is in seconds."""
    return (
        f"x-ratelimit-limit-requests: {settings.burst}\r\n"
        f"x-ratelimit-remaining-requests: {grant.remaining}\r\n"
        f"x-ratelimit-reset-requests: {grant.reset:.3f}\r\n"
    )

"""Call again after a failure, with growing waits.

A loop of our own: packages such as tenacity and stamina take their waits from the real clock, so virtual time
would need a sleep hook, a stop rule and a wait rule of ours on top, which is more code than the loop itself.
"""

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, Self, TypeVar, cast

from nexus.core.clock import Clock, SystemClock
from nexus.resilience.callables import is_async
from nexus.resilience.environment import is_positive, read_int, read_seconds

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How often to call again, and how long to wait before each time.

    `max_retries` counts the calls after the first one. The wait before retry n (from 0) is `initial_delay` *
    `backoff_factor` ** n seconds, at most `max_delay`; with `jitter` it is a random share between a half and
    all of that. Only `exceptions` are worth another call.

    Raises ValueError for a value that makes no sense.
    """

    max_retries: int = 3
    initial_delay: float = 1.0
    max_delay: float = 60.0
    backoff_factor: float = 2.0
    jitter: bool = True
    exceptions: tuple[type[BaseException], ...] = (Exception,)

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise ValueError(f"max_retries must be a whole number of at least 0, got {self.max_retries!r}")
        for name in ("initial_delay", "max_delay"):
            if not is_positive(getattr(self, name), zero=True):
                raise ValueError(f"{name} must be a number of at least 0, got {getattr(self, name)!r}")
        if not 1 <= self.backoff_factor < float("inf"):
            raise ValueError(f"backoff_factor must be at least 1, got {self.backoff_factor!r}")

    @classmethod
    def from_env(cls, *, environ: Mapping[str, str] | None = None) -> Self:
        """Read `MAX_RETRIES`, `INITIAL_RETRY_DELAY` and `MAX_RETRY_DELAY` (seconds); the rest are defaults.

        Raises ValueError, naming the variable, for a bad value.
        """
        return cls(
            max_retries=read_int("MAX_RETRIES", 3, minimum=0, environ=environ),
            initial_delay=read_seconds("INITIAL_RETRY_DELAY", 1.0, zero=True, environ=environ),
            max_delay=read_seconds("MAX_RETRY_DELAY", 60.0, zero=True, environ=environ),
        )

    def wait(self, retry: int, error: BaseException, rng: random.Random) -> float:
        """Seconds to wait before retry number `retry` (from 0).

        An `error.retry_after` in seconds makes it at least that long, but never longer than `max_delay`.
        """
        wait = self.initial_delay
        for _ in range(retry):
            wait *= self.backoff_factor
            if wait >= self.max_delay:
                break
        wait = min(wait, self.max_delay)
        if self.jitter:
            wait *= rng.uniform(0.5, 1.0)
        asked = getattr(error, "retry_after", None)
        if isinstance(asked, int | float) and asked > wait:
            wait = min(asked, self.max_delay)
        return wait


def retry_with_backoff(  # noqa: PLR0917 - the six numbers are one row of settings, mostly given by name
    max_retries: int = 3,
    initial_delay: float = 1.0,
    max_delay: float = 60.0,
    backoff_factor: float = 2.0,
    jitter: bool = True,
    exceptions: type[BaseException] | tuple[type[BaseException], ...] = (Exception,),
    *,
    config: RetryConfig | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a sync or async function so that a failed call is made again.

    See `RetryConfig` for the numbers; `config` stands in for all of them. Exceptions of other types propagate
    at once. When the retries are used up, the last error is raised as it is. `rng` makes jitter repeatable.

    Raises ValueError for numbers that make no sense, TypeError for generator functions.
    """
    if callable(max_retries):
        raise TypeError("write @retry_with_backoff() with parentheses")
    kinds = exceptions if isinstance(exceptions, tuple) else (exceptions,)
    plan = config or RetryConfig(max_retries, initial_delay, max_delay, backoff_factor, jitter, kinds)
    used_clock: Clock = clock or SystemClock()
    used_rng = rng or random.Random()

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if is_async(function):
            return cast("Callable[P, T]", _retrying_async(function, plan, used_clock, used_rng))
        return _retrying(function, plan, used_clock, used_rng)

    return decorate


def _retrying(
    function: Callable[P, T], plan: RetryConfig, clock: Clock, rng: random.Random
) -> Callable[P, T]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for retry in range(plan.max_retries):
            try:
                return function(*args, **kwargs)
            except plan.exceptions as error:
                wait = plan.wait(retry, error, rng)
            clock.sleep(wait)
        return function(*args, **kwargs)

    return call


def _retrying_async(
    function: Callable[P, Any], plan: RetryConfig, clock: Clock, rng: random.Random
) -> Callable[P, Any]:
    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        for retry in range(plan.max_retries):
            try:
                return await function(*args, **kwargs)
            except plan.exceptions as error:
                wait = plan.wait(retry, error, rng)
            await clock.sleep_async(wait)
        return await function(*args, **kwargs)

    return call

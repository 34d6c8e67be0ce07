"""A limit on how long a call may take.

What Python can cancel: a coroutine, at its next `await`. What it cannot: a thread. See `with_timeout`.
"""

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from nexus.core.clock import Clock
from nexus.core.errors import NexusError
from nexus.resilience.callables import is_async, name_of
from nexus.resilience.environment import is_positive

P = ParamSpec("P")
T = TypeVar("T")


class TimeoutExceededError(NexusError, TimeoutError):
    """The call took longer than its limit, which `seconds` holds."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} did not finish within {seconds:g} s")
        self.seconds = seconds


class TimeLimit:
    """What `with_timeout` gives: a decorator and an async context manager."""

    __slots__ = ("_clock", "_open", "seconds")

    def __init__(self, seconds: float, clock: Clock | None) -> None:
        if not is_positive(seconds):
            raise ValueError(f"seconds must be a number above 0, got {seconds!r}")
        self.seconds = seconds
        self._clock = clock
        self._open: AbstractAsyncContextManager[None] | None = None

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Limit every call of `function`. Raises TypeError for generator functions."""
        if is_async(function):
            run = cast("Callable[P, Any]", function)

            @functools.wraps(function)
            async def limited_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with self._scope(name_of(function)):
                    return await run(*args, **kwargs)

            return cast("Callable[P, T]", limited_async)

        @functools.wraps(function)
        def limited(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._run_in_thread(functools.partial(function, *args, **kwargs), name_of(function))

        return limited

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError("this time limit is in use: call with_timeout() for each `async with`")
        self._open = self._scope("the block")
        await self._open.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope, self._open = self._open, None
        if scope is not None:
            await scope.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _scope(self, what: str) -> AsyncIterator[None]:
        limit = asyncio.timeout(self.seconds if self._clock is None else None)
        timer = None
        try:
            async with limit:
                if self._clock is not None:
                    timer = asyncio.create_task(_expire(limit, self._clock, self.seconds))
                yield
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutExceededError(what, self.seconds) from error
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _run_in_thread(self, call: Callable[[], T], what: str) -> T:
        done: Future[T] = Future()

        def run() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
                done.set_exception(error)
            else:
                done.set_result(result)

        # A daemon, so that a call that never ends cannot keep the program from ending.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run,), name=f"timeout:{what}", daemon=True).start()
        try:
            return done.result(self.seconds)
        except TimeoutError as error:
            if not done.done():
                raise TimeoutExceededError(what, self.seconds) from error
        # It ended in the very last moment, or with a TimeoutError of its own.
        return done.result()


async def _expire(limit: asyncio.Timeout, clock: Clock, seconds: float) -> None:
    await clock.sleep_async(seconds)
    limit.reschedule(asyncio.get_running_loop().time())


def with_timeout(seconds: float, *, clock: Clock | None = None) -> TimeLimit:
    """A limit of `seconds`, as a decorator for functions or for one `async with` block.

    Who takes longer gets `TimeoutExceededError`, which is a `TimeoutError`. One that the call itself raises
    passes through.

    An async function is cancelled at its next `await` and may clean up; the error is raised when it has. Code
    that never awaits, or swallows the cancellation, is not interrupted.

    A sync function runs in a thread of its own, with a copy of the caller's context variables. When its time
    is up the caller gets the error, but Python cannot stop the thread: it runs on in the background and its
    result is dropped. Prefer a time limit of the library that does the waiting (a socket, a database), and do
    not use this where a late side effect would hurt. It blocks its caller: do not call it in an event loop.

    `clock` is for tests of async code; sync functions always wait in real time.

    Raises ValueError unless `seconds` is above 0.
    """
    if callable(seconds):
        raise TypeError("write @with_timeout(seconds) with parentheses")
    return TimeLimit(seconds, clock)

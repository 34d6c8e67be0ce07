"""What the decorators of this package have in common."""

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class Guard(AbstractContextManager[Any], AbstractAsyncContextManager[Any], Protocol):
    """What is entered before a call and left after it, whichever way it ends."""


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives a coroutine; objects with an async `__call__` count.

    Raises TypeError for generator functions: calling one runs nothing yet, so there is nothing to guard.
    """
    call = type(function).__call__ if not inspect.isroutine(function) else function
    for candidate in (function, call):
        if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(
                f"{name_of(function)} is a generator function: decorate the function that consumes it"
            )
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def name_of(function: Callable[..., Any]) -> str:
    """A name for messages."""
    return str(getattr(function, "__qualname__", None) or repr(function))


def guarded(guard: Guard, function: Callable[P, T]) -> Callable[P, T]:
    """`function`, every call of which is made within `guard`. Raises TypeError for generator functions."""
    if is_async(function):
        run = cast("Callable[P, Any]", function)

        @functools.wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with guard:
                return await run(*args, **kwargs)

        return cast("Callable[P, T]", call_async)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with guard:
            return function(*args, **kwargs)

    return call

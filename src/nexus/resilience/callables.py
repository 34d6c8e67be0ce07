"""What the decorators of this package ask about the function they wrap."""

import inspect
from collections.abc import Callable
from typing import Any


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

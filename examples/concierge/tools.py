"""What the concierge can work out by itself. A small model calls no tools reliably, so words decide."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from nexus.resilience import StructuredLogger, TimeoutExceededError, with_timeout

_SPLIT = re.compile(
    r"split\s+(?:a bill of )?(\d{1,7}(?:\.\d{1,2})?).{0,40}?(\d{1,3})\s+(?:people|guests|ways)", re.IGNORECASE
)
_FAHRENHEIT = re.compile(r"(-?\d{1,4}(?:\.\d+)?)\s*(?:°|degrees?)?\s*f(?:ahrenheit)?\b", re.IGNORECASE)
_TIME = re.compile(r"\bwhat time is it\b|\bcurrent time\b|\btoday'?s date\b", re.IGNORECASE)


@dataclass(frozen=True)
class ToolResult:
    """What a tool found out, as a sentence."""

    tool: str
    text: str


def local_time(message: str) -> str | None:
    """The time, where somebody asks for it."""
    return (
        f"It is {datetime.now(UTC):%H:%M} UTC on {datetime.now(UTC):%A, %d %B %Y}."
        if _TIME.search(message)
        else None
    )


def split_bill(message: str) -> str | None:
    """Each one's share of a bill."""
    found = _SPLIT.search(message)
    if found is None or int(found[2]) == 0:
        return None
    total, people = float(found[1]), int(found[2])
    return f"{total:.2f} split between {people} is {total / people:.2f} each."


def to_celsius(message: str) -> str | None:
    """A temperature that guests from elsewhere name."""
    found = _FAHRENHEIT.search(message)
    if found is None:
        return None
    fahrenheit = float(found[1])
    return f"{fahrenheit:g} degrees Fahrenheit are {(fahrenheit - 32) * 5 / 9:.1f} degrees Celsius."


TOOLS: tuple[Callable[[str], str | None], ...] = (local_time, split_bill, to_celsius)


def run_tools(message: str, seconds: float, log: StructuredLogger) -> list[ToolResult]:
    """The answers of every tool that the message is for. One that takes too long is left out, and logged."""
    results = []
    for tool in TOOLS:
        began = perf_counter()
        try:
            text = with_timeout(seconds)(tool)(message)
        except TimeoutExceededError as error:
            log.tool_call(tool.__name__, ok=False, ms=(perf_counter() - began) * 1000)
            log.warning("a tool took too long", error=error)
            continue
        if text is not None:
            log.tool_call(tool.__name__, ok=True, ms=(perf_counter() - began) * 1000)
            results.append(ToolResult(tool.__name__, text))
    return results

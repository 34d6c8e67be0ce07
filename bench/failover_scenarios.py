"""What goes wrong on real sockets, where and when: six of the simulation's scenarios in seconds."""

from enum import StrEnum

from msgspec import Struct

BACKENDS = 6


class Harm(StrEnum):
    """What a backend does from now on."""

    NONE = "none"
    """It answers."""
    DOWN = "down"
    """Its port is closed, and what was in flight is reset."""
    GRAY = "gray"
    """One stream in five ends without a token, with status 200."""
    ERROR = "error"
    """Status 500 at once."""
    HANG = "hang"
    """It accepts requests and says nothing."""
    THROTTLE = "throttle"
    """Status 429 above one request per second, with `Retry-After: 2`."""


class Change(Struct, frozen=True):
    """From `at` seconds on these backends do this."""

    at: float
    harm: Harm
    backends: tuple[int, ...]


class Scenario(Struct, frozen=True):
    """What changes when. `focus` are the backends whose return is timed, from `fault_end` on.

    `avoidable`: every request that gets no answer could have had one from a healthy backend, unless it had
    its first token already.
    """

    name: str
    title: str
    seconds: float
    changes: tuple[Change, ...]
    focus: tuple[int, ...] = ()
    fault_end: float = 0.0
    avoidable: bool = False


def _for_a_while(harm: Harm, backends: tuple[int, ...], start: float, end: float) -> tuple[Change, ...]:
    return Change(start, harm, backends), Change(end, Harm.NONE, backends)


def _flapping() -> tuple[Change, ...]:
    return tuple(
        change for start in (2.0, 8.0, 14.0) for change in _for_a_while(Harm.ERROR, (2,), start, start + 3.0)
    )


_ALL = (
    Scenario("S1", "hard down", 20.0, _for_a_while(Harm.DOWN, (2,), 2.0, 8.0), (2,), 8.0, avoidable=True),
    Scenario("S2", "20 % gray failures", 16.0, _for_a_while(Harm.GRAY, (2,), 2.0, 10.0), (2,), 10.0),
    Scenario("S4", "flapping 3/3 s", 18.0, _flapping()),
    Scenario("S6", "two rate-limited", 14.0, _for_a_while(Harm.THROTTLE, (1, 4), 2.0, 12.0)),
    Scenario("S10", "hang", 20.0, _for_a_while(Harm.HANG, (2,), 2.0, 8.0), (2,), 8.0, avoidable=True),
    Scenario(
        "S13",
        "3 of 6 down at start",
        20.0,
        _for_a_while(Harm.DOWN, (0, 2, 4), 0.0, 8.0),
        (0, 2, 4),
        8.0,
        avoidable=True,
    ),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}

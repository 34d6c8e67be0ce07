"""What goes wrong, where and when: the fifteen scenarios."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

DURATION = 600.0
FOREVER = float("inf")


class Harm(Enum):
    """What a fault does to a request that it hits."""

    DOWN = auto()
    """Connections are refused, and what is in flight when it begins is reset."""
    ERROR = auto()
    """HTTP 500 after `seconds`, without taking a slot."""
    COSTLY = auto()
    """HTTP 500 after the request has held a slot for `seconds`."""
    GRAY = auto()
    """HTTP 200 and then a stream that ends without a token, after the usual time to the first token."""
    HANG = auto()
    """The connection is accepted and nothing ever comes."""
    SLOW = auto()
    """Prompts take longer: the factor rises in a straight line to `factor` over `seconds`."""
    THROTTLE = auto()
    """HTTP 429 above `rate` requests per second (bursts of `burst`), with Retry-After `seconds`."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with some backends from `start` to `end`.

    `share` of the requests are hit. With `period`, it is on for the first half of each period only. With
    `first`, it hits only that many requests per backend.
    """

    harm: Harm
    backends: tuple[int, ...]
    start: float
    end: float
    share: float = 1.0
    seconds: float = 0.0
    factor: float = 1.0
    rate: float = 0.0
    burst: float = 1.0
    period: float = 0.0
    first: float = FOREVER

    def active(self, now: float) -> bool:
        """Whether it is on."""
        if not self.start <= now < self.end:
            return False
        return not self.period or (now - self.start) % self.period < self.period / 2


@dataclass(frozen=True)
class Scenario:
    """A fleet, its traffic and its faults.

    `load` is the share of all slots that the traffic would keep busy were nothing wrong; `rate` (requests
    per second) stands in for it where it is given. `bursts` are (start, end, load). `focus` are the backends
    whose exclusion and return are timed, around `fault_start` and `fault_end`. `joins` maps a backend to the
    time when it is added.
    """

    name: str
    title: str
    slots: tuple[int, ...] = (16,) * 6
    speeds: tuple[float, ...] = (1.0,) * 6
    load: float = 0.6
    rate: float | None = None
    bursts: tuple[tuple[float, float, float], ...] = ()
    faults: tuple[Fault, ...] = ()
    focus: tuple[int, ...] = ()
    times_exclusion: bool = True
    fault_start: float = 0.0
    fault_end: float = FOREVER
    joins: Mapping[int, float] = field(default_factory=dict)


_ALL = tuple(range(6))


def _one_fault(name: str, title: str, fault: Fault, *, load: float = 0.6) -> Scenario:
    return Scenario(
        name,
        title,
        load=load,
        faults=(fault,),
        focus=fault.backends,
        fault_start=fault.start,
        fault_end=fault.end,
    )


def _steady() -> tuple[Scenario, ...]:
    return (
        _one_fault("S1", "hard down", Fault(Harm.DOWN, (2,), 100, 300)),
        _one_fault("S2", "20 % gray failures", Fault(Harm.GRAY, (2,), 100, 400, share=0.2)),
        Scenario(
            "S3",
            "TTFT drifting to 8 times",
            faults=(Fault(Harm.SLOW, (2,), 100, 400, seconds=200, factor=8.0),),
            focus=(2,),
            times_exclusion=False,
            fault_start=100,
            fault_end=400,
        ),
        Scenario(
            "S4", "flapping 10/10 s", faults=(Fault(Harm.ERROR, (2,), 60, 540, seconds=0.02, period=20),)
        ),
        Scenario("S5", "all at 40 % errors", faults=(Fault(Harm.ERROR, _ALL, 100, 400, 0.4, 0.05),)),
        Scenario(
            "S6",
            "two rate-limited",
            faults=(Fault(Harm.THROTTLE, (1, 4), 60, 540, seconds=2.0, rate=1.0, burst=4.0),),
        ),
        Scenario(
            "S7",
            "capacities 4-32, speeds 0.6-1.4",
            slots=(4, 8, 12, 16, 24, 32),
            speeds=(1.0, 1.4, 0.6, 1.2, 0.8, 1.0),
        ),
    )


def _short_or_early() -> tuple[Scenario, ...]:
    return (
        Scenario("S8", "burst to 105 %", bursts=((200, 260, 1.05),)),
        Scenario(
            "S9",
            "cold join, first request fails",
            faults=(Fault(Harm.ERROR, (5,), 0, DURATION, seconds=0.5, first=1),),
            focus=(5,),
            times_exclusion=False,
            fault_start=100,
            fault_end=100,
            joins={5: 100.0},
        ),
        _one_fault("S10", "hang", Fault(Harm.HANG, (2,), 100, 300)),
        Scenario("S11", "a blip on all", faults=(Fault(Harm.ERROR, _ALL, 200, 202, seconds=0.02),)),
        Scenario(
            "S12",
            "a blip at 0.15 rps",
            rate=0.15,
            faults=tuple(Fault(Harm.ERROR, _ALL, at, at + 10, seconds=0.02) for at in (150, 300, 450)),
        ),
        _one_fault("S13", "3 of 6 down at start", Fault(Harm.DOWN, (0, 2, 4), 0, 300), load=0.4),
        _one_fault("S14", "70 % errors on one", Fault(Harm.ERROR, (2,), 100, 400, 0.7, 0.05)),
        _one_fault(
            "S15", "costly errors at high load", Fault(Harm.COSTLY, (2,), 100, 400, 0.3, 10.0), load=0.8
        ),
    )


SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in (*_steady(), *_short_or_early())}

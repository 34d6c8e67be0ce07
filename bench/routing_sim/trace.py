"""The traffic of one scenario and seed. Every policy meets the same requests, lengths and bad luck."""

import math
from dataclasses import dataclass
from random import Random

from bench.routing_sim.scenarios import DURATION, Scenario

PREFILL_SECONDS = 0.15
PREFILL_PER_TOKEN = 0.0006
SECONDS_PER_TOKEN = 0.02
PROMPT_MEDIAN, PROMPT_SIGMA, PROMPT_MOST = 400.0, 1.0, 8000.0
OUTPUT_MEDIAN, OUTPUT_SIGMA, OUTPUT_MOST = 80.0, 0.8, 1500.0
NOISE_SIGMA = 0.15


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: when it comes, its length, and per backend its luck (uniform) and its noise (factor)."""

    number: int
    moment: float
    prompt_tokens: int
    output_tokens: int
    luck: tuple[float, ...]
    noise: tuple[float, ...]
    replica: float


def mean_service_seconds() -> float:
    """Seconds that a request holds a slot, on average, on a backend of speed 1."""
    prompt = PROMPT_MEDIAN * math.exp(PROMPT_SIGMA**2 / 2)
    output = OUTPUT_MEDIAN * math.exp(OUTPUT_SIGMA**2 / 2)
    return PREFILL_SECONDS + PREFILL_PER_TOKEN * prompt + SECONDS_PER_TOKEN * output


def base_rate(scenario: Scenario, load: float) -> float:
    """Requests per second that keep a share `load` of the fleet busy."""
    if scenario.rate is not None:
        return scenario.rate
    carried = sum(slots / speed for slots, speed in zip(scenario.slots, scenario.speeds, strict=True))
    return load * carried / mean_service_seconds()


def make_trace(scenario: Scenario, seed: int) -> list[Arrival]:
    """The arrivals of ten minutes, a Poisson process."""
    rng = Random(f"{scenario.name}/{seed}")
    backends = len(scenario.slots)
    usual = base_rate(scenario, scenario.load)
    highest = max([usual, *(base_rate(scenario, load) for _, _, load in scenario.bursts)])
    arrivals: list[Arrival] = []
    moment = rng.expovariate(highest)
    while moment < DURATION:
        if rng.random() * highest < _rate_at(scenario, moment, usual):
            arrivals.append(_arrival(len(arrivals), moment, backends, rng))
        moment += rng.expovariate(highest)
    return arrivals


def _rate_at(scenario: Scenario, moment: float, usual: float) -> float:
    for start, end, load in scenario.bursts:
        if start <= moment < end:
            return base_rate(scenario, load)
    return usual


def _arrival(number: int, moment: float, backends: int, rng: Random) -> Arrival:
    prompt = min(PROMPT_MOST, rng.lognormvariate(math.log(PROMPT_MEDIAN), PROMPT_SIGMA))
    output = min(OUTPUT_MOST, rng.lognormvariate(math.log(OUTPUT_MEDIAN), OUTPUT_SIGMA))
    return Arrival(
        number,
        moment,
        max(1, round(prompt)),
        max(1, round(output)),
        tuple(rng.random() for _ in range(backends)),
        tuple(rng.lognormvariate(0.0, NOISE_SIGMA) for _ in range(backends)),
        rng.random(),
    )

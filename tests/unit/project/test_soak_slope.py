"""The soak tells growth from the steps in which memory moves."""

import random

from bench.soak import slope

TIMES = [float(second) for second in range(0, 420, 2)]


def drifting(seed: int) -> list[float]:
    """Memory that moves slowly up and down, and goes nowhere."""
    rng = random.Random(seed)
    level, levels = 0.0, []
    for _ in TIMES:
        level = 0.9 * level + rng.gauss(0.0, 0.1)
        levels.append(70.0 + level)
    return levels


def test_growth_is_seen():
    values = [each + 20.0 * time / 3600 for time, each in zip(TIMES, drifting(1), strict=True)]
    per_hour, t_value = slope(list(zip(TIMES, values, strict=True)))
    assert 10.0 < per_hour < 30.0
    assert t_value > 2.5


def test_memory_that_only_moves_is_not_called_growth():
    found = [slope(list(zip(TIMES, drifting(seed), strict=True)))[1] for seed in range(40)]
    assert sum(t_value > 2.5 for t_value in found) <= 3


def test_too_few_samples_say_nothing():
    assert slope([(0.0, 1.0), (2.0, 9.0)]) == (0.0, 0.0)

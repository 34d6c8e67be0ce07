"""The Beta distribution's functions agree with known values and with counts of draws."""

from random import Random

import pytest

from nexus.outcomes.choice.beta import beta_cdf, beta_quantile, chances_of_best, with_moments


@pytest.mark.parametrize(
    ("x", "a", "b", "expected"),
    [
        (0.3, 1.0, 1.0, 0.3),  # uniform
        (0.5, 7.0, 7.0, 0.5),  # symmetric
        (0.4, 2.0, 1.0, 0.16),  # x^a
        (0.4, 1.0, 3.0, 1 - 0.6**3),  # 1 - (1 - x)^b
        (0.5, 2.0, 3.0, 0.6875),  # binomial sum
        (0.0, 2.0, 2.0, 0.0),
        (1.0, 2.0, 2.0, 1.0),
    ],
)
def test_the_distribution_function_has_its_textbook_values(x, a, b, expected):
    assert beta_cdf(x, a, b) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("a", "b"), [(18.0, 2.0), (0.4, 0.3), (54.0, 6.0), (500.0, 1.2), (1.0, 40.0), (0.2, 9.0)]
)
@pytest.mark.parametrize("p", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_a_quantile_inverts_the_distribution_function(a, b, p):
    x = beta_quantile(p, a, b)
    assert 0.0 <= x <= 1.0
    assert beta_cdf(x - 1e-7, a, b) <= p <= beta_cdf(x + 1e-7, a, b)


def test_quantiles_agree_with_sorted_draws():
    rng = Random(5)
    draws = sorted(rng.betavariate(18, 2) for _ in range(20_000))
    assert beta_quantile(0.05, 18, 2) == pytest.approx(draws[1000], abs=0.01)
    assert beta_quantile(0.95, 18, 2) == pytest.approx(draws[19_000], abs=0.01)


def test_mean_and_variance_determine_the_distribution():
    a, b = with_moments(0.9, 0.9 * 0.1 / 21)
    assert a == pytest.approx(18.0)
    assert b == pytest.approx(2.0)


def test_the_only_one_is_the_best():
    assert chances_of_best([0.3], [0.1]) == (1.0,)


def test_equal_ones_have_equal_chances():
    assert chances_of_best([0.5] * 4, [0.1] * 4) == pytest.approx((0.25,) * 4)


def test_chances_agree_with_draws_from_the_beta_distributions():
    shapes = ((18.0, 2.0), (54.0, 6.0), (80.0, 12.0), (70.0, 22.0))
    rng = Random(6)
    wins = [0] * len(shapes)
    for _ in range(20_000):
        draws = [rng.betavariate(a, b) for a, b in shapes]
        wins[draws.index(max(draws))] += 1
    means = [a / (a + b) for a, b in shapes]
    spreads = [(m * (1 - m) / (a + b + 1)) ** 0.5 for m, (a, b) in zip(means, shapes, strict=True)]
    chances = chances_of_best(means, spreads)
    assert sum(chances) == pytest.approx(1.0)
    for chance, won in zip(chances, wins, strict=True):
        assert chance == pytest.approx(won / 20_000, abs=0.06)

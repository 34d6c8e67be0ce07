"""The settings of the circuit breaker."""

import random

import pytest

from nexus.resilience import CircuitBreakerConfig


def test_growing_waits_are_spread_below_their_length():
    config = CircuitBreakerConfig(first_timeout_seconds=2.0, timeout_seconds=60.0, jitter=0.2)
    rng = random.Random(1)
    waits = [config.wait(1, rng) for _ in range(200)]
    assert all(3.2 < wait <= 4.0 for wait in waits)
    assert len(set(waits)) == 200
    assert max(config.wait(1000, rng) for _ in range(50)) <= 60.0


def test_a_first_wait_over_the_limit_is_cut_to_it():
    config = CircuitBreakerConfig(first_timeout_seconds=90, timeout_seconds=60, backoff_factor=1, jitter=0)
    assert config.wait(0, random.Random()) == config.wait(10**9, random.Random()) == 60.0


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"failure_threshold": 0}, "failure_threshold"),
        ({"success_threshold": 0}, "success_threshold"),
        ({"max_half_open": 0}, "max_half_open"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"first_timeout_seconds": -1}, "first_timeout_seconds"),
        ({"backoff_factor": 0.5}, "backoff_factor"),
        ({"jitter": 1.0}, "jitter"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, name):
    with pytest.raises(ValueError, match=f"^{name} must"):
        CircuitBreakerConfig(**settings)


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LLM_CB_FAILURE_THRESHOLD", "7")
    monkeypatch.setenv("LLM_CB_TIMEOUT_SECONDS", " 1.5 ")
    assert CircuitBreakerConfig.from_env("LLM") == CircuitBreakerConfig(
        failure_threshold=7, timeout_seconds=1.5
    )
    assert CircuitBreakerConfig.from_env("OTHER") == CircuitBreakerConfig()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM_CB_FAILURE_THRESHOLD", "many"),
        ("LLM_CB_FAILURE_THRESHOLD", "0"),
        ("LLM_CB_TIMEOUT_SECONDS", "nan"),
        ("LLM_CB_TIMEOUT_SECONDS", "soon"),
    ],
)
def test_a_bad_environment_value_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* got '{value}'"):
        CircuitBreakerConfig.from_env("LLM", environ={name: value})

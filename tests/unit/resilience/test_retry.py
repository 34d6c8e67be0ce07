"""Retries, in virtual time."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from nexus.resilience import RetryConfig, retry_with_backoff
from nexus.testing import ManualClock


class BusyError(Exception):
    def __init__(self, retry_after: object) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


class Flaky:
    """A call that raises the given errors, one a time, and then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors: Iterator[BaseException] = iter(errors)
        self.calls = 0

    def ask(self, answer: str = "ok") -> str:
        self.calls += 1
        for error in self.errors:
            raise error
        return answer

    async def ask_async(self, answer: str = "ok") -> str:
        await asyncio.sleep(0)
        return self.ask(answer)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_waits_double_without_jitter_and_the_last_error_is_raised(clock):
    flaky = Flaky(OSError(1), OSError(2), OSError(3), OSError(4))
    call = retry_with_backoff(jitter=False, clock=clock)(flaky.ask)
    with pytest.raises(OSError, match=r"^4$"):
        call()
    assert clock.sleeps == [1.0, 2.0, 4.0]
    assert flaky.calls == 4


def test_a_success_ends_it(clock):
    flaky = Flaky(OSError(1))
    call = retry_with_backoff(jitter=False, clock=clock)(flaky.ask)
    assert call(answer="yes") == "yes"
    assert clock.sleeps == [1.0]
    assert call.__name__ == "ask"


async def test_async_functions_are_retried_alike(clock):
    flaky = Flaky(*[OSError(n) for n in range(4)])
    call = retry_with_backoff(jitter=False, clock=clock)(flaky.ask_async)
    with pytest.raises(OSError, match=r"^3$"):
        await call()
    assert clock.sleeps == [1.0, 2.0, 4.0]
    assert await call(answer="yes") == "yes"


def test_waits_never_exceed_the_maximum(clock):
    flaky = Flaky(*[OSError(n) for n in range(6)])
    call = retry_with_backoff(6, initial_delay=2, max_delay=9, backoff_factor=3, jitter=False, clock=clock)
    assert call(flaky.ask)() == "ok"
    assert clock.sleeps == [2.0, 6.0, 9.0, 9.0, 9.0, 9.0]


def test_jitter_spreads_between_half_and_the_whole_wait():
    config = RetryConfig(max_delay=3.0)
    rng = random.Random(5)
    waits = [config.wait(1, OSError(), rng) for _ in range(200)]
    assert all(1.0 <= wait <= 2.0 for wait in waits)
    assert len(set(waits)) == 200
    assert all(1.5 <= config.wait(10_000, OSError(), rng) <= 3.0 for _ in range(50))


def test_a_seed_makes_jitter_repeatable():
    def waits() -> list[float]:
        clock = ManualClock()
        call = retry_with_backoff(clock=clock, rng=random.Random(3))
        call(Flaky(*[OSError(n) for n in range(3)]).ask)()
        return clock.sleeps

    assert waits() == waits()


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        (5.0, 5.0),
        (7, 7),
        (0.2, 1.0),
        (1000, 60.0),
        (None, 1.0),
        ("soon", 1.0),
        (float("nan"), 1.0),
        (-3, 1.0),
    ],
)
def test_an_error_that_says_when_to_come_back_is_obeyed(clock, retry_after, wait):
    call = retry_with_backoff(jitter=False, clock=clock)
    assert call(Flaky(BusyError(retry_after)).ask)() == "ok"
    assert clock.sleeps == [wait]


def test_other_exceptions_propagate_at_once(clock):
    flaky = Flaky(KeyError("x"))
    call = retry_with_backoff(exceptions=(OSError, ValueError), clock=clock)(flaky.ask)
    with pytest.raises(KeyError):
        call()
    assert flaky.calls == 1
    assert clock.sleeps == []


def test_one_exception_type_needs_no_tuple(clock):
    flaky = Flaky(OSError())
    assert retry_with_backoff(exceptions=OSError, clock=clock)(flaky.ask)() == "ok"


async def test_cancellation_is_not_retried(clock):
    flaky = Flaky(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await retry_with_backoff(clock=clock)(flaky.ask_async)()
    assert flaky.calls == 1


def test_no_retries_means_one_call(clock):
    flaky = Flaky(OSError())
    with pytest.raises(OSError):
        retry_with_backoff(0, clock=clock)(flaky.ask)()
    assert flaky.calls == 1


def test_generator_functions_and_missing_parentheses_are_refused():
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="numbers is a generator function"):
        retry_with_backoff()(numbers)
    with pytest.raises(TypeError, match="with parentheses"):
        retry_with_backoff(numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"max_retries": -1}, "max_retries"),
        ({"initial_delay": -1}, "initial_delay"),
        ({"max_delay": float("nan")}, "max_delay"),
        ({"backoff_factor": 0.9}, "backoff_factor"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        retry_with_backoff(**settings)


def test_settings_come_from_the_environment(clock, monkeypatch):
    monkeypatch.setenv("MAX_RETRIES", "2")
    monkeypatch.setenv("INITIAL_RETRY_DELAY", "0")
    monkeypatch.setenv("MAX_RETRY_DELAY", "5.5")
    config = RetryConfig.from_env()
    assert config == RetryConfig(max_retries=2, initial_delay=0.0, max_delay=5.5)
    flaky = Flaky(OSError(), OSError())
    assert retry_with_backoff(config=config, clock=clock)(flaky.ask)() == "ok"
    assert clock.sleeps == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_RETRIES", "-1"), ("INITIAL_RETRY_DELAY", "x"), ("MAX_RETRY_DELAY", "inf")]
)
def test_a_bad_environment_value_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .* got '{value}'"):
        RetryConfig.from_env(environ={name: value})

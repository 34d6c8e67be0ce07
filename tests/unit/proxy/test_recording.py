"""Who is told of outcomes, and when."""

import logging
from collections.abc import Callable

import pytest

from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.flight import Flight
from nexus.core.learned import ModelLearned, PairLearned
from nexus.core.outcome import AttemptOutcome
from nexus.proxy.recording import Recording
from tests.unit.telemetry.records import attempt, ended

FLIGHT = Flight(
    PairLearned(ModelLearned(ExpectedTimeSettings()), 8.0, 0.0), 1, 0.0, 1.0, 3.0, 1, stream=False
)


class Landed:
    """Notes which attempts have ended."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def finished(self, flight: Flight, outcome: AttemptOutcome) -> None:
        assert flight is FLIGHT
        self.told.append(f"landed {outcome.backend_id}")


def _recording(told: list[str], after_writes: Callable[[Callable[[], None]], None]) -> Recording:
    return Recording(
        Landed(told),
        (
            lambda all_: told.extend(f"A {each.backend_id}" for each in all_),
            lambda all_: told.extend(f"B {each.backend_id}" for each in all_),
        ),
        (lambda all_: told.extend(f"C {each.status}" for each, _ in all_),),
        after_writes,
    )


def test_nobody_is_told_before_the_writes_and_then_one_after_the_other_of_everything():
    told: list[str] = []
    steps: list[Callable[[], None]] = []
    recording = _recording(told, steps.append)
    recording.attempt(FLIGHT, attempt(backend_id="x"))
    recording.request(ended(status=200), None)
    recording.attempt(FLIGHT, attempt(backend_id="y"))
    recording.request(ended(status=502), None)
    assert told == []
    [step] = steps
    step()
    assert told == ["landed x", "landed y", "A x", "A y", "B x", "B y", "C 200", "C 502"]


def test_everything_is_told_once_also_when_somebody_asks_for_it_earlier():
    told: list[str] = []
    steps: list[Callable[[], None]] = []
    recording = _recording(told, steps.append)
    recording.request(ended(status=200), None)
    recording.tell()
    assert told == ["C 200"]
    recording.request(ended(status=201), None)
    for step in steps:
        step()
    assert told == ["C 200", "C 201"]


def test_without_writes_to_wait_for_it_is_told_at_once():
    told: list[str] = []
    recording = Recording(
        Landed(told), (), (lambda all_: told.extend(f"C {each.status}" for each, _ in all_),)
    )
    recording.attempt(FLIGHT, attempt(backend_id="x"))
    assert told == ["landed x"]
    recording.request(ended(status=200), None)
    assert told == ["landed x", "C 200"]


def test_the_fault_of_one_recorder_costs_nobody_else_a_record(caplog: pytest.LogCaptureFixture):
    told: list[str] = []

    def broken(*_: object) -> None:
        raise RuntimeError("full")

    class Crash:
        finished = staticmethod(broken)

    recording = Recording(
        Crash(),
        (broken, lambda all_: told.extend(each.backend_id for each in all_)),
        (broken, lambda all_: told.extend(str(each.status) for each, _ in all_)),
        lambda _: None,
    )
    for name in ("x", "y"):
        recording.attempt(FLIGHT, attempt(backend_id=name))
        recording.request(ended(status=200), None)
    with caplog.at_level(logging.ERROR, "nexus.proxy"):
        recording.tell()
    assert told == ["x", "y", "200", "200"]
    assert len(caplog.records) == 4

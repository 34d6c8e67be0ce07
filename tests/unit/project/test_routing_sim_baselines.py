"""The baselines follow the rules their documentation states."""

from random import Random
from typing import Any

import pytest

from bench.routing_sim.baseline import Policy
from bench.routing_sim.baselines import BASELINES
from bench.routing_sim.engine import Engine
from bench.routing_sim.scenarios import Fault, Harm, Scenario
from bench.routing_sim.servers import make_backends
from bench.routing_sim.trace import Arrival

EVERYBODY = tuple(range(6))
ARRIVAL = Arrival(0, 0.0, 100, 10, (0.5,) * 6, (1.0,) * 6, 0.0)


def policy(name: str, *faults: Fault) -> tuple[Engine, Any]:
    engine = Engine()
    scenario = Scenario("T", "test", faults=faults)
    backends = make_backends(engine, scenario)
    return engine, BASELINES[name](engine, backends, EVERYBODY, Random(1))


def choices(chooser: Policy, tried: tuple[int, ...] = (), count: int = 200) -> set[int | None]:
    return {chooser.choose(ARRIVAL, tried) for _ in range(count)}


@pytest.mark.parametrize("name", BASELINES)
def test_no_policy_offers_a_backend_twice_or_one_that_is_not_there(name):
    _, chooser = policy(name)
    assert choices(chooser, tried=(0, 1, 2, 3)) == {4, 5}
    assert chooser.choose(ARRIVAL, EVERYBODY) is None


def test_litellm_cools_down_after_a_429_for_five_seconds():
    engine, chooser = policy("litellm_shuffle")
    chooser.failed(3, 0.1, 429)
    assert 3 not in choices(chooser)
    engine.run(5.0)
    assert 3 in choices(chooser)


def test_litellm_cools_down_once_over_half_of_five_requests_of_the_minute_failed():
    engine, chooser = policy("litellm_shuffle")
    chooser.succeeded(3)
    chooser.succeeded(3)
    chooser.failed(3, 0.1, 500)
    chooser.failed(3, 0.1, 500)
    assert 3 in choices(chooser)
    chooser.failed(3, 0.1, 500)
    assert 3 not in choices(chooser)
    engine.run(60.0)
    chooser.failed(3, 0.1, 500)
    assert 3 in choices(chooser), "a new minute starts from nothing"


def test_envoy_ejects_after_five_failures_in_a_row_for_thirty_seconds_and_then_longer():
    engine, chooser = policy("envoy_outlier")
    for _ in range(4):
        chooser.failed(2, 0.1, 500)
    chooser.succeeded(2)
    for _ in range(4):
        chooser.failed(2, 0.1, 500)
    assert 2 in choices(chooser)
    chooser.failed(2, 0.1, 500)
    assert 2 not in choices(chooser)
    engine.run(29.0)
    assert 2 not in choices(chooser)
    engine.run(31.0)
    assert 2 in choices(chooser)
    for _ in range(5):
        chooser.failed(2, 0.1, 500)
    engine.run(80.0)
    assert 2 not in choices(chooser), "the second ejection lasts a minute"


def test_envoy_ejects_at_most_half_and_counts_no_429():
    _, chooser = policy("envoy_outlier")
    for index in (0, 1, 2, 3):
        for _ in range(5):
            chooser.failed(index, 0.1, 500)
    assert choices(chooser) == {3, 4, 5}
    for _ in range(9):
        chooser.failed(5, 0.1, 429)
    assert 5 in choices(chooser)


def test_envoy_ejects_a_host_whose_success_rate_is_far_below_the_others():
    engine, chooser = policy("envoy_outlier")
    for index in EVERYBODY:
        for number in range(40):
            if index == 4 and number % 2:
                chooser.failed(4, 0.1, 500)
            else:
                chooser.succeeded(index)
    engine.run(10.0)
    assert 4 not in choices(chooser)


def test_envoy_takes_the_one_of_two_with_fewer_in_flight():
    _, chooser = policy("envoy_outlier")
    chooser.pending = [9, 9, 9, 9, 9, 0]
    picks = [chooser.choose(ARRIVAL, ()) for _ in range(300)]
    assert picks.count(5) == pytest.approx(100, abs=30)


def test_peak_ewma_believes_bad_news_at_once_and_good_news_slowly():
    engine, chooser = policy("peak_ewma")
    for index in EVERYBODY:
        chooser.first_token(index, 1.0)
    chooser.first_token(0, 8.0)
    assert 0 not in choices(chooser)
    engine.run(60.0)
    for index in EVERYBODY[1:]:
        chooser.first_token(index, 1.0)
    assert 0 in choices(chooser)


def test_peak_ewma_marks_dead_after_five_failures_and_tests_with_one_request():
    engine, chooser = policy("peak_ewma")
    for _ in range(5):
        chooser.failed(0, 0.1, 500)
    assert 0 not in choices(chooser)
    engine.run(6.0)
    for index in EVERYBODY[1:]:
        chooser.first_token(index, 1.0)
    picks = [chooser.choose(ARRIVAL, ()) for _ in range(100)]
    assert picks.count(0) == 1
    chooser.succeeded(0)
    assert 0 in choices(chooser)


def test_prequal_uses_no_backend_that_answers_no_probe():
    engine, chooser = policy("prequal", Fault(Harm.HANG, (2,), 0, 100), Fault(Harm.DOWN, (3,), 0, 100))
    engine.run(1.0)
    assert choices(chooser) == {0, 1, 4, 5}


def test_prequal_keeps_off_a_backend_that_fails():
    _, chooser = policy("prequal")
    for _ in range(20):
        chooser.failed(1, 0.01, 500)
        for index in (0, 2, 3, 4, 5):
            chooser.succeeded(index)
    assert 1 not in choices(chooser)


def test_the_oracle_knows_who_is_down_slow_or_full():
    engine, chooser = policy(
        "oracle",
        Fault(Harm.DOWN, (0,), 0, 100),
        Fault(Harm.SLOW, (1,), 0, 100, seconds=0.001, factor=4.0),
        Fault(Harm.ERROR, (2, 3), 0, 100, share=0.5, seconds=1.0),
    )
    engine.run(1.0)
    assert choices(chooser) == {4, 5}


def test_the_oracle_takes_anybody_when_everybody_is_down():
    engine, chooser = policy("oracle", Fault(Harm.DOWN, EVERYBODY, 0, 100))
    engine.run(1.0)
    assert choices(chooser) == set(EVERYBODY)


def test_a_backend_that_joins_is_used():
    engine = Engine()
    backends = make_backends(engine, Scenario("T", "test"))
    chooser = BASELINES["litellm_shuffle"](engine, backends, (0, 1), Random(1))
    assert choices(chooser) == {0, 1}
    chooser.join(2)
    assert choices(chooser) == {0, 1, 2}

"""Costs, the soft limit and the hard one."""

import logging
from typing import Any

import pytest

from nexus.core.backend import BackendType
from nexus.core.decision import RejectCause
from nexus.core.fleet import FleetSnapshot, Price
from nexus.core.request import Needs, Surface
from tests.unit.routing.fleets import NOW, ask, decide, fleet, order, refusals, router, serve

PRICE = Price(input_per_mtok=2.0, output_per_mtok=10.0)


def mixed(spent: float) -> FleetSnapshot:
    return fleet(serve("local"), serve("cloud", kind=BackendType.OPENAI, price=PRICE), month_usd=spent)


def costs(snapshot: FleetSnapshot, needs: Needs, surface: Surface = Surface.CHAT) -> dict[str, float | None]:
    decision = decide(snapshot, ask(needs=needs, surface=surface))
    return {c.view.backend.id: c.cost_usd for c in decision.candidates}


def test_cost_is_estimated_from_tokens_and_prices() -> None:
    found = costs(mixed(0), Needs(input_tokens=1000, max_output_tokens=100))
    assert found == {"local": None, "cloud": pytest.approx(0.003)}


def test_without_an_output_limit_512_tokens_are_assumed() -> None:
    assert costs(mixed(0), Needs(input_tokens=0))["cloud"] == pytest.approx(0.00512)


def test_embeddings_have_no_output_cost() -> None:
    found = costs(mixed(0), Needs(input_tokens=1000, max_output_tokens=9), Surface.EMBEDDING)
    assert found["cloud"] == pytest.approx(0.002)


@pytest.mark.parametrize("strategy", ["round_robin", "priority_only", "random"])
def test_every_strategy_passes_the_estimate_on(strategy: str) -> None:
    decision = decide(mixed(0), ask(needs=Needs(max_output_tokens=100)), strategy=strategy)
    found = {c.view.backend.id: c.cost_usd for c in decision.candidates}
    assert found == {"local": None, "cloud": pytest.approx(0.001)}


def limits(action: str = "warn", limit: float = 100.0) -> dict[str, Any]:
    return {"budget": {"monthly_limit_usd": limit, "hard_limit_action": action}}


def test_below_the_soft_limit_nothing_happens() -> None:
    decision = decide(mixed(74.99), **limits())
    assert {c.score for c in decision.candidates} == {750.0}


def test_from_the_soft_limit_on_cloud_scores_are_halved() -> None:
    decision = decide(mixed(75.0), **limits())
    assert order(decision) == ["local", "cloud"]
    cloud = decision.candidates[1]
    assert cloud.score == pytest.approx(375.0)
    assert [name for name, _ in cloud.terms] == ["priority", "load", "latency", "budget"]
    assert dict(cloud.terms)["budget"] == 0.5


def test_an_unpriced_cloud_backend_is_halved_too() -> None:
    snapshot = fleet(serve("local"), serve("cloud", kind=BackendType.ANTHROPIC), month_usd=80.0)
    assert order(decide(snapshot, **limits())) == ["local", "cloud"]


def test_the_hard_limit_warns_by_default(caplog: pytest.LogCaptureFixture) -> None:
    made = router(**limits())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert sorted(order(made.decide(ask(), mixed(100.0), NOW))) == ["cloud", "local"]
    assert [r.message for r in caplog.records] == [
        "Spent $100.00 this month, the limit is $100.00 (hard_limit_action = warn)"
    ]


def test_the_warning_comes_again_in_the_next_month(caplog: pytest.LogCaptureFixture) -> None:
    made = router(**limits())
    for spent in (100.0, 0.0, 80.0, 100.0):
        made.decide(ask(), mixed(spent), NOW)
    assert len(caplog.records) == 2


def test_block_cloud_keeps_local_backends() -> None:
    decision = decide(mixed(120.5), **limits("block_cloud"))
    assert order(decision) == ["local"]
    assert refusals(decision)["cloud"] == (
        "BudgetReconciler",
        "Spent $120.50 this month, the limit is $100.00 (block_cloud)",
    )


def test_block_all_refuses_everything() -> None:
    decision = decide(mixed(100.0), **limits("block_all"))
    assert decision.cause is RejectCause.EXCLUDED
    assert sorted(refusals(decision)) == ["cloud", "local"]


def test_a_limit_of_zero_is_reached_at_once() -> None:
    assert order(decide(mixed(0.0), **limits("block_cloud", 0.0))) == ["local"]

"""Requests that leave the model open span every model, and no exclusion is lost on the way."""

from random import Random
from typing import Any

import pytest

from nexus.config.model import BreakerSettings, BudgetConfig, QualitySettings, RoutingConfig
from nexus.core.backend import BackendType, ModelInfo, Zone
from nexus.core.choice import ModelArm, ModelChoice, RankedModel
from nexus.core.decision import Decision, RejectCause, Verdict
from nexus.core.fleet import BackendStatus, FleetSnapshot, Price
from nexus.core.request import Needs, Request, Surface, Task
from nexus.routing.explanation import explain
from nexus.routing.names import auto_names, is_auto, named_task
from nexus.routing.pipeline import Router
from tests.unit.routing.fleets import NOW, FixedGate, ask, fleet, order, refusals, serve


class Chooser:
    """Ranks models in a fixed order and remembers what it was asked."""

    def __init__(self, *ranking: str, explored: bool = False, sticky: bool = False) -> None:
        self.ranking = ranking
        self.explored = explored
        self.sticky = sticky
        self.asked: list[tuple[Task, tuple[ModelArm, ...], str | None, bool]] = []

    def choose(
        self, task: Task, arms: tuple[ModelArm, ...], *, conversation: str | None, now: float, preview: bool
    ) -> ModelChoice:
        assert now == NOW
        self.asked.append((task, arms, conversation, preview))
        models = sorted((arm.model for arm in arms), key=self.place)
        ranked = tuple(
            RankedModel(model, 0.9 - 0.1 * place, 0.25, {"quality": 0.8})
            for place, model in enumerate(models)
        )
        return ModelChoice(ranked, explored=self.explored, sticky=self.sticky)

    def place(self, model: str) -> int:
        return self.ranking.index(model) if model in self.ranking else len(self.ranking)

    @property
    def models(self) -> list[str]:
        return sorted(arm.model for arm in self.asked[-1][1])


def decide(
    snapshot: FleetSnapshot,
    chooser: Any,
    request: Request | None = None,
    *,
    preview: bool = False,
    **routing: Any,
) -> Decision:
    quality = routing.pop("quality", QualitySettings())
    router = Router(
        RoutingConfig(**{"strategy": "smart", **routing}),
        quality,
        BreakerSettings(),
        rng=Random(1),
        chooser=chooser,
    )
    return router.decide(request or ask("auto"), snapshot, NOW, preview=preview)


def pairs(decision: Decision) -> list[tuple[str, str]]:
    return [(each.view.backend.id, each.model) for each in decision.candidates]


TWO = (serve("x", "small"), serve("y", "large"))


@pytest.mark.parametrize("name", ["auto", "auto:code", "auto:embed"])
def test_auto_and_auto_with_a_task_leave_the_model_open(name: str) -> None:
    assert is_auto(name)
    assert name in auto_names()


@pytest.mark.parametrize("name", ["automatic", "auto:", "auto:dance", "Auto", ""])
def test_other_names_do_not(name: str) -> None:
    assert not is_auto(name)
    assert named_task(name) is None


def test_candidates_of_all_models_come_in_the_order_of_the_chooser() -> None:
    decision = decide(fleet(*TWO, serve("z", "large", priority=90)), Chooser("large", "small"))
    assert pairs(decision) == [("y", "large"), ("z", "large"), ("x", "small")]
    assert decision.verdict is Verdict.ROUTE
    assert decision.served_model == "large"
    assert decision.resolved_model == "auto"


def test_the_decision_carries_propensity_models_and_task() -> None:
    chooser = Chooser("small")
    decision = decide(fleet(*TWO), chooser, ask("auto:code"))
    assert decision.propensity == 0.25
    assert [each.model for each in decision.models] == ["small", "large"]
    assert decision.task is Task.CODE
    assert chooser.asked[0][0] is Task.CODE


def test_without_a_task_in_the_name_the_task_is_the_requests() -> None:
    chooser = Chooser()
    decide(fleet(*TWO), chooser, ask("auto"))
    assert chooser.asked[0][0] is Task.GENERATE


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({}, "adaptive:exploit"),
        ({"explored": True}, "adaptive:explore"),
        ({"sticky": True}, "adaptive:sticky"),
    ],
)
def test_the_route_reason_says_how_the_model_was_chosen(how: dict[str, bool], reason: str) -> None:
    assert decide(fleet(*TWO), Chooser("small", **how)).route_reason == reason


def test_the_chooser_gets_the_conversation_and_knows_a_preview() -> None:
    chooser = Chooser()
    request = Request("t", Surface.CHAT, "auto", Needs(), 0.0, session="talk")
    decide(fleet(*TWO), chooser, request)
    decide(fleet(*TWO), chooser, request, preview=True)
    assert [(each[2], each[3]) for each in chooser.asked] == [("talk", False), ("talk", True)]


def test_an_alias_may_lead_to_auto() -> None:
    decision = decide(fleet(*TWO), Chooser("large"), ask("best"), aliases={"best": "auto:reasoning"})
    assert decision.candidates[0].model == "large"
    assert decision.task is Task.REASONING


def test_without_a_chooser_auto_is_an_unknown_model() -> None:
    decision = decide(fleet(*TWO), None)
    assert decision.cause is RejectCause.UNKNOWN_MODEL


def test_a_misspelt_task_is_unknown_and_auto_names_are_suggested() -> None:
    decision = decide(fleet(*TWO), Chooser(), ask("auto:coding"))
    assert decision.cause is RejectCause.UNKNOWN_MODEL
    assert "auto:code" in decision.close_names


def test_with_no_model_at_all_auto_is_unknown() -> None:
    assert decide(fleet(), Chooser()).cause is RejectCause.UNKNOWN_MODEL


def test_only_models_that_the_configuration_names_are_chosen_among() -> None:
    chooser = Chooser()
    snapshot = fleet(serve("x", "llama-8b llama-70b"), serve("y", "dall-e"))
    decide(snapshot, chooser, auto_models=("llama*",))
    assert chooser.models == ["llama-70b", "llama-8b"]
    assert decide(snapshot, chooser, auto_models=()).cause is RejectCause.UNKNOWN_MODEL
    assert decide(snapshot, chooser, auto_models=("qwen",)).cause is RejectCause.UNKNOWN_MODEL


def test_a_restricted_request_leaves_out_models_of_the_open_zone() -> None:
    chooser = Chooser("cloud")
    snapshot = fleet(serve("far", "cloud", zone=Zone.OPEN), serve("near", "local"))
    decision = decide(snapshot, chooser, ask("auto", restricted=True))
    assert chooser.models == ["local"]
    assert order(decision) == ["near"]
    assert refusals(decision)["far"][0] == "PrivacyReconciler"


def test_a_policy_of_a_model_holds_when_auto_chooses_it() -> None:
    chooser = Chooser("secret")
    snapshot = fleet(serve("far", "secret", zone=Zone.OPEN), serve("near", "secret"), serve("z", "other"))
    policies = [{"model_pattern": "secret", "privacy": "restricted"}]
    decision = decide(snapshot, chooser, policies=policies)
    assert pairs(decision) == [("near", "secret"), ("z", "other")]
    assert decision.restricted


def test_a_policy_of_the_name_auto_holds_for_every_model() -> None:
    chooser = Chooser()
    snapshot = fleet(serve("low", "small", tier=1), serve("high", "large", tier=3))
    decision = decide(snapshot, chooser, policies=[{"model_pattern": "auto*", "min_tier": 2}])
    assert chooser.models == ["large"]
    assert refusals(decision)["low"][0] == "TierReconciler"


def test_at_the_hard_limit_cloud_models_are_no_arms() -> None:
    chooser = Chooser()
    snapshot = fleet(
        serve("far", "cloud", kind=BackendType.OPENAI, price=Price(1, 1)),
        serve("near", "local"),
        month_usd=12,
    )
    budget = BudgetConfig(monthly_limit_usd=10, hard_limit_action="block_cloud")
    decision = decide(snapshot, chooser, budget=budget)
    assert chooser.models == ["local"]
    assert refusals(decision)["far"][0] == "BudgetReconciler"


def test_arms_carry_the_estimated_cost_the_time_and_the_budgets_factor() -> None:
    chooser = Chooser()
    snapshot = fleet(
        serve("far", "cloud", kind=BackendType.OPENAI, price=Price(1.0, 2.0)),
        serve("odd", "unpriced", kind=BackendType.OPENAI),
        serve("near", "local", latency_ms=1500),
        month_usd=8,
    )
    needs = Needs(input_tokens=1000, max_output_tokens=500)
    decide(snapshot, chooser, ask("auto", needs=needs), budget=BudgetConfig(monthly_limit_usd=10))
    arms = {arm.model: arm for arm in chooser.asked[0][1]}
    assert arms["cloud"].cost_usd == pytest.approx(0.002)
    assert (arms["cloud"].expected_seconds, arms["cloud"].factor) == (None, 0.5)
    assert arms["unpriced"].cost_usd is None
    assert arms["local"] == ModelArm("local", 0.0, 1.5, 1.0)


def test_a_model_on_degraded_backends_only_is_not_chosen_while_another_is_sound() -> None:
    chooser = Chooser("bad")
    decision = decide(fleet(serve("x", "bad", rate=0.9), serve("y", "good")), chooser)
    assert chooser.models == ["good"]
    assert order(decision) == ["y"]
    assert refusals(decision)["x"] == ("QualityReconciler", "Degraded, and another model has a sound backend")


def test_when_every_model_is_degraded_all_are_used() -> None:
    decision = decide(fleet(serve("x", "bad", rate=0.9), serve("y", "worse", rate=0.95)), Chooser("worse"))
    assert order(decision) == ["y", "x"]
    assert all(each.degraded for each in decision.candidates)


def test_unhealthy_and_throttled_models_are_no_arms() -> None:
    chooser = Chooser()
    snapshot = fleet(
        serve("x", "down", status=BackendStatus.UNHEALTHY),
        serve("y", "throttled", blocked_until=NOW + 9),
        serve("z", "up"),
        serve("w", "broken", breaker=FixedGate(wait=5.0)),
    )
    decide(snapshot, chooser, quality=QualitySettings(on_all_degraded="reject"))
    assert chooser.models == ["up"]


def test_each_backend_is_tried_once_with_its_best_model() -> None:
    decision = decide(fleet(serve("x", "small large"), serve("y", "small")), Chooser("large", "small"))
    assert pairs(decision) == [("x", "large"), ("y", "small")]
    again = [each for each in decision.rejections if each.backend == "x"]
    assert [(each.model, each.reconciler) for each in again] == [("small", "SchedulerReconciler")]


def test_models_that_only_embed_are_left_out_where_text_is_asked_for() -> None:
    chooser = Chooser()
    infos = {"vectors": ModelInfo("vectors", embedding=True)}
    snapshot = fleet(serve("x", infos), serve("y", "text"))
    decision = decide(snapshot, chooser)
    assert chooser.models == ["text"]
    assert "makes embeddings" in refusals(decision)["x"][1]
    decide(snapshot, chooser, ask("auto", surface=Surface.EMBEDDING))
    assert chooser.models == ["text", "vectors"]


def test_models_without_what_the_request_needs_are_no_arms() -> None:
    chooser = Chooser()
    snapshot = fleet(serve("x", {"blind": ModelInfo("blind", vision=False)}), serve("y", "seeing"))
    decide(snapshot, chooser, ask("auto", needs=Needs(vision=True)))
    assert chooser.models == ["seeing"]


def test_when_all_models_are_merely_full_the_request_waits() -> None:
    decision = decide(
        fleet(serve("x", "a", limit=1, pending=1), serve("y", "b", limit=1, pending=1)), Chooser()
    )
    assert decision.verdict is Verdict.QUEUE
    assert decision.saturated


def test_when_nothing_is_left_every_backend_has_its_reason() -> None:
    snapshot = fleet(serve("x", "a", zone=Zone.OPEN), serve("y", "b", zone=Zone.OPEN))
    decision = decide(snapshot, Chooser(), ask("auto", restricted=True))
    assert decision.cause is RejectCause.EXCLUDED
    assert set(refusals(decision)) == {"x", "y"}


def test_a_fallback_of_auto_is_used_when_no_model_is_left() -> None:
    snapshot = fleet(serve("x", "small"), serve("y", "large", status=BackendStatus.UNHEALTHY))
    router = Router(
        RoutingConfig(fallbacks={"auto": ("small",)}),
        QualitySettings(),
        BreakerSettings(),
        rng=Random(1),
        chooser=Chooser("small"),
    )
    first = router.decide(ask("auto"), snapshot, NOW)
    assert (first.chain_index, first.chain_length) == (0, 2)
    later = router.decide(ask("auto"), snapshot, NOW, chain_start=1)
    assert later.route_reason == "fallback"
    assert later.models == ()


def test_the_explanation_shows_models_utilities_and_terms() -> None:
    snapshot = fleet(*TWO, serve("none", ""))
    request = ask("auto:code")
    told = explain(decide(snapshot, Chooser("large"), request), request, snapshot).to_dict()
    assert told["propensity"] == 0.25
    assert told["request"]["task"] == "code"  # type: ignore[index]
    models: Any = told["models"]
    assert [(each["model"], each["rank"], each["utility"]) for each in models] == [
        ("large", 1, pytest.approx(0.9)),
        ("small", 2, pytest.approx(0.8)),
    ]
    candidates: Any = told["candidates"]
    first = candidates[0]
    assert first["score"] == pytest.approx(0.9)
    assert first["terms"]["quality"] == 0.8
    assert first["terms"]["backend_score"] > 100
    assert candidates[-1]["reason"] == "Serves no model"


def test_other_requests_have_no_models_in_their_explanation() -> None:
    snapshot = fleet(*TWO)
    request = ask("small")
    told = explain(decide(snapshot, Chooser(), request), request, snapshot).to_dict()
    assert "models" not in told

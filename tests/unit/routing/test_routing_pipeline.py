"""The pipeline as a whole: the chain, the stages, the timings, the debug line."""

import logging

import pytest

from nexus.config.model import RoutingPolicy
from nexus.core.backend import Zone
from nexus.core.decision import RejectCause, Verdict
from nexus.core.fleet import BackendStatus
from tests.unit.routing.fleets import NOW, Observed, ask, decide, fleet, order, router, serve, ticking

STAGES = ("analyzer", "privacy", "budget", "tier", "quality", "scheduler")
DOWN = BackendStatus.UNHEALTHY


def test_the_stages_are_in_order() -> None:
    assert router().stage_names == STAGES


def test_a_fallback_takes_over_where_nobody_can_answer() -> None:
    snapshot = fleet(serve("a", "m", status=DOWN), serve("b", "n", status=DOWN), serve("c", "o"))
    decision = decide(snapshot, fallbacks={"m": ("n", "o")})
    assert (order(decision), decision.served_model) == (["c"], "o")
    assert (decision.chain_index, decision.chain_length, decision.route_reason) == (2, 3, "fallback")
    assert [(r.backend, r.model) for r in decision.rejections] == [("a", "m"), ("b", "n")]


def test_the_fallbacks_of_a_fallback_are_not_followed() -> None:
    snapshot = fleet(serve("a", "m", status=DOWN), serve("c", "o"))
    assert decide(snapshot, fallbacks={"m": ("n",), "n": ("o",)}).verdict is Verdict.REJECT


def test_fallbacks_may_be_aliases_and_do_not_repeat() -> None:
    snapshot = fleet(serve("a", "m", status=DOWN), serve("b", "n"))
    decision = decide(snapshot, aliases={"x": "m", "y": "n"}, fallbacks={"m": ("x", "y", "n")})
    assert (order(decision), decision.chain_length) == (["b"], 2)


def test_the_fallbacks_of_the_name_asked_for_come_before_those_of_its_model() -> None:
    snapshot = fleet(serve("a", "m", status=DOWN), serve("b", "n"), serve("c", "o"))
    settings = {"aliases": {"x": "m"}, "fallbacks": {"x": ("n",), "m": ("o",)}}
    assert order(decide(snapshot, ask("x"), **settings)) == ["b"]
    assert order(decide(snapshot, ask("m"), **settings)) == ["c"]


def test_a_model_known_only_by_its_fallback_is_served_by_it() -> None:
    decision = decide(fleet(serve("b", "n")), fallbacks={"m": ("n",)})
    assert (order(decision), decision.chain_index) == (["b"], 1)


def test_the_proxy_goes_on_down_the_chain() -> None:
    snapshot = fleet(serve("a", "m"), serve("b", "n"), serve("c", "o"))
    made = router(fallbacks={"m": ("n", "o")})
    steps = [made.decide(ask(), snapshot, NOW, chain_start=start) for start in range(3)]
    assert [(order(d), d.chain_index) for d in steps] == [(["a"], 0), (["b"], 1), (["c"], 2)]
    end = made.decide(ask(), snapshot, NOW, chain_start=3)
    assert (end.verdict, end.cause, end.candidates) == (Verdict.REJECT, RejectCause.EXCLUDED, ())


def test_each_backend_is_rejected_once_per_model() -> None:
    snapshot = fleet(serve("a", zone=Zone.OPEN, rate=0.9, status=DOWN), serve("b", rate=0.9))
    decision = decide(snapshot, ask(restricted=True))
    assert [(r.backend, r.reconciler) for r in decision.rejections] == [("a", "PrivacyReconciler")]


def test_stages_that_concern_the_model_are_observed_once_per_request() -> None:
    seen = Observed()
    tiers = RoutingPolicy(model_pattern="*", min_tier=1)
    decide(fleet(serve("a")), policies=[tiers], observer=seen, timer=ticking())
    assert seen.calls == [(3, 1.0), (5, 1.0)]


def test_all_stages_are_run_for_a_request_with_constraints_and_observed_for_each_model() -> None:
    seen = Observed()
    snapshot = fleet(serve("a", "m", zone=Zone.OPEN), serve("b", "n"))
    decide(snapshot, ask(restricted=True), fallbacks={"m": ("n",)}, observer=seen, timer=ticking())
    assert seen.calls == [(stage, 1.0) for stage in (0, 1, 0, 1, 2, 3, 4, 5)]


def test_previews_unknown_models_and_later_decisions_are_not_observed() -> None:
    seen = Observed()
    made = router(fallbacks={"m": ("n",)}, observer=seen, timer=ticking())
    snapshot = fleet(serve("a", "m n"))
    made.decide(ask(), snapshot, NOW, preview=True)
    made.decide(ask("nobody"), snapshot, NOW)
    made.decide(ask(), snapshot, NOW, chain_start=1)
    assert seen.calls == []


def test_the_debug_line_holds_the_whole_decision(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="nexus.routing"):
        decide(fleet(serve("a")))
    (record,) = [r for r in caplog.records if r.name == "nexus.routing"]
    assert vars(record)["trace_id"] == "trace"
    assert vars(record)["decision"]["chosen"] == "a"

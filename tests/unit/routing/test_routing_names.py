"""Aliases, policies and close names."""

from nexus.config.model import RoutingPolicy
from nexus.core.decision import RejectCause, Verdict
from nexus.core.fleet import FleetSnapshot
from nexus.routing.names import alias_path, close_names, matching_rule
from nexus.routing.plan_book import PlanBook
from tests.unit.routing.fleets import NOW, ask, decide, fleet, order, router, serve


def test_an_alias_leads_to_its_model() -> None:
    decision = decide(fleet(serve("a")), ask("gpt"), aliases={"gpt": "m"})
    assert (decision.model, decision.resolved_model, decision.served_model) == ("gpt", "m", "m")
    assert order(decision) == ["a"]


def test_aliases_go_three_hops_and_no_further() -> None:
    aliases = {"a": "b", "b": "c", "c": "d", "d": "e"}
    assert alias_path("a", aliases) == ("a", "b", "c", "d")


def test_an_alias_cycle_ends() -> None:
    assert alias_path("a", {"a": "b", "b": "a"}) == ("a", "b")
    assert alias_path("a", {"a": "a"}) == ("a",)


def test_an_alias_wins_over_a_model_of_the_same_name() -> None:
    decision = decide(fleet(serve("a", "m"), serve("b", "n")), ask("m"), aliases={"m": "n"})
    assert order(decision) == ["b"]


def test_the_first_matching_policy_of_a_name_counts() -> None:
    policies = (
        RoutingPolicy(model_pattern="open-*"),
        RoutingPolicy(model_pattern="*", privacy="restricted", min_tier=2),
    )
    assert not matching_rule(("open-m",), policies).restricted
    assert matching_rule(("other",), policies).restricted


def test_the_strictest_policy_of_all_names_wins() -> None:
    policies = (
        RoutingPolicy(model_pattern="a", min_tier=3),
        RoutingPolicy(model_pattern="b", privacy="restricted", min_tier=2),
    )
    rule = matching_rule(("a", "b", "c"), policies)
    assert (rule.restricted, rule.min_tier) == (True, 3)


def test_patterns_are_case_sensitive_and_match_the_whole_name() -> None:
    policies = (RoutingPolicy(model_pattern="gpt-?", privacy="restricted"),)
    assert matching_rule(("gpt-4",), policies).restricted
    assert not matching_rule(("GPT-4",), policies).restricted
    assert not matching_rule(("gpt-4o",), policies).restricted


def test_an_unknown_model_is_refused_with_close_names() -> None:
    snapshot = fleet(serve("a", "llama3:8b mistral"))
    decision = decide(snapshot, ask("llama3:8B"), aliases={"llama": "llama3:8b"})
    assert decision.verdict is Verdict.REJECT
    assert decision.cause is RejectCause.UNKNOWN_MODEL
    assert decision.close_names[0] == "llama3:8b"
    assert decision.rejections == ()


def test_auto_is_not_a_model_unless_defined() -> None:
    assert decide(fleet(serve("a")), ask("auto")).cause is RejectCause.UNKNOWN_MODEL
    assert order(decide(fleet(serve("a")), ask("auto"), aliases={"auto": "m"})) == ["a"]


def test_very_long_names_are_not_compared() -> None:
    assert close_names("m" * 129, ["m" * 129]) == ()


def test_at_most_two_thousand_names_are_compared() -> None:
    known = [f"x{number}" for number in range(2000)]
    assert close_names("model", [*known, "model"]) == ()
    assert close_names("model", [*known[1:], "model"]) == ("model",)


def test_names_that_nobody_knows_are_not_remembered() -> None:
    made = router()
    snapshot = fleet(serve("a"))
    for number in range(100):
        made.decide(ask(f"hostile-{number}"), snapshot, NOW)
    made.decide(ask("m"), snapshot, NOW)
    assert list(made._book._routes) == ["m"]
    assert list(made._book._plans) == ["m"]


def test_a_new_snapshot_replaces_what_was_worked_out() -> None:
    made = router()
    assert order(made.decide(ask(), fleet(serve("a")), NOW)) == ["a"]
    assert order(made.decide(ask(), fleet(serve("b")), NOW)) == ["b"]


def test_a_route_is_worked_out_once_per_snapshot() -> None:
    snapshot: FleetSnapshot = fleet(serve("a"))
    book: PlanBook = router()._book
    assert book.route("m", snapshot) is book.route("m", snapshot)

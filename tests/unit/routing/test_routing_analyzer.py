"""What a request needs, and who can do it."""

import pytest

from nexus.core.backend import ModelInfo
from nexus.core.decision import RejectCause
from nexus.core.request import Needs, Surface
from tests.unit.routing.fleets import ask, decide, fleet, order, refusals, serve


def test_only_backends_that_serve_the_model_are_candidates() -> None:
    assert order(decide(fleet(serve("a", "m"), serve("b", "n")))) == ["a"]


@pytest.mark.parametrize(
    ("needs", "info", "word"),
    [
        (Needs(vision=True), ModelInfo("m", vision=False), "images"),
        (Needs(tools=True), ModelInfo("m", tools=False), "tools"),
        (Needs(json_mode=True), ModelInfo("m", json_mode=False), "JSON mode"),
    ],
)
def test_a_missing_ability_excludes(needs: Needs, info: ModelInfo, word: str) -> None:
    decision = decide(fleet(serve("a", {"m": info}), serve("b")), ask(needs=needs))
    assert order(decision) == ["b"]
    assert refusals(decision)["a"] == (
        "RequestAnalyzer",
        f'Model "m" does not support {word} on this backend',
    )


def test_a_model_without_embeddings_is_excluded_from_embedding_requests_only() -> None:
    snapshot = fleet(serve("a", {"m": ModelInfo("m", embedding=False)}))
    assert decide(snapshot, ask(surface=Surface.EMBEDDING)).cause is RejectCause.EXCLUDED
    assert order(decide(snapshot)) == ["a"]


def test_unknown_abilities_pass() -> None:
    needs = Needs(vision=True, tools=True, json_mode=True, input_tokens=10**6)
    assert order(decide(fleet(serve("a")), ask(needs=needs))) == ["a"]


def test_an_ability_that_is_not_needed_does_not_matter() -> None:
    info = ModelInfo("m", vision=False, tools=True)
    assert order(decide(fleet(serve("a", {"m": info})), ask(needs=Needs(tools=True)))) == ["a"]


def test_too_little_context_excludes_with_numbers() -> None:
    snapshot = fleet(serve("a", {"m": ModelInfo("m", context_length=1000)}), serve("b"))
    decision = decide(snapshot, ask(needs=Needs(input_tokens=900, max_output_tokens=200)))
    assert order(decision) == ["b"]
    assert refusals(decision)["a"][1] == (
        "Context of 1000 tokens is too short for 1100 (about 900 input and 200 output)"
    )


def test_context_that_just_fits_passes() -> None:
    snapshot = fleet(serve("a", {"m": ModelInfo("m", context_length=1000)}))
    assert order(decide(snapshot, ask(needs=Needs(input_tokens=800, max_output_tokens=200)))) == ["a"]
    assert order(decide(snapshot, ask(needs=Needs(input_tokens=1000)))) == ["a"]


def test_nobody_able_is_a_refusal_with_one_entry_per_backend() -> None:
    info = ModelInfo("m", tools=False)
    snapshot = fleet(serve("a", {"m": info}), serve("b", {"m": info}))
    decision = decide(snapshot, ask(needs=Needs(tools=True)))
    assert decision.cause is RejectCause.EXCLUDED
    assert sorted(refusals(decision)) == ["a", "b"]
    assert decision.retry_after is None
    assert all(each.suggested_action for each in decision.rejections)

"""Exploration among models never leaves what privacy, tiers and abilities allow."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from nexus.config.model import BreakerSettings, QualitySettings, RoutingConfig, RoutingPolicy
from nexus.core.backend import Zone
from nexus.core.decision import Verdict
from nexus.core.fleet import BackendStatus
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.settings import ChoiceSettings
from nexus.routing.pipeline import Router
from tests.unit.routing.fleets import NOW, ask, fleet, serve

MODELS = ("a", "b", "c")
backends = st.lists(
    st.tuples(
        st.lists(st.sampled_from(MODELS), min_size=1, unique=True),
        st.sampled_from(list(Zone)),
        st.integers(1, 3),
        st.sampled_from(list(BackendStatus)),
        st.none() | st.floats(0.0, 1.0),
    ),
    min_size=1,
    max_size=6,
)
policies = st.lists(
    st.builds(
        RoutingPolicy,
        model_pattern=st.sampled_from(("*", "auto", "auto*", *MODELS)),
        privacy=st.sampled_from(("restricted", "unrestricted")),
        min_tier=st.none() | st.integers(1, 3),
    ),
    max_size=3,
)


@given(
    rows=backends,
    rules=policies,
    restricted=st.booleans(),
    exploration=st.sampled_from((0.0, 1.0)),
    seed=st.integers(),
)
def test_no_candidate_breaks_a_rule_whichever_model_is_explored(
    *, rows, rules, restricted, exploration, seed
):
    snapshot = fleet(
        *(
            serve(f"b{n}", " ".join(models), zone=zone, tier=tier, status=status, rate=rate)
            for n, (models, zone, tier, status, rate) in enumerate(rows)
        )
    )
    router = Router(
        RoutingConfig(policies=tuple(rules)),
        QualitySettings(),
        BreakerSettings(),
        rng=Random(seed),
        chooser=AdaptiveChooser(ChoiceSettings(exploration=exploration), Random(seed)),
    )
    request = ask("auto", restricted=restricted)
    for _ in range(3):
        decision = router.decide(request, snapshot, NOW)
        backends_tried = [each.view.backend.id for each in decision.candidates]
        assert len(backends_tried) == len(set(backends_tried))
        for candidate in decision.candidates:
            allowed = [_rule(rules, name) for name in ("auto", candidate.model)]
            if restricted or any(rule is not None and rule.privacy == "restricted" for rule in allowed):
                assert candidate.view.backend.zone is Zone.RESTRICTED
            for rule in allowed:
                if rule is not None and rule.min_tier is not None:
                    assert candidate.view.backend.tier >= rule.min_tier
            assert candidate.view.status is not BackendStatus.UNHEALTHY
        if decision.verdict is Verdict.ROUTE:
            assert decision.models[0].model == decision.candidates[0].model
            assert decision.propensity is not None
            assert 0.0 < decision.propensity <= 1.0
        else:
            assert {each.backend for each in decision.rejections} == {
                view.backend.id for view in snapshot.backends
            }


def _rule(rules: list[RoutingPolicy], name: str) -> RoutingPolicy | None:
    """The first policy that matches a name."""
    return next((rule for rule in rules if _matches(rule.model_pattern, name)), None)


def _matches(pattern: str, name: str) -> bool:
    return pattern in {"*", name} or (pattern == "auto*" and name == "auto")

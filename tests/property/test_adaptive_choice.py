"""Whatever was observed, choices stay within the arms and propensities are probabilities."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from nexus.core.choice import ModelArm
from nexus.core.request import Task
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.settings import ChoiceSettings

MODELS = ("a", "b", "c", "d", "e")
unit = st.floats(0.0, 1.0)
observations = st.lists(
    st.tuples(
        st.sampled_from(MODELS),
        st.sampled_from(list(Task)),
        st.none() | unit,
        unit,
        st.none() | st.floats(0.0, 10.0),
        st.none() | st.floats(0.0, 1000.0),
    ),
    max_size=40,
)
some_arms = st.lists(st.sampled_from(MODELS), min_size=1, unique=True).map(
    lambda names: tuple(ModelArm(name) for name in names)
)


@given(
    seen=observations,
    arms=some_arms,
    task=st.sampled_from(list(Task)),
    exploration=unit,
    conversation=st.none() | st.sampled_from(("x", "y")),
    cooling=st.sets(st.sampled_from(MODELS)),
    seed=st.integers(),
)
def test_every_choice_ranks_exactly_its_arms_with_true_probabilities(
    *, seen, arms, task, exploration, conversation, cooling, seed
):
    chooser = AdaptiveChooser(
        ChoiceSettings(exploration=exploration), Random(seed), is_cooling=cooling.__contains__
    )
    for model, kind, quality, weight, cost, seconds in seen:
        chooser.observe(model, kind, quality=quality, weight=weight, cost_usd=cost, seconds=seconds)
    for now in (0.0, 1.0):
        choice = chooser.choose(task, arms, conversation=conversation, now=now, preview=False)
        assert sorted(each.model for each in choice.ranking) == sorted(arm.model for arm in arms)
        assert abs(sum(each.propensity for each in choice.ranking) - 1.0) < 1e-9
        assert choice.ranking[0].propensity > 0.0
        for each in choice.ranking:
            assert 0.0 <= each.propensity <= 1.0
            terms = each.terms
            assert 0.0 <= terms["quality_low"] <= terms["quality"] <= terms["quality_high"] <= 1.0
            assert 0.0 < terms["prior_share"] <= 1.0
            assert 0.0 <= terms["best"] <= 1.0
        rest = [each for each in choice.ranking[1:] if each.model not in cooling]
        assert [each.utility for each in rest] == sorted((each.utility for each in rest), reverse=True)

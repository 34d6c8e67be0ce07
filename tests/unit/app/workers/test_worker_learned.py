"""A new worker expects of each backend what the others do."""

import random

import msgspec
import pytest

from nexus.app.workers.learned import LearnedPair, take_learned, tell_learned
from nexus.core.backend import Backend
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus, BackendView
from nexus.core.learned import PairLearned, slowness_now
from nexus.core.live import BackendLive
from nexus.quality.learner import AttemptLearner

SETTINGS = ExpectedTimeSettings()


def views() -> list[BackendView]:
    return [
        BackendView(Backend(name, name, "http://127.0.0.1:1"), BackendStatus.HEALTHY, {}, BackendLive())
        for name in "ab"
    ]


def shown(pair: PairLearned, now: float) -> list[float]:
    lines = (pair.model.streamed, pair.model.whole, pair.model.generated)
    times = [line.seconds(tokens) for line in lines for tokens in (1, 100, 5000)]
    counts = [pair.successes, pair.failures, pair.limit, pair.answers, pair.unhurried]
    return [*times, *counts, slowness_now(pair, SETTINGS, now), pair.model.median]


def test_what_was_learned_goes_over_whole():
    rng = random.Random(5)
    here, there = views(), views()
    one, two = AttemptLearner(SETTINGS), AttemptLearner(SETTINGS)
    for at in range(200):
        place = rng.randrange(2)
        now = 10.0 + at / 10
        one.hear(here[place].live, "m", now, successes=3, failures=place)
        seconds = (place + 1) * rng.uniform(0.1, 0.2)
        tokens = rng.randrange(10, 4000)
        one.hear_time(here[place].live, "m", tokens, seconds, now, stream=at % 3 > 0, pending=at % 9)
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(tell_learned(here)), type=list[LearnedPair])
    take_learned(two, there, [*told, msgspec.structs.replace(told[0], backend="gone")], 30.0)
    for mine, theirs in zip(here, there, strict=True):
        assert shown(mine.live.learned["m"], 30.0) == pytest.approx(shown(theirs.live.learned["m"], 30.0))
    models = {id(view.live.learned["m"].model) for view in there}
    assert len(models) == 1, "the backends of a model still share what belongs to it"
    assert len(there[0].live.learned["m"].model.pairs) == 2
    assert slowness_now(there[1].live.learned["m"], SETTINGS, 30.0) > 1.0

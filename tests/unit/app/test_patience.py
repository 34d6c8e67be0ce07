"""How long a first token may take before somebody else is asked too."""

import pytest

from nexus.app.patience import FirstTokenPatience
from nexus.core.backend import Backend, ModelInfo
from nexus.core.decision import Candidate
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus, BackendView
from nexus.core.learned import ModelLearned, PairLearned
from nexus.core.live import BackendLive
from nexus.core.request import Needs, Request, Surface
from nexus.quality import QualityMetricsStore
from nexus.testing import ManualClock

TUNING = ExpectedTimeSettings()


class Rig:
    """Backend "a", whose first tokens take a second."""

    def __init__(self, *, known: bool = True) -> None:
        self.clock = ManualClock(100.0)
        self.store = QualityMetricsStore(clock=self.clock)
        if known:
            self.store.record_outcome("a", True, 1000.0)
        backend = Backend("a", "a", "http://a.test")
        view = BackendView(backend, BackendStatus.HEALTHY, {"m": ModelInfo("m")}, BackendLive())
        self.candidate = Candidate(view, "m", 1.0)
        self.pair = PairLearned(ModelLearned(TUNING), 8.0, 100.0)
        self.pair.model.streamed.slope = 0.001
        view.live.learned["m"] = self.pair

    def seconds(self, tokens: int = 0, *, stream: bool = True) -> float:
        request = Request("t", Surface.CHAT, "m", Needs(stream=stream, input_tokens=tokens), 100.0)
        return FirstTokenPatience(self.store, TUNING)(self.candidate, request)


def test_it_is_three_times_what_the_backend_needs():
    assert Rig().seconds() == pytest.approx(3.0, rel=0.03)


def test_a_long_prompt_has_more_time():
    assert Rig().seconds(tokens=9500) == pytest.approx(30.0)


def test_a_backend_that_is_slow_by_nature_has_more_time():
    rig = Rig()
    rig.pair.slowness = rig.pair.unhurried = 4.0
    assert rig.seconds(tokens=9500) == pytest.approx(120.0)


def test_hanging_earns_a_backend_no_more_time():
    rig = Rig()
    rig.pair.slowness, rig.pair.unhurried = 20.0, 1.0
    assert rig.seconds(tokens=9500) == pytest.approx(30.0)


def test_an_unknown_backend_has_ten_seconds_and_a_whole_answer_all_the_time():
    assert Rig(known=False).seconds() == 10.0
    assert Rig().seconds(stream=False) == float("inf")

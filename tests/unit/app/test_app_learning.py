"""What is learned follows the comings and goings of backends."""

from nexus.app.learning import Learning
from nexus.backends.registry import Fleet
from nexus.core.backend import Backend
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus
from nexus.core.learned import PairLearned
from nexus.core.live import SpendMeter
from nexus.quality.learner import AttemptLearner
from nexus.resilience.breaker_config import BreakerState
from nexus.testing import ManualClock


class Wired:
    """Two backends that serve one model; "a" has one failure to its name."""

    def __init__(self) -> None:
        self.clock = ManualClock(start=50.0)
        backends = (
            Backend("a", "A", "http://a", models=("m",)),
            Backend("b", "B", "http://b", models=("m",)),
        )
        self.fleet = Fleet(
            backends, quality_views=dict, prices=lambda _backend, _model: None, spend=SpendMeter()
        )
        self.learner = AttemptLearner(ExpectedTimeSettings())
        self.learning = Learning(self.learner, self.fleet, self.clock)
        for name in ("a", "b"):
            self.learner.started(self.fleet.live(name), "m", 10, stream=True, now=1.0)
        self.pair.failures = 1.0

    @property
    def pair(self) -> PairLearned:
        return self.fleet.live("a").learned["m"]

    @property
    def back_since(self) -> float:
        return self.fleet.live("a").recovered_at


def test_a_breaker_that_closes_after_its_tests_means_a_slow_start() -> None:
    wired = Wired()
    wired.learning.breaker_changed("a", BreakerState.HALF_OPEN, BreakerState.CLOSED)
    assert wired.back_since == 50.0
    assert wired.pair.failures == 0.0


def test_other_changes_of_a_breaker_mean_nothing() -> None:
    wired = Wired()
    wired.learning.breaker_changed("a", BreakerState.CLOSED, BreakerState.OPEN)
    wired.learning.breaker_changed("a", BreakerState.OPEN, BreakerState.CLOSED)
    wired.learning.breaker_changed("gone", BreakerState.HALF_OPEN, BreakerState.CLOSED)
    assert wired.back_since < 0.0
    assert wired.pair.failures == 1.0


def test_a_backend_that_health_checks_find_again_starts_slowly() -> None:
    wired = Wired()
    wired.fleet.set_status("a", BackendStatus.HEALTHY)
    assert wired.back_since < 0.0
    wired.fleet.set_status("a", BackendStatus.UNHEALTHY)
    wired.fleet.set_status("a", BackendStatus.HEALTHY)
    assert wired.back_since == 50.0


def test_a_forgiven_model_starts_slowly() -> None:
    wired = Wired()
    wired.learning.forgiven("a", "m")
    wired.learning.forgiven("gone", "m")
    assert wired.back_since == 50.0
    assert wired.pair.failures == 0.0


def test_removed_backends_leave_nothing() -> None:
    wired = Wired()
    shared = wired.pair.model
    kept = wired.pair
    wired.fleet.remove("b")
    assert shared.pairs == [kept]

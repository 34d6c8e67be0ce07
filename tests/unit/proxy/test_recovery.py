"""Gates for what the hourly rule excludes: put up, tested, taken away."""

import random
from typing import Any

from msgspec.structs import replace

from nexus.config.model import QualitySettings
from nexus.core.backend import Backend, ModelInfo
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.core.live import BackendLive, SpendMeter
from nexus.core.quality import AgentQualityMetrics, QualityView
from nexus.proxy.recovery import Recovery
from nexus.resilience import CircuitBreakerConfig
from nexus.testing import ManualClock


class Rig:
    """One backend with the model `m`, whose judged error rate the test sets."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.published = 0
        self.forgiven: list[tuple[str, str]] = []
        backend = Backend("a", "a", "http://a")
        self.view = BackendView(backend, BackendStatus.HEALTHY, {"m": ModelInfo("m")}, BackendLive())
        self.judge(0.0)
        self.gate = CircuitBreakerConfig(
            success_threshold=2, timeout_seconds=8.0, first_timeout_seconds=2.0, jitter=0.0
        )
        self.recovery = Recovery(
            fleet=self,
            forgive=lambda backend_id, model: self.forgiven.append((backend_id, model)),
            quality=QualitySettings(**settings),
            gate=self.gate,
            clock=self.clock,
            rng=random.Random(1),
        )

    def judge(self, rate: float) -> None:
        """Publish this error rate, on twenty outcomes."""
        figures = QualityView(AgentQualityMetrics(error_rate_1h=rate, request_count_1h=20), rate, 20)
        self.view = replace(self.view, quality=figures)
        self.snapshot = FleetSnapshot(1, (self.view,), {"m": (self.view,)}, SpendMeter())

    def publish(self) -> FleetSnapshot:
        self.published += 1
        return self.snapshot


def test_a_pair_over_the_threshold_gets_a_gate_that_tests_close():
    rig = Rig()
    rig.recovery.review()
    assert rig.view.live.gates == {}
    rig.judge(0.6)
    rig.recovery.review()
    gate = rig.view.live.gates["m"]
    rig.recovery.review()
    assert rig.view.live.gates["m"] is gate
    assert not gate.permits()
    rig.clock.advance(2.0)
    for _ in range(2):
        assert gate.allow()
        gate.record_success()
    assert rig.view.live.gates == {}
    assert rig.forgiven == [("a", "m")]
    assert rig.published == 1


def test_a_gate_goes_when_the_failures_have_aged_out():
    rig = Rig()
    rig.judge(0.6)
    rig.recovery.review()
    rig.judge(0.1)
    rig.recovery.review()
    assert rig.view.live.gates == {}
    assert rig.forgiven == []


def test_without_probes_or_quality_there_are_no_gates():
    for settings in ({"recovery": "window"}, {"enabled": False}):
        rig = Rig(**settings)
        rig.judge(0.9)
        rig.recovery.review()
        assert rig.view.live.gates == {}


def test_new_settings_hold_at_once():
    """Gates that are not used any more go; a lower threshold puts some up."""
    rig = Rig()
    rig.judge(0.3)
    rig.recovery.configure(QualitySettings(error_rate_threshold=0.2), rig.gate)
    rig.recovery.review()
    assert set(rig.view.live.gates) == {"m"}
    rig.recovery.configure(QualitySettings(recovery="window"), rig.gate)
    assert rig.view.live.gates == {}


def test_a_gate_of_a_backend_that_is_gone_closes_without_harm():
    rig = Rig()
    rig.judge(0.6)
    rig.recovery.review()
    gate = rig.view.live.gates["m"]
    rig.snapshot = FleetSnapshot(2, (), {}, SpendMeter())
    rig.clock.advance(2.0)
    for _ in range(2):
        assert gate.allow()
        gate.record_success()
    assert rig.forgiven == [("a", "m")]

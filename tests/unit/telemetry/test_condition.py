"""The state that is shown of a backend is what routing does with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.config.model import QualitySettings
from nexus.core.decision import Decision
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.resilience import CircuitBreaker, CircuitBreakerConfig
from nexus.telemetry.condition import Condition, QualityState, breaker_word, fleet_conditions
from nexus.testing import ManualClock
from tests.unit.routing.fleets import NOW, FixedGate, decide, figures, fleet, serve

INCLUDE = QualitySettings()
REJECT = QualitySettings(on_all_degraded="reject")
OPEN = FixedGate(wait=12.0)
TESTING = FixedGate(permits=True)


def overall(snapshot: FleetSnapshot, settings: QualitySettings = INCLUDE) -> dict[str, Condition]:
    conditions = fleet_conditions(snapshot, settings, NOW)
    return {backend_id: each.overall for backend_id, each in conditions.items()}


def states(snapshot: FleetSnapshot, settings: QualitySettings = INCLUDE) -> dict[str, str]:
    return {backend_id: each.state.value for backend_id, each in overall(snapshot, settings).items()}


def test_without_history_all_is_well():
    """A new backend is innocent."""
    assert overall(fleet(serve("a"))) == {"a": Condition(QualityState.OK)}


def test_over_the_threshold_beside_a_sound_one_is_excluded_with_the_reason():
    """In the words that the client gets too."""
    conditions = overall(fleet(serve("bad", rate=0.75), serve("good", rate=0.1)))
    assert conditions["good"] == Condition(QualityState.OK)
    assert conditions["bad"] == Condition(QualityState.EXCLUDED, "Error rate 75.0% exceeds threshold 50.0%")


def test_when_all_are_over_the_threshold_they_are_degraded_or_excluded_as_configured():
    """`include` goes on using them."""
    snapshot = fleet(serve("a", rate=0.75), serve("b", rate=0.9))
    assert states(snapshot) == {"a": "degraded", "b": "degraded"}
    assert states(snapshot, REJECT) == {"a": "excluded", "b": "excluded"}


def test_a_sound_backend_that_is_down_is_no_alternative():
    """The degraded one has to serve."""
    down = serve("good", rate=0.0, status=BackendStatus.UNHEALTHY)
    assert states(fleet(serve("bad", rate=0.75), down))["bad"] == "degraded"
    throttled = serve("good", rate=0.0, blocked_until=NOW + 1)
    assert states(fleet(serve("bad", rate=0.75), throttled))["bad"] == "degraded"


def test_with_quality_switched_off_it_is_degraded_but_used():
    """The figures are shown, they just decide nothing."""
    snapshot = fleet(serve("bad", rate=0.75), serve("good"))
    assert states(snapshot, QualitySettings(enabled=False)) == {"bad": "degraded", "good": "ok"}


@pytest.mark.parametrize(
    ("gate", "state"),
    [(OPEN, "excluded"), (TESTING, "probing"), (FixedGate(is_closed=True), "ok")],
)
def test_the_gate_of_a_recovering_backend_decides(gate, state):
    """Its old failures still make the rate, but the tests say how it is now."""
    snapshot = fleet(serve("bad", rate=0.75, gate=gate), serve("good"))
    assert states(snapshot)["bad"] == state
    assert states(snapshot, QualitySettings(recovery="window"))["bad"] == "excluded"


@pytest.mark.parametrize(("breaker", "state"), [(OPEN, "excluded"), (TESTING, "probing")])
def test_a_breaker_that_is_not_closed_shows(breaker, state):
    """The reason says when the backend is tested."""
    condition = overall(fleet(serve("bad", breaker=breaker), serve("good")))["bad"]
    assert condition.state.value == state
    expected = "Circuit breaker is open, it is tested in 12.0 s" if state == "excluded" else None
    assert condition.excluded_reason == expected


def test_when_every_breaker_is_open_they_are_tried_all_the_same():
    """Under `include`; under `reject` nobody is."""
    snapshot = fleet(serve("a", breaker=OPEN), serve("b", breaker=OPEN))
    assert states(snapshot) == {"a": "degraded", "b": "degraded"}
    assert states(snapshot, REJECT) == {"a": "excluded", "b": "excluded"}


def test_an_open_breaker_is_not_tried_beside_a_backend_over_the_threshold():
    """One of the two can be used, so the other one is not."""
    snapshot = fleet(serve("a", breaker=OPEN), serve("b", rate=0.9))
    assert states(snapshot) == {"a": "excluded", "b": "degraded"}


def test_models_are_judged_on_their_own():
    """A pair with enough outcomes counts before the roll-up, and the whole follows the roll-up."""
    mixed = serve("x", "m n", rate=0.2, pairs={"m": figures(0.9)})
    conditions = fleet_conditions(fleet(mixed, serve("good", "m n")), INCLUDE, NOW)["x"]
    assert conditions.models["m"].state is QualityState.EXCLUDED
    assert conditions.models["m"].excluded_reason == "Error rate 90.0% exceeds threshold 50.0%"
    assert conditions.models["n"].state is QualityState.OK
    assert conditions.overall.state is QualityState.OK
    worse = serve("x", "m n", rate=0.7, pairs={"m": figures(0.9), "n": figures(0.1)})
    assert states(fleet(worse, serve("good", "m n")))["x"] == "degraded"


def test_excluded_for_one_model_and_tested_for_another_is_probing():
    """Being tested is the news."""
    view = serve("x", "m n", rate=0.9)
    view.live.gates = {"m": OPEN, "n": TESTING}
    assert states(fleet(view, serve("good", "m n")))["x"] == "probing"


def test_excluded_for_one_model_and_needed_for_another_is_degraded():
    """It is used, if only for one of them."""
    view = serve("x", "m n", rate=0.9)
    assert states(fleet(view, serve("good", "m")))["x"] == "degraded"


def test_a_backend_without_models_is_judged_by_its_roll_up():
    """There is nothing else to judge it by."""
    assert states(fleet(serve("x", "", rate=0.9), serve("y", "")), REJECT) == {"x": "excluded", "y": "ok"}


def test_the_words_of_a_real_breaker():
    """Closed, open, then half-open once the wait is over, even while a test is under way."""
    clock = ManualClock()
    config = CircuitBreakerConfig(failure_threshold=1, timeout_seconds=10)
    breaker = CircuitBreaker(config, clock=clock)
    assert breaker_word(breaker) == "closed"
    breaker.record_failure()
    assert breaker_word(breaker) == "open"
    clock.advance(10)
    assert breaker_word(breaker) == "half_open"
    assert breaker.allow()
    assert not breaker.permits()
    assert breaker_word(breaker) == "half_open"


def test_a_gate_that_does_not_say_its_state_is_known_by_what_it_lets_through():
    """And no gate at all is a closed one."""
    words = [breaker_word(gate) for gate in (None, FixedGate(is_closed=True), TESTING, OPEN)]
    assert words == ["closed", "closed", "half_open", "open"]


gates = st.sampled_from([None, OPEN, TESTING, FixedGate(is_closed=True)])


@st.composite
def backends(draw: st.DrawFn, backend_id: str) -> BackendView:
    return serve(
        backend_id,
        rate=draw(st.sampled_from([None, 0.0, 0.3, 0.5, 0.9])),
        gate=draw(gates),
        breaker=draw(gates),
    )


def seen(decision: Decision, backend_id: str) -> QualityState:
    """What the decision did with a backend."""
    for candidate in decision.candidates:
        if candidate.view.backend.id == backend_id:
            if candidate.probe:
                return QualityState.PROBING
            return QualityState.DEGRADED if candidate.degraded else QualityState.OK
    return QualityState.EXCLUDED


@given(
    views=st.tuples(backends("a"), backends("b"), backends("c")),
    settings=st.builds(
        QualitySettings,
        on_all_degraded=st.sampled_from(["include", "reject"]),
        recovery=st.sampled_from(["probe", "window"]),
    ),
    seed=st.integers(0, 3),
)
def test_what_is_shown_as_excluded_is_not_routed_to(views, settings, seed):
    """For any fleet: `ok` is a plain candidate, `excluded` is none."""
    snapshot = fleet(*views)
    decision = decide(snapshot, quality=settings, seed=seed)
    shown = states(snapshot, settings)
    actual = {view.backend.id: seen(decision, view.backend.id).value for view in views}
    for backend_id, state in shown.items():
        if state in ("ok", "excluded"):
            assert actual[backend_id] == state, (shown, actual)
        else:
            assert actual[backend_id] != "ok", (shown, actual)

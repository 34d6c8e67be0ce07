"""The routing bench measures what it says: its time, its servers, its figures, and what it prints."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.routing_sim import __main__ as command
from bench.routing_sim import plots, report, runner
from bench.routing_sim.ablation import ablate, ablation_markdown
from bench.routing_sim.engine import Engine
from bench.routing_sim.measures import FAILURE_PENALTY_SECONDS, RunFigures, Tally, combine, run_figures
from bench.routing_sim.scenarios import SCENARIOS, Fault, Harm, Scenario
from bench.routing_sim.servers import Job, SimBackend
from bench.routing_sim.trace import base_rate, make_trace, mean_service_seconds
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.outcome import FailureKind

KEYS = {
    "success",
    "wasted_per_request",
    "ttft_p50_s",
    "ttft_p99_s",
    "time_to_exclude_s",
    "time_to_recover_s",
    "regret_s",
}
PREFILL = 0.15 + 0.0006 * 1000
DECODE = 50 * 0.02


class Heard:
    """A sink that writes down what it hears and when."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[tuple[Any, ...]] = []

    def first_token(self) -> None:
        self.events.append((round(self.engine.now, 6), "token"))

    def finished(self) -> None:
        self.events.append((round(self.engine.now, 6), "end"))

    def failed(self, kind: FailureKind, status: int, retry_after: float | None) -> None:
        self.events.append((round(self.engine.now, 6), kind.value, status, retry_after))


def one_backend(*faults: Fault, slots: int = 1) -> tuple[Engine, SimBackend]:
    engine = Engine()
    scenario = Scenario("T", "test", slots=(slots,), speeds=(1.0,), faults=faults)
    return engine, SimBackend(0, engine, scenario)


def send(engine: Engine, backend: SimBackend, luck: float = 0.5) -> tuple[Heard, Job]:
    heard = Heard(engine)
    job = Job(1000, 50, luck, 1.0, heard)
    backend.submit(job)
    return heard, job


def test_things_happen_in_the_order_of_their_time_then_of_their_asking():
    engine = Engine()
    seen: list[str] = []
    for moment, mark in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (9.0, "late")):
        engine.at(moment, seen.append, mark)
    engine.run(5.0)
    assert seen == ["a", "b", "c"]
    assert engine.monotonic() == 5.0


def test_regular_work_ends_at_its_end():
    engine, turns = Engine(), []
    engine.every(2.0, lambda: turns.append(engine.now), 7.0)
    engine.run(100.0)
    assert turns == [2.0, 4.0, 6.0]


async def test_the_simulated_clock_lets_nothing_block():
    with pytest.raises(RuntimeError, match="block for 1"):
        Engine().sleep(1)
    with pytest.raises(RuntimeError, match="event loop"):
        await Engine().sleep_async(1)


def test_a_trace_is_its_seeds_and_has_the_rate_it_should():
    scenario = SCENARIOS["S1"]
    first, again, other = make_trace(scenario, 1), make_trace(scenario, 1), make_trace(scenario, 2)
    assert first == again
    assert first != other
    assert len(first) == pytest.approx(600 * base_rate(scenario, 0.6), rel=0.05)
    tokens = sum(0.0006 * each.prompt_tokens + 0.02 * each.output_tokens for each in first) / len(first)
    assert 0.15 + tokens == pytest.approx(mean_service_seconds(), rel=0.05)


def test_a_burst_raises_the_rate_while_it_lasts():
    moments = [each.moment for each in make_trace(SCENARIOS["S8"], 1)]
    inside = sum(200 <= moment < 260 for moment in moments) / 60
    before = sum(100 <= moment < 160 for moment in moments) / 60
    assert inside / before == pytest.approx(1.05 / 0.6, rel=0.15)


def test_a_request_waits_for_a_slot_then_for_its_prompt_then_for_its_tokens():
    engine, backend = one_backend()
    first, _ = send(engine, backend)
    second, _ = send(engine, backend)
    assert backend.wait_seconds() == pytest.approx(2 * (PREFILL + DECODE))
    engine.run(60.0)
    whole = PREFILL + DECODE
    assert first.events == [(pytest.approx(PREFILL), "token"), (pytest.approx(whole), "end")]
    assert second.events == [(pytest.approx(whole + PREFILL), "token"), (pytest.approx(2 * whole), "end")]


def test_a_cancelled_request_frees_its_slot_and_is_not_heard_of_again():
    engine, backend = one_backend()
    first, job = send(engine, backend)
    second, _ = send(engine, backend)
    engine.run(0.1)
    backend.cancel(job)
    engine.run(60.0)
    assert first.events == []
    assert second.events[0] == (pytest.approx(0.1 + PREFILL), "token")


@pytest.mark.parametrize(
    ("fault", "event"),
    [
        (Fault(Harm.DOWN, (0,), 0, 9), (0.002, "connect", 0, None)),
        (Fault(Harm.ERROR, (0,), 0, 9, seconds=0.5), (0.5, "server_error", 500, None)),
        (Fault(Harm.COSTLY, (0,), 0, 9, seconds=4.0), (4.0, "server_error", 500, None)),
        (Fault(Harm.GRAY, (0,), 0, 9), (0.75, "empty", 200, None)),
        (
            Fault(Harm.THROTTLE, (0,), 0, 9, rate=1.0, burst=0.0, seconds=3.0),
            (0.002, "server_error", 429, 3.0),
        ),
    ],
)
def test_every_harm_shows_as_itself(fault, event):
    engine, backend = one_backend(fault)
    engine.run(0.0)
    heard, _ = send(engine, backend)
    engine.run(60.0)
    assert heard.events == [event]


def test_a_hanging_backend_says_nothing():
    engine, backend = one_backend(Fault(Harm.HANG, (0,), 0, 9))
    heard, _ = send(engine, backend)
    engine.run(600.0)
    assert heard.events == []
    assert not backend.queue


def test_luck_decides_whom_a_partial_fault_hits():
    fault = Fault(Harm.ERROR, (0,), 0, 9, share=0.4, seconds=0.1)
    engine, backend = one_backend(fault)
    assert backend.error_share() == (0.4, 0.1)
    hit, _ = send(engine, backend, luck=0.39)
    spared, _ = send(engine, backend, luck=0.4)
    engine.run(60.0)
    assert [event[1] for event in hit.events] == ["server_error"]
    assert [event[1] for event in spared.events] == ["token", "end"]


def test_going_down_resets_what_is_in_flight_and_refuses_probes():
    engine, backend = one_backend(Fault(Harm.DOWN, (0,), 1.0, 9.0))
    running, _ = send(engine, backend)
    waiting, _ = send(engine, backend)
    engine.run(2.0)
    assert running.events[-1] == (1.0, "reset", 0, None)
    assert waiting.events == [(1.0, "reset", 0, None)]
    assert not backend.answers
    assert (backend.spoiled_at, backend.busy) == (1.0, 0)


def test_a_drift_makes_prompts_slower_up_to_its_factor():
    engine, backend = one_backend(Fault(Harm.SLOW, (0,), 0, 100, seconds=50, factor=8.0))
    assert backend.prefill_seconds(1000) == pytest.approx(PREFILL)
    engine.run(25.0)
    assert backend.prefill_seconds(1000) == pytest.approx(PREFILL * 4.5)
    engine.run(80.0)
    assert backend.prefill_seconds(1000) == pytest.approx(PREFILL * 8)


def test_flapping_is_on_in_the_first_half_of_each_period():
    fault = Fault(Harm.ERROR, (0,), 60, 540, period=20)
    assert [fault.active(moment) for moment in (59, 60, 69.9, 70, 79.9, 80, 540)] == [
        False,
        True,
        True,
        False,
        False,
        True,
        False,
    ]


FOCUSED = Scenario("T", "test", focus=(0,), fault_start=100.0, fault_end=200.0)


def tallied(focus_times: list[float]) -> Tally:
    """Ten attempts per second for everybody; the focus gets these."""
    tally = Tally(FOCUSED)
    every = [(moment / 10, 1) for moment in range(6000)] + [(moment, 0) for moment in focus_times]
    for moment, backend in sorted(every):
        tally.sent(backend, moment)
    return tally


def test_exclusion_counts_from_the_first_spoiled_attempt_to_when_the_focus_gets_next_to_nothing():
    usual = [moment / 2 for moment in range(200)]
    tally = tallied([*usual, 100.0, 100.5, 101.0, 101.5, *(200.0 + each / 2 for each in range(800))])
    figures = run_figures(tally, FOCUSED, [], 100.0)
    assert figures.time_to_exclude_s == pytest.approx(1.0), "one of about a hundred may still follow"
    assert figures.time_to_recover_s == pytest.approx(0.0)


def test_who_never_excludes_or_never_recovers_is_counted_to_the_end():
    never_out = tallied([moment / 2 for moment in range(1200)])
    assert run_figures(never_out, FOCUSED, [], 100.0).time_to_exclude_s == pytest.approx(100.0)
    never_back = tallied([moment / 2 for moment in range(200)])
    assert run_figures(never_back, FOCUSED, [], 100.0).time_to_recover_s == pytest.approx(400.0)


def test_without_a_focus_nothing_is_timed():
    scenario = replace(FOCUSED, focus=())
    figures = run_figures(Tally(scenario), scenario, [], None)
    assert (figures.time_to_exclude_s, figures.time_to_recover_s) == (None, None)


def test_a_request_without_an_end_is_an_error_of_the_simulation():
    arrivals = make_trace(SCENARIOS["S12"], 1)
    with pytest.raises(RuntimeError, match="have no end"):
        run_figures(Tally(FOCUSED), FOCUSED, arrivals, None)


def test_a_lost_request_costs_its_time_and_the_penalty():
    arrival = make_trace(SCENARIOS["S12"], 1)[0]
    tally = Tally(FOCUSED)
    tally.lost(arrival, 3.0)
    assert run_figures(tally, FOCUSED, [arrival], None).cost == 3.0 + FAILURE_PENALTY_SECONDS


def test_regret_is_the_mean_cost_over_the_oracles_seed_by_seed():
    def figures(cost: float) -> RunFigures:
        return RunFigures(4, 2, 1, cost, [1.0, 2.0, 3.0], 5.0, None)

    both = combine([figures(8.0), figures(16.0)], [figures(4.0), figures(4.0)])
    assert both.regret_by_seed == [1.0, 3.0]
    assert both.regret_s == 2.0
    assert (both.success, both.wasted_per_request, both.focus_wasted_per_request) == (0.75, 0.5, 0.25)
    assert (both.ttft_p50_s, both.ttft_p99_s) == (2.0, 3.0)
    assert (both.time_to_exclude_s, both.time_to_recover_s) == (5.0, None)


@pytest.fixture(scope="module")
def quiet():
    """The scenario with the fewest requests, every policy."""
    return {"S12": runner.compare(SCENARIOS["S12"], [1], runner.POLICIES)}


def test_every_policy_answers_what_can_be_answered(quiet):
    for policy, figures in quiet["S12"].items():
        assert figures.success > 0.9, policy
        assert figures.ttft_p50_s > 0.15, policy
    assert quiet["S12"]["oracle"].regret_s == 0.0


@pytest.mark.parametrize("policy", ["expected_time", "prequal"])
def test_a_run_repeats_itself(policy):
    scenario = SCENARIOS["S12"]
    one, two = (runner.run(policy, scenario, 7, make_trace(scenario, 7), replicas=2) for _ in range(2))
    assert one == two


def test_a_backend_that_hangs_is_answered_for_by_the_others():
    scenario = SCENARIOS["S10"]
    figures = runner.run("expected_time", scenario, 1, make_trace(scenario, 1), replicas=1)
    assert len(figures.ttfts) == figures.requests
    assert figures.wasted, "nothing hung: the test shows nothing"


def test_the_json_has_the_promised_keys(quiet):
    document = json.loads(json.dumps(report.as_json(quiet, [1], 1)))
    assert document["seeds"] == [1]
    assert set(document["mean_regret"]) == set(runner.POLICIES)
    assert set(document["scenarios"]["S12"]["smart"]) == KEYS


def test_the_published_figures_have_the_promised_form():
    path = Path(__file__).resolve().parents[3] / "bench" / "results" / "routing.json"
    document = json.loads(path.read_bytes())
    assert set(document["mean_regret"]) == set(runner.POLICIES)
    assert list(document["scenarios"]) == list(SCENARIOS)
    assert min(document["mean_regret"], key=lambda policy: abs(document["mean_regret"][policy])) == "oracle"
    for by_policy in document["scenarios"].values():
        assert set(by_policy) == set(runner.POLICIES)
        assert all(set(entry) == KEYS for entry in by_policy.values())


def test_markdown_leaves_out_what_no_policy_has(quiet):
    text = report.markdown(quiet)
    assert "regret, s per request" in text
    assert "time to exclude" not in text
    assert all(policy in text for policy in runner.POLICIES)


def test_charts_are_well_formed_and_have_a_bar_per_policy(quiet, tmp_path):
    written = plots.write_plots(quiet, tmp_path, "routing")
    assert [path.name for path in written] == [
        "routing-regret.svg",
        "routing-latency.svg",
        "routing-wasted.svg",
        "routing-recovery.svg",
    ]
    root = ET.parse(tmp_path / "routing-latency.svg").getroot()
    bars = [each for each in root.iter() if each.tag.endswith("rect") and len(each)]
    assert len(bars) == len(runner.POLICIES) - 1, "the oracle has no bar"


def test_the_command_writes_what_it_is_asked_for(tmp_path, capsys):
    path = tmp_path / "made" / "figures.json"
    arguments = ["--seeds", "3", "--scenarios", "S12", "--policies", "smart,oracle"]
    code = command.main(
        [*arguments, "--json", str(path), "--markdown", str(tmp_path / "t.md"), "--plots", str(tmp_path)]
    )
    assert code == 0
    assert list(json.loads(path.read_bytes())["scenarios"]) == ["S12"]
    assert "S12 a blip at 0.15 rps" in capsys.readouterr().out
    assert (tmp_path / "t.md").exists()
    assert (tmp_path / "routing-regret.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "one"], "'one' is no list of whole numbers, such as 1,2,3"),
        (["--scenarios", "S1,S99"], "'S99' is unknown; known: S1, S2"),
        (["--policies", "luck"], "'luck' is unknown; known: expected_time"),
        (["--replicas", "0"], "'0' is no whole number above 0"),
        (["--jobs", "x"], "'x' is no whole number above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_ablation_changes_one_constant_at_a_time():
    changed = runner.tuned("exact_up_to", 0.5).tuning
    assert changed.exact_up_to == ExpectedTimeSettings().exact_up_to // 2
    assert changed.failure_cost == ExpectedTimeSettings().failure_cost
    assert runner.tuned().tuning == ExpectedTimeSettings()


def test_the_ablation_has_a_row_per_constant(monkeypatch):
    monkeypatch.setattr("bench.routing_sim.ablation.names", lambda: ["noise", "failure_cost"])
    rows = ablate(["S12"], [1])
    assert [row.name for row in rows] == ["noise", "failure_cost"]
    text = ablation_markdown(rows)
    assert text.startswith("| constant | value |")
    assert "| `failure_cost` | 20 |" in text

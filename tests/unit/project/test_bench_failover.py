"""The failover bench says what clients saw: its backends fail as told, and its figures count it right."""

import tomllib

import pytest

from bench import failover, failover_subjects
from bench.failover_backends import LAST_WORD, Backends, Throttled, sound
from bench.failover_client import End, Seen, ask, backend_of, end_of
from bench.failover_figures import Figures, complaints, figures, markdown
from bench.failover_scenarios import BACKENDS, SCENARIOS, Change, Harm
from nexus.testing.wire import Head, ReceivedRequest

REQUEST = ReceivedRequest("POST", "/v1/chat/completions", "", {}, b'{"model":"m"}', 1)


def seen(at: float, backend: int = 0, end: End = End.WHOLE, ttft: float = 0.05) -> Seen:
    return Seen(at, end, ttft if end is End.WHOLE else 0.0, backend if end is not End.FAILED else -1)


def test_every_scenario_ends_what_it_begins():
    for scenario in SCENARIOS.values():
        wrong: dict[int, Harm] = {}
        for change in sorted(scenario.changes, key=lambda each: each.at):
            wrong.update(dict.fromkeys(change.backends, change.harm))
        assert set(wrong.values()) == {Harm.NONE}, scenario.name
        assert scenario.changes[-1].at < scenario.seconds
    assert list(SCENARIOS) == ["S1", "S2", "S4", "S6", "S10", "S13"]


def test_requests_arrive_at_the_same_moments_for_the_same_seed():
    scenario = SCENARIOS["S1"]
    first = failover.moments(scenario, 50.0, 1)
    assert first == failover.moments(scenario, 50.0, 1)
    assert first != failover.moments(scenario, 50.0, 2)
    assert len(first) == pytest.approx(50 * scenario.seconds, rel=0.15)
    assert 0 < first[0] < first[-1] < scenario.seconds


@pytest.mark.parametrize(
    ("text", "late", "end", "backend"),
    [
        (f"backend 3 answers you {LAST_WORD}", False, End.WHOLE, 3),
        ("backend 3 ans", False, End.CUT, 3),
        ("backend", False, End.CUT, -1),
        ("", False, End.FAILED, -1),
        ("", True, End.LATE, -1),
        ("backend 4 ", True, End.LATE, 4),
    ],
)
def test_an_answer_is_judged_by_what_came(text, late, end, backend):
    assert end_of(text, late=late) is end
    assert backend_of(text) == backend


def test_a_throttled_backend_answers_a_burst_and_refuses_the_rest():
    throttled = Throttled(sound(0))
    heads = [
        next(step for step in throttled.steps(REQUEST) if isinstance(step, Head)).status for _ in range(6)
    ]
    assert heads == [200, 200, 200, 200, 429, 429]


async def test_the_backends_fail_as_they_are_told():
    with Backends(1) as backends:
        (fleet,) = backends.fleets
        assert len(fleet) == BACKENDS
        port = int(fleet[2].rpartition(":")[2])
        whole = await ask(port, 0.0)
        assert (whole.end, whole.backend) == (End.WHOLE, 2)
        assert whole.ttft > 0.04
        for harm, ends in ((Harm.ERROR, {End.FAILED}), (Harm.DOWN, {End.FAILED}), (Harm.NONE, {End.WHOLE})):
            backends.change(Change(0.0, harm, (2,)))
            for _ in range(200):
                last = await ask(port, 0.0)
                if last.end in ends:
                    break
            assert last.end in ends, harm


def test_failures_and_times_are_counted():
    found = figures(
        [seen(1, ttft=0.1), seen(2, ttft=0.3), seen(3, end=End.CUT), seen(4, end=End.FAILED)], SCENARIOS["S4"]
    )
    assert (found.requests, found.failures, found.cut, found.avoidable) == (4, 2, 1, 1)
    assert (found.failure_share, found.ttft_p50_s, found.ttft_p99_s) == (0.5, 0.3, 0.3)
    assert found.time_to_recover_s is None
    assert figures([], SCENARIOS["S4"]).failure_share == 0.0


def test_a_backend_is_back_once_it_has_half_of_its_share_again():
    scenario = SCENARIOS["S1"]
    others = [seen(moment / 10, backend=0) for moment in range(200)]
    back = [seen(moment / 2, backend=2) for moment in range(22, 40)]
    assert figures([*others, *back], scenario).time_to_recover_s == pytest.approx(3.0)
    assert figures(others, scenario).time_to_recover_s == scenario.seconds - scenario.fault_end


def made(failures: int, cut: int = 0) -> Figures:
    return Figures(100, failures, cut, failures / 100, 0.05, 0.1, None)


def test_the_gateway_must_not_be_behind_a_peer():
    assert complaints({"S4": {"nexus": made(1), "litellm": made(1), "vllm-router": made(2)}}) == []
    (one,) = complaints({"S4": {"nexus": made(2), "litellm": made(1), "vllm-router": made(2)}})
    assert one == "S4: 2 failures, litellm has 1"
    assert complaints({"S4": {"litellm": made(1)}}) == []


def test_where_healthy_backends_are_left_only_begun_answers_may_break():
    assert complaints({"S1": {"nexus": made(2, cut=2)}}) == []
    (one,) = complaints({"S1": {"nexus": made(2, cut=1)}})
    assert "1 failures that a healthy backend could have avoided" in one


def test_the_table_has_a_row_per_gateway():
    lines = markdown({"S1": {"nexus": made(2), "litellm": made(3)}}).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| S1 hard down | nexus | 2 of 100 (2.0 %) |")


def test_the_gateway_is_configured_as_shipped_but_for_the_time_limit():
    settings = tomllib.loads(
        failover_subjects.nexus_config(8000, ["http://127.0.0.1:1", "http://127.0.0.1:2"])
    )
    assert settings["timeouts"] == {"first_token_seconds": failover_subjects.ANSWER_SECONDS}
    assert [each["url"] for each in settings["backends"]] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert set(settings) == {"server", "discovery", "logging", "timeouts", "backends"}


def test_an_unknown_scenario_is_refused_in_words(capsys):
    with pytest.raises(SystemExit) as stopped:
        failover.main(["--scenarios", "S99"])
    assert stopped.value.code == 2
    assert "'S99' is unknown; known: S1, S2, S4, S6, S10, S13" in capsys.readouterr().err

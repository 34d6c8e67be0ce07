"""The demo's story moves on what the gateway publishes, and the views show it."""

import io
import json
from collections.abc import Mapping
from typing import Any, Self

import pytest
from click.testing import CliRunner
from rich.console import Console

from nexus.cli import demo as demo_module
from nexus.cli.demo import demo, in_words, play, summary
from nexus.cli.demo_fleet import configuration
from nexus.cli.demo_story import AFTERMATH_SECONDS, SHOWN_SECONDS, Phase, Story, standings
from nexus.cli.demo_traffic import Served, Traffic
from nexus.cli.demo_view import LineView, LiveView, request_line
from nexus.testing import (
    Answer,
    FaultyBackend,
    ManualClock,
    ModelUnavailableError,
    Page,
    Reset,
    Status,
    Where,
)

REASON = "Error rate 60.0% exceeds threshold 50.0%"


def stats(state: str = "ok", breaker: str = "closed", reason: str | None = None) -> Mapping[str, Any]:
    quality = {"state": state, "error_rate_1h": 0.6, "avg_ttft_ms": 120, "excluded_reason": reason}
    sound = {
        "id": "one",
        "status": "healthy",
        "breaker": "closed",
        "quality": None,
        "requests": 3,
        "pending": 0,
    }
    twin = {"id": "twin", "status": "healthy", "breaker": breaker, "quality": quality, "requests": 5}
    return {"backends": [sound, twin]}


def test_the_story_goes_through_its_phases_in_order():
    """Exclusion and recovery come from the figures, the healing and the end from the time shown."""
    healed: list[bool] = []
    story = Story("twin", lambda: healed.append(True))
    out = standings(stats("excluded", reason=REASON))
    assert not story.observe(standings(stats()), 1.0)
    assert story.observe(out, 2.0)
    assert not story.observe(out, 2.0 + SHOWN_SECONDS - 0.1)
    assert healed == []
    assert story.observe(out, 2.0 + SHOWN_SECONDS)
    assert healed == [True]
    assert not story.observe(standings(stats("probing")), 9.0)
    assert story.observe(standings(stats()), 10.0)
    assert story.observe(standings(stats()), 10.0 + AFTERMATH_SECONDS)
    assert story.over
    assert list(story.began) == list(Phase)
    assert story.reason == REASON


def test_an_open_breaker_is_out_too():
    """The fast path may be quicker than the hourly rate."""
    story = Story("twin", lambda: None)
    assert story.observe(standings(stats(breaker="open")), 1.0)
    assert story.phase is Phase.EXCLUDED


def test_without_the_twin_there_is_no_story():
    """A gateway that has not found it yet changes nothing."""
    assert not Story("twin", lambda: None).observe((), 1.0)


def test_a_backend_without_history_has_no_figures():
    """Absent figures stay absent in the table."""
    one, twin = standings(stats())
    assert (one.state, one.error_rate, one.avg_ttft_ms) == ("-", None, None)
    assert (twin.state, twin.error_rate, twin.avg_ttft_ms) == ("ok", 0.6, 120)


GOOD = Served(2, True, 200, "one", "2", "failover", 81.6, 240.2, "Hello\x1b[31m there")
BAD = Served(1, False, 0, "", "", "", None, 3.0, "")


def test_lines_tell_each_request_and_change_once():
    """Nothing is repeated, whatever order the answers came in."""
    lines: list[str] = []
    with LineView(lines.append) as view:
        view.show(Phase.WARM_UP, 0.5, standings(stats()), (GOOD,))
        view.show(Phase.EXCLUDED, 1.5, standings(stats("excluded", reason=REASON)), (GOOD, BAD))
        view.show(Phase.EXCLUDED, 2.0, standings(stats("excluded", reason=REASON)), (GOOD, BAD))
    assert lines[0] == request_line(GOOD)
    assert "one" in lines[0]
    assert "TTFT 82 ms" in lines[0]
    assert "[warm-up]" in lines[1]
    assert "total 3 ms" in lines[2]
    assert lines[3] == f"  1.5 s  twin is now excluded: {REASON}"
    assert "[excluded]" in lines[4]
    assert len(lines) == 5


def test_a_view_without_a_writer_is_silent():
    """For `--json`."""
    with LineView(None) as view:
        view.show(Phase.WARM_UP, 0.5, standings(stats()), (GOOD,))


def test_the_live_picture_has_it_all():
    """Phase, backends with the reason, requests with who served them; no control characters of the model."""
    console = Console(force_terminal=True, width=160, height=60, file=io.StringIO(), record=True)
    with LiveView(console) as view:
        view.show(Phase.EXCLUDED, 7.0, standings(stats("excluded", reason=REASON)), (BAD, GOOD))
    shown = console.export_text()
    for word in ("excluded", REASON, "60.0%", "120 ms", "failover", "82 ms", "Hello?[31m there"):
        assert word in shown, word


def test_traffic_asks_and_measures():
    """Both kinds of request, who served them, the first token of streams, and failures as failures."""
    headers = (("X-Nexus-Backend", "one"), ("X-Nexus-Attempts", "1"), ("X-Nexus-Route-Reason", "round-robin"))
    good = Answer(headers=headers)
    with FaultyBackend(good, models=("smollm2",)) as gateway:
        gateway.script(good, Status(503), good, Page(b"null"), Reset(Where.BEFORE_HEAD), then=good)
        with Traffic(gateway.url, "smollm2", ManualClock(), clients=1) as traffic:
            gateway.wait_until(lambda server: len(server.posts) >= 8)
        recent = traffic.recent
        assert {request.model for request in gateway.posts} == {"smollm2"}
    assert [answer.good for answer in recent[:6]] == [True, False, True, False, False, True]
    assert [answer.status for answer in recent[:5]] == [200, 503, 200, 200, 0]
    assert [answer.stream for answer in recent[:4]] == [True, False, False, True]
    assert recent[0].ttft_ms == 0.0
    assert recent[0].reason == "round-robin"
    assert recent[2].ttft_ms is None
    assert traffic.total == len(recent)
    assert traffic.failed == 3
    assert traffic.by_backend == {"one": traffic.total - 3}


def test_a_cut_stream_is_a_failure():
    """Without [DONE] the answer is not whole; an error event has no text."""
    error = b'data: {"error":{"message":"no"}}\n\n: comment\n\ndata: {broken\n\ndata: []\n\n'
    with FaultyBackend(Page(error, "text/event-stream"), models=("m",)) as gateway:
        with Traffic(gateway.url, "m", ManualClock(), clients=1) as traffic:
            gateway.wait_until(lambda server: len(server.posts) >= 1)
        assert traffic.recent[0].status == 0
        assert not traffic.recent[0].good


class ScriptedFleet:
    """Stands for the processes: the twin is excluded at the second look and back after it was healed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.healed = False
        self.looks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def heal(self) -> None:
        self.healed = True

    def stats(self) -> dict[str, Any]:
        self.looks += 1
        out = self.looks > 1 and not self.healed
        return dict(stats("excluded", reason=REASON) if out else stats())


def test_the_play_ends_by_itself():
    """The whole story in virtual time; the summary has every phase."""
    with FaultyBackend(models=("smollm2",)) as gateway:
        fleet: Any = ScriptedFleet(gateway.url)
        story, traffic, elapsed = play(fleet, LineView(None), ManualClock(), 60)
    assert story.over
    assert fleet.healed
    told = summary(story, traffic, elapsed)
    assert list(told["phases"]) == [str(phase) for phase in Phase]
    assert told["excluded_reason"] == REASON
    assert told["recovered"] is True
    words = in_words(told)
    assert REASON in words
    assert "it was back" in words


def test_the_play_ends_at_its_limit():
    """Whatever has happened by then."""
    with FaultyBackend(models=("smollm2",)) as gateway:
        fleet: Any = ScriptedFleet(gateway.url)
        story, traffic, elapsed = play(fleet, LineView(None), ManualClock(), 1)
    assert elapsed == pytest.approx(1.0)
    assert story.phase is Phase.EXCLUDED
    told = summary(story, traffic, elapsed)
    assert told["recovered"] is False
    assert "it was back" not in in_words(told)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_prints_its_summary(monkeypatch, as_json):
    """Lines where there is no terminal; with --json nothing but JSON."""
    monkeypatch.setattr(demo_module, "SystemClock", ManualClock)
    with FaultyBackend(Status(503), models=("smollm2",)) as gateway:
        monkeypatch.setattr(demo_module, "Fleet", lambda: ScriptedFleet(gateway.url))
        result = CliRunner().invoke(demo, ["--json"] if as_json else [], standalone_mode=False)
    assert result.return_value == 1, "no request was answered"
    if as_json:
        assert json.loads(result.stdout)["excluded_reason"] == REASON
    else:
        assert "[recovered]" in result.stdout
        assert f"left out after 0.5 s: {REASON}." in result.stdout


def test_a_missing_model_is_one_message(monkeypatch):
    """What to install, and exit code 1."""

    def unavailable() -> None:
        raise ModelUnavailableError("the real model needs x; install it with: y")

    monkeypatch.setattr(demo_module, "Fleet", unavailable)
    result = CliRunner().invoke(demo, ["--json"])
    assert result.exit_code == 1
    assert "install it with: y" in result.stderr


def test_the_configuration_names_every_backend():
    """Backends in the order given, as llama.cpp servers."""
    toml = configuration({"one": "http://127.0.0.1:1", "two": "http://127.0.0.1:2"})
    assert toml.count("[[backends]]") == 2
    assert toml.index('name = "one"') < toml.index('name = "two"')

"""How the gateway's requests become calls, receipts and files."""

import builtins
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from nexus.app.outcomes import Outcomes
from nexus.config.model import Config, LedgerSettings, OutcomeSettings
from nexus.core.choice import RankedModel
from nexus.core.decision import Decision, Verdict
from nexus.core.outcome import AttemptResult, FailureKind, RequestResult
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Needs, Request, Surface, Task
from nexus.outcomes import InferredOutcome, ModelProfile, open_ledger
from nexus.testing import ManualClock
from tests.unit.telemetry.records import attempt, ended


class Wired:
    """Outcomes in a folder of its own; `seen` are the receipts in the order they came."""

    def __init__(self, folder: Path, *, url: str | None = None, **outcomes: Any) -> None:
        self.url = f"sqlite:///{folder}/nexus.db" if url is None else url
        self.clock = ManualClock(start=100.0)
        self.seen: list[LedgerEntry] = []
        config = Config(
            data_dir=folder, ledger=LedgerSettings(url=self.url), outcomes=OutcomeSettings(**outcomes)
        )
        self.outcomes = Outcomes(config, self.clock, receivers=(self._learn,))

    def _learn(self, *entries: LedgerEntry) -> None:
        self.seen += entries

    def profile(self, model: str = "m") -> ModelProfile:
        profile = self.outcomes.tracker.profile(model)
        assert profile is not None
        return profile

    def resolved(self) -> LedgerEntry:
        """The one receipt, once everything is resolved."""
        self.outcomes.tracker.resolve_rest()
        [entry] = self.seen
        return entry


@pytest.fixture
def wired(tmp_path):
    return Wired(tmp_path)


def request(model: str = "m", *, task: Task = Task.GENERATE, surface: Surface = Surface.CHAT) -> Request:
    return Request("t1", surface, model, Needs(), 0.5, task=task, project="p")


def decision(*models: str, propensity: float | None = None, task: Task | None = None) -> Decision:
    ranked = tuple(RankedModel(model, 1.0, 0.5, {}) for model in models)
    return Decision(
        Verdict.ROUTE, "auto", "auto", "m", (), (), "r", models=ranked, propensity=propensity, task=task
    )


def test_an_answer_is_a_completed_call_with_all_that_is_known(wired):
    served = attempt(input_tokens=3, output_tokens=4, ttft_ms=9.0, cost_usd=0.5)
    failed = attempt(result=AttemptResult.FAILURE, kind=FailureKind.RESET)
    wired.outcomes.record_requests(
        [(ended(request=request(), attempts=(failed, served), served=served, route_reason="failover"), None)]
    )
    profile = wired.profile()
    assert (profile.total_calls, profile.success_count) == (1, 1)
    entry = wired.resolved()
    assert (entry.backend_id, entry.attempts, entry.routing_reason) == ("a", 2, "failover")
    assert (entry.latency_ms, entry.ttft_ms, entry.cost_usd) == (40.0, 9.0, 0.5)
    assert (entry.input_tokens, entry.output_tokens, entry.project_id) == (3, 4, "p")
    assert (entry.intent, entry.propensity, entry.candidates) == (None, None, None)


def test_no_more_calls_wait_for_a_signal_than_the_settings_say(tmp_path):
    wired = Wired(tmp_path, max_pending=2)
    for name in ("t1", "t2", "t3"):
        asked = structs.replace(request(), trace_id=name)
        wired.outcomes.record_requests(
            [(ended(request=asked, attempts=(attempt(),), served=attempt()), None)]
        )
    assert wired.outcomes.tracker.pending_trace_ids() == ["t2", "t3"]
    assert [entry.trace_id for entry in wired.seen] == ["t1"]


def test_a_request_that_reached_no_backend_is_no_call(wired):
    wired.outcomes.record_requests([(ended(RequestResult.REJECTED, status=503), None)])
    assert wired.outcomes.tracker.all_profiles() == []


@pytest.mark.parametrize(
    ("fields", "surface", "successes"),
    [
        ({"stream": True, "output_tokens": 0}, Surface.CHAT, 0),
        ({"stream": True, "output_tokens": 2}, Surface.CHAT, 1),
        ({"output_tokens": 0}, Surface.CHAT, 1),
        ({"output_tokens": 0}, Surface.EMBEDDING, 1),
        ({"stream": True, "output_tokens": 0}, Surface.EMBEDDING, 1),
    ],
)
def test_only_a_stream_can_be_good_and_empty(wired, fields, surface, successes):
    served = attempt(**fields)
    wired.outcomes.record_requests(
        [(ended(request=request(surface=surface), attempts=(served,), served=served), None)]
    )
    assert wired.profile().success_count == successes


def test_a_refusal_of_the_clients_mistake_is_a_call_without_output_or_tokens(wired):
    served = attempt(status=400, input_tokens=30, output_tokens=2)
    wired.outcomes.record_requests(
        [(ended(RequestResult.ERROR, status=400, request=request(), attempts=(served,), served=served), None)]
    )
    profile = wired.profile()
    assert (profile.total_calls, profile.success_count, profile.fail_count) == (1, 0, 0)
    assert profile.total_input_tokens == profile.total_output_tokens == 0


def test_a_cancelled_request_is_a_call_without_output_or_latency(wired):
    gone = attempt(result=AttemptResult.CANCELLED, stream=True, output_tokens=5)
    wired.outcomes.record_requests(
        [(ended(RequestResult.CANCELLED, request=request(), attempts=(gone,)), None)]
    )
    profile = wired.profile()
    assert (profile.total_calls, profile.success_count, profile.fail_count) == (1, 0, 0)
    assert (profile.avg_latency_ms(), profile.total_output_tokens) == (0.0, 5)


def test_a_failed_request_is_a_failure_without_the_upstreams_words(wired):
    quoting = "the prompt was: secret plans"
    failed = attempt(result=AttemptResult.FAILURE, kind=FailureKind.SERVER_ERROR, status=500, error=quoting)
    called_off = attempt("b", result=AttemptResult.CANCELLED)
    wired.outcomes.record_requests(
        [(ended(RequestResult.ERROR, status=502, request=request(), attempts=(failed, called_off)), None)]
    )
    entry = wired.resolved()
    assert (entry.success, entry.signal, entry.error) == (False, "failure", "server_error (HTTP 500)")
    assert entry.backend_id == "a"


def test_a_failure_without_an_http_answer_is_named_by_its_kind(wired):
    failed = attempt(result=AttemptResult.FAILURE, kind=FailureKind.CONNECT)
    wired.outcomes.record_requests([(ended(RequestResult.ERROR, status=502, attempts=(failed,)), None)])
    assert wired.resolved().error == "connect"


def test_a_broken_stream_is_a_failure(wired):
    cut = attempt(result=AttemptResult.FAILURE, kind=FailureKind.CUT, stream=True, status=200)
    wired.outcomes.record_requests([(ended(RequestResult.ERROR, attempts=(cut,), served=cut), None)])
    assert wired.profile().fail_count == 1


def test_a_rate_limit_excludes_the_model_for_as_long_as_was_asked(wired):
    limited = attempt(result=AttemptResult.RATE_LIMITED, status=429, retry_after=7.0)
    wired.outcomes.record_requests([(ended(RequestResult.ERROR, status=429, attempts=(limited,)), None)])
    assert wired.seen[0].signal == "rate_limit"
    wired.clock.advance(6.9)
    assert wired.outcomes.tracker.is_excluded("m")
    wired.clock.advance(0.1)
    assert not wired.outcomes.tracker.is_excluded("m")


def test_a_chosen_model_comes_with_its_propensity_candidates_and_task(wired):
    served = attempt()
    wired.outcomes.record_requests(
        [
            (
                ended(request=request("auto"), attempts=(served,), served=served),
                decision("m", "n", propensity=0.9, task=Task.CODE),
            )
        ]
    )
    entry = wired.resolved()
    assert (entry.propensity, entry.candidates, entry.task) == (0.9, ("m", "n"), Task.CODE)
    assert entry.intent == "auto"


def test_a_model_that_stepped_in_was_not_drawn(wired):
    served = attempt(model="n")
    wired.outcomes.record_requests(
        [
            (
                ended(request=request("auto"), attempts=(served,), served=served),
                decision("m", "n", propensity=0.9),
            )
        ]
    )
    entry = wired.resolved()
    assert (entry.model_id, entry.propensity, entry.candidates) == ("n", None, ("m", "n"))


def record(wired: Wired, trace_id: str) -> None:
    served = attempt()
    asked = Request(trace_id, Surface.CHAT, "m", Needs(), 0.5)
    wired.outcomes.record_requests([(ended(request=asked, attempts=(served,), served=served), None)])


async def test_sweeping_takes_out_everything_that_is_due(tmp_path):
    wired = Wired(tmp_path, pending_ttl_seconds=10.0)
    for number in range(1201):
        record(wired, str(number))
    await wired.outcomes.sweep()
    assert wired.seen == []
    wired.clock.advance(10.0)
    await wired.outcomes.sweep()
    assert len(wired.seen) == 1201


async def test_stopping_writes_profiles_and_receipts_and_the_next_start_goes_on(tmp_path):
    for number in (1, 2):
        wired = Wired(tmp_path)
        wired.outcomes.load()
        wired.outcomes.start()
        record(wired, f"t{number}")
        await wired.outcomes.stop()
        assert wired.profile().total_calls == number
        counts = wired.outcomes.counts()
        assert (counts.pending, counts.written, counts.waiting, counts.dropped) == (0, 1, 0, 0)
        assert counts.resolutions == {("expired", "success"): 1}
    store = open_ledger(wired.url)
    assert [entry.trace_id for entry in store.read()] == ["t1", "t2"]
    store.close()


async def test_without_a_ledger_receipts_are_made_all_the_same(tmp_path):
    wired = Wired(tmp_path, url="none")
    wired.outcomes.start()
    record(wired, "t")
    await wired.outcomes.stop()
    assert len(wired.seen) == 1
    assert wired.outcomes.counts().written == 0
    assert {path.name for path in tmp_path.iterdir()} == {"profiles.json", "profiles.json.lock"}


async def test_a_folder_that_cannot_be_written_is_reported_once_and_loses_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    wired = Wired(tmp_path / "file", url="none")
    with caplog.at_level(logging.WARNING):
        wired.outcomes.load()
        assert "can't be read" in caplog.text
        caplog.clear()
        for number in range(3):
            record(wired, str(number))
            await wired.outcomes.save()
    assert caplog.text.count("can't be written") == 1
    assert wired.outcomes.tracker.is_dirty()
    (tmp_path / "file").unlink()
    await wired.outcomes.save()
    assert not wired.outcomes.tracker.is_dirty()


def test_background_work_is_named(wired):
    assert [each.name for each in wired.outcomes.periodics()] == ["conversations", "outcomes", "profiles"]


def test_recording_a_request_and_sweeping_touch_no_file(tmp_path, monkeypatch):
    """Everything that could open a store fails; requests, feedback and receipts go on."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened on the path of a request")

    wired = Wired(tmp_path, pending_ttl_seconds=10.0)
    for where, name in ((os, "open"), (builtins, "open"), (sqlite3, "connect"), (os, "fsync")):
        monkeypatch.setattr(where, name, refuse)
    record(wired, "one")
    record(wired, "two")
    wired.outcomes.tracker.record_inferred_outcome("one", InferredOutcome.accepted(1.0))
    wired.clock.advance(10.0)
    wired.outcomes.tracker.sweep_pending(10.0)
    assert wired.outcomes.counts().waiting == 2

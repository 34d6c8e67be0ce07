"""The fleet and the snapshots it publishes."""

import time
from collections.abc import Mapping

import pytest
from msgspec import Struct, structs

from nexus.backends.registry import AgentFigures, Fleet, FleetChange, StatusChange
from nexus.core.backend import Backend, BackendType, ModelInfo
from nexus.core.fleet import BackendStatus, Price
from nexus.core.live import BackendLive, SpendMeter
from nexus.core.quality import AgentQualityMetrics, QualityView

A = Backend("a", "A", "http://a")
B = Backend("b", "B", "http://b")
VIEW = QualityView(AgentQualityMetrics(error_rate_1h=0.5, request_count_1h=4), 0.5, 4)


class Figures(Struct, frozen=True):
    """What the quality library hands over, in the least form."""

    rollup: QualityView | None
    models: Mapping[str, QualityView] = {}


def _fleet(*backends: Backend, figures: Mapping[str, AgentFigures] | None = None) -> Fleet:
    return Fleet(
        backends,
        quality_views=lambda: figures or {},
        prices=lambda _backend, _model: None,
        spend=SpendMeter(),
    )


def test_a_new_backend_is_unknown_and_serves_nothing_yet() -> None:
    """Nothing is claimed before the first check."""
    fleet = _fleet(A)
    view = fleet.snapshot.view("a")
    assert view is not None
    assert (view.status, dict(view.models), view.quality) == (BackendStatus.UNKNOWN, {}, None)
    assert fleet.snapshot.by_model == {}
    assert fleet.snapshot.view("nobody") is None


def test_configured_models_are_served_from_the_start() -> None:
    """Names fixed by configuration need no list."""
    fleet = _fleet(structs.replace(A, models=("m",)))
    assert [view.backend.id for view in fleet.snapshot.by_model["m"]] == ["a"]


def test_by_model_lists_every_backend_in_order() -> None:
    """A model on two backends has two views, the same objects as in the list of backends."""
    fleet = _fleet(A, B)
    fleet.set_models("b", [ModelInfo("m"), ModelInfo("n")])
    fleet.set_models("a", [ModelInfo("m")])
    snapshot = fleet.snapshot
    assert snapshot.by_model == {"m": snapshot.backends, "n": snapshot.backends[1:]}


def test_a_snapshot_never_changes() -> None:
    """Whoever holds one sees the old world; a change is a new object with a higher version."""
    fleet = _fleet(A)
    fleet.set_models("a", [ModelInfo("m")])
    before = fleet.snapshot
    fleet.set_models("a", [ModelInfo("n")])
    fleet.set_status("a", BackendStatus.HEALTHY)
    assert tuple(before.by_model) == ("m",)
    assert before.backends[0].status is BackendStatus.UNKNOWN
    assert tuple(fleet.snapshot.by_model) == ("n",)
    assert fleet.snapshot.version > before.version


def test_what_changes_nothing_publishes_nothing() -> None:
    """The regular checks of a quiet fleet cost no snapshots."""
    fleet = _fleet(structs.replace(A, models=("m",)))
    fleet.set_status("a", BackendStatus.HEALTHY)
    fleet.set_models("a", [ModelInfo("m", 64)])
    before = fleet.snapshot
    assert not fleet.set_status("a", BackendStatus.HEALTHY)
    assert not fleet.set_models("a", [ModelInfo("m", 64)])
    assert not fleet.set_models("a", [ModelInfo("m", 64), ModelInfo("not served")])
    assert fleet.snapshot is before


def test_a_list_tells_more_about_configured_models_but_adds_none() -> None:
    """Configuration has the last word on names, the backend on facts."""
    fleet = _fleet(structs.replace(A, models=("m", "hidden")))
    fleet.set_models("a", [ModelInfo("m", 4096), ModelInfo("other")])
    assert fleet.snapshot.backends[0].models == {"m": ModelInfo("m", 4096), "hidden": ModelInfo("hidden")}


def test_publish_takes_in_the_quality_figures() -> None:
    """The roll-up and the figures per model land in the view."""
    figures: dict[str, AgentFigures] = {}
    fleet = _fleet(A, B, figures=figures)
    figures["a"] = Figures(VIEW, {"m": VIEW})
    fleet.publish()
    # An empty mapping is replaced by another one in `_fleet`, so the figures must have been there.
    first, second = _fleet(A, B, figures=figures).snapshot.backends
    assert (first.quality, first.model_quality) == (VIEW, {"m": VIEW})
    assert (second.quality, dict(second.model_quality)) == (None, {})


def test_known_prices_only() -> None:
    """A model without a price is absent, not free; prices are asked for when the list changes."""
    asked: list[str] = []

    def prices(backend: Backend, model: str) -> Price | None:
        asked.append(f"{backend.id}/{model}")
        return Price(1.0, 2.0) if model == "m" else None

    fleet = Fleet([A], quality_views=dict, prices=prices, spend=SpendMeter())
    fleet.set_models("a", [ModelInfo("m"), ModelInfo("n")])
    fleet.publish()
    assert fleet.snapshot.backends[0].prices == {"m": Price(1.0, 2.0)}
    assert asked == ["a/m", "a/n"]


def test_the_meter_and_the_gauges_are_live() -> None:
    """All snapshots share the moving numbers."""
    meter = SpendMeter()
    fleet = Fleet([A], quality_views=dict, prices=lambda *_: None, spend=meter)
    before = fleet.snapshot
    fleet.publish()
    assert before.spend is fleet.snapshot.spend is meter
    assert before.backends[0].live is fleet.snapshot.backends[0].live is fleet.live("a")


def test_status_changes_are_told_once() -> None:
    """A listener hears old, new and why, after the snapshot shows it."""
    fleet = _fleet(A)
    heard: list[tuple[StatusChange, BackendStatus]] = []
    fleet.on_change(lambda change: heard.append((change, fleet.snapshot.backends[0].status)))
    assert fleet.set_status("a", BackendStatus.UNHEALTHY, "refused")
    fleet.set_status("a", BackendStatus.UNHEALTHY, "refused again")
    expected = StatusChange(A, BackendStatus.UNKNOWN, BackendStatus.UNHEALTHY, "refused")
    assert heard == [(expected, BackendStatus.UNHEALTHY)]
    assert fleet.status("a") is BackendStatus.UNHEALTHY


def test_removing_drops_everything_and_coming_back_is_neutral() -> None:
    """Gauges, status and models of a removed backend are gone for good."""
    made: list[str] = []

    def make_live(backend: Backend) -> BackendLive:
        made.append(backend.id)
        return BackendLive()

    fleet = Fleet([A], quality_views=dict, prices=lambda *_: None, spend=SpendMeter(), make_live=make_live)
    fleet.live("a").pending = 3
    fleet.set_status("a", BackendStatus.HEALTHY)
    fleet.set_models("a", [ModelInfo("m")])
    fleet.set_error("a", "odd")
    fleet.remove("a")
    assert (fleet.snapshot.backends, fleet.snapshot.by_model) == ((), {})
    with pytest.raises(KeyError):
        fleet.live("a")

    fleet.add(A)
    assert (fleet.live("a").pending, fleet.status("a"), fleet.last_error("a")) == (
        0,
        BackendStatus.UNKNOWN,
        "",
    )
    assert fleet.snapshot.by_model == {}
    assert made == ["a", "a"]


def test_results_for_a_backend_that_is_gone_are_ignored() -> None:
    """A check may end after its backend was removed."""
    fleet = _fleet(A)
    before = fleet.snapshot
    assert not fleet.set_status("gone", BackendStatus.HEALTHY)
    assert not fleet.set_models("gone", [ModelInfo("m")])
    fleet.set_error("gone", "text")
    assert fleet.snapshot is before


def test_an_id_is_taken_once() -> None:
    """Two backends can't share gauges."""
    fleet = _fleet(A)
    with pytest.raises(ValueError, match="'a'"):
        fleet.add(A)
    with pytest.raises(ValueError, match="'a'"):
        fleet.replace_all([A, A])
    with pytest.raises(ValueError, match="'a'"):
        _fleet(A, A)
    assert fleet.backends == (A,)


def test_a_reload_keeps_the_state_of_the_same_upstream() -> None:
    """Another priority is the same server; another address, type, key or header is not."""
    moved = structs.replace(B, url="http://elsewhere")
    tuned = structs.replace(A, priority=1, models=("n",))
    added = Backend("c", "C", "http://c", BackendType.VLLM)
    fleet = _fleet(A, B, Backend("d", "D", "http://d"))
    for backend_id in ("a", "b"):
        fleet.set_status(backend_id, BackendStatus.HEALTHY)
        fleet.set_models(backend_id, [ModelInfo("m"), ModelInfo("n", 64)])
        fleet.live(backend_id).pending = 2
    fleet.set_error("a", "slow")
    heard: list[int] = []
    fleet.on_members(lambda: heard.append(len(fleet.snapshot.backends)))

    change = fleet.replace_all([added, moved, tuned])

    assert change == FleetChange(added=("c",), removed=("d",), changed=("b", "a"))
    assert heard == [3]
    assert fleet.backends == (added, moved, tuned)
    assert (fleet.live("a").pending, fleet.status("a"), fleet.last_error("a")) == (
        2,
        BackendStatus.HEALTHY,
        "slow",
    )
    assert (fleet.live("b").pending, fleet.status("b")) == (0, BackendStatus.UNKNOWN)
    assert fleet.snapshot.backends[2].models == {"n": ModelInfo("n", 64)}


def test_publishing_a_hundred_backends_is_cheap() -> None:
    """A snapshot of 100 backends with 10 models each takes milliseconds at the very most."""
    fleet = _fleet(*(Backend(f"b{n}", "B", f"http://b{n}", models=tuple("abcdefghij")) for n in range(100)))
    started = time.perf_counter()
    for _ in range(10):
        fleet.publish()
    assert (time.perf_counter() - started) / 10 < 0.02
    assert len(fleet.snapshot.by_model["a"]) == 100

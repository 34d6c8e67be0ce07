"""What attempts teach about how much a backend carries at once, and what is kept of backends that go."""

from nexus.core.backend import Backend
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus, BackendView
from nexus.core.learned import carried_limit, queueing_limit
from tests.unit.quality.learning import DEFAULTS, Bench, settle


def test_the_limit_grows_while_answers_are_fast_and_the_backend_is_well_used() -> None:
    bench = Bench()
    for _ in range(50):
        bench.answer(pending=1)
    assert bench.pair().limit == DEFAULTS.first_limit
    for _ in range(50):
        bench.answer(pending=int(bench.pair().limit))
    assert bench.pair().limit > 15.0
    assert not bench.pair().limited


def test_the_limit_falls_when_a_well_used_backend_is_slow_and_stays_within_bounds() -> None:
    bench = Bench(ExpectedTimeSettings(most_limit=12.0))
    for _ in range(80):
        bench.answer(pending=30)
    assert bench.pair().limit == 12.0
    for _ in range(10):
        bench.answer(seconds=5.0, pending=30)
    assert 2.0 < bench.pair().limit < 12.0
    assert bench.pair().limited
    bench.pair().limit = 2.01
    bench.answer(seconds=9.0, pending=30)
    assert bench.pair().limit == DEFAULTS.least_limit


def test_a_few_milliseconds_more_do_not_mean_that_a_backend_is_full() -> None:
    bench = Bench()
    for seconds in [0.002] * 60 + [0.02] * 60:
        bench.answer(seconds=seconds, pending=60)
    assert bench.pair().limit > DEFAULTS.first_limit
    assert not bench.pair().limited


def test_the_highest_limit_of_those_never_found_slow_is_kept_up_to_date() -> None:
    bench = Bench()
    settle(bench)
    bench.pair("a").limit, bench.pair("b").limit = 30.0, 40.0
    bench.pair("b").limited = True
    bench.now += 1.0
    bench.answer("a")
    assert bench.pair("c").model.open_limit == 30.0


def test_an_untried_limit_counts_as_what_the_others_carry() -> None:
    bench = Bench()
    settle(bench)
    pair = bench.pair("c")
    pair.model.median_limit = 20.0
    assert carried_limit(pair, DEFAULTS) == 20.0
    pair.model.open_limit = 25.0
    assert carried_limit(pair, DEFAULTS) == 25.0, "another that was never found slow carries as much"
    pair.limit = 30.0
    assert carried_limit(pair, DEFAULTS) == 30.0
    pair.limited = True
    assert carried_limit(pair, DEFAULTS) == 30.0
    pair.limit = 18.0
    assert carried_limit(pair, DEFAULTS) == 20.0
    pair.limit = 4.0
    assert carried_limit(pair, DEFAULTS) == 4.0


def test_a_limit_makes_requests_wait_only_once_it_is_known() -> None:
    bench = Bench()
    assert queueing_limit(None, DEFAULTS) is None
    for _ in range(DEFAULTS.learned_answers + 1):
        bench.answer()
    pair = bench.pair()
    assert queueing_limit(pair, DEFAULTS) is None
    pair.limited = True
    assert queueing_limit(pair, DEFAULTS) == 8
    pair.answers = DEFAULTS.learned_answers - 1
    assert queueing_limit(pair, DEFAULTS) is None


def test_the_limit_of_a_backend_is_the_configured_one_or_the_largest_learned_one() -> None:
    bench = Bench()
    for model in ("m", "n", "o"):
        bench.start(model=model)
    for model, limit in (("m", 9.0), ("n", 12.0)):
        pair = bench.pair(model=model)
        pair.limited, pair.answers, pair.limit = True, 99, limit

    def limit_with(max_concurrency: int) -> int | None:
        backend = Backend("a", "A", "http://a", max_concurrency=max_concurrency)
        view = BackendView(backend, BackendStatus.HEALTHY, {}, bench.live())
        return bench.learner.limit_of(view)

    assert limit_with(3) == 3
    assert limit_with(0) == 12
    bench.live().learned.clear()
    assert limit_with(0) is None


# --- what is kept


def test_what_is_gone_is_forgotten() -> None:
    bench = Bench()
    for name in ("a", "b"):
        for model in ("m", "n"):
            bench.start(name, model=model)
    shared = bench.pair("a").model
    bench.learner.retain([bench.live("a")], {"m"})
    assert list(bench.live("a").learned) == ["m"]
    assert shared.pairs == [bench.pair("a")]
    assert bench.start("c").pair.model is shared
    assert bench.start("c", model="n").pair.model is bench.learner._models["n"]

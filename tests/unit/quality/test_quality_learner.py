"""What attempts teach about backends: speed by length of prompt, slowness, limits, failures."""

import math
from random import Random

import pytest

from nexus.core.backend import Backend
from nexus.core.fleet import BackendLive, BackendStatus, BackendView
from nexus.core.learned import (
    ExpectedTimeSettings,
    Flight,
    PairLearned,
    carried_limit,
    queueing_limit,
    slowness_now,
)
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.quality.learner import AttemptLearner

DEFAULTS = ExpectedTimeSettings()


class Bench:
    """A learner with named backends and a time of its own."""

    def __init__(self, settings: ExpectedTimeSettings = DEFAULTS) -> None:
        self.settings = settings
        self.learner = AttemptLearner(settings)
        self.lives: dict[str, BackendLive] = {}
        self.now = 100.0

    def live(self, name: str = "a") -> BackendLive:
        return self.lives.setdefault(name, BackendLive())

    def pair(self, name: str = "a", model: str = "m") -> PairLearned:
        return self.live(name).learned[model]

    def start(
        self, name: str = "a", *, tokens: int = 100, stream: bool = True, model: str = "m", pending: int = 0
    ) -> Flight:
        live = self.live(name)
        live.pending = pending
        return self.learner.started(live, model, tokens, stream=stream, now=self.now)

    def end(
        self,
        flight: Flight,
        result: AttemptResult = AttemptResult.SUCCESS,
        *,
        first_byte_ms: float | None = None,
        ttft_ms: float | None = None,
        status: int = 200,
    ) -> None:
        kind = FailureKind.SERVER_ERROR if result is AttemptResult.FAILURE else None
        outcome = AttemptOutcome(
            "t",
            "a",
            "m",
            result,
            self.now,
            1.0,
            kind,
            status,
            first_byte_ms=first_byte_ms,
            ttft_ms=ttft_ms,
            stream=flight.stream,
        )
        self.learner.finished(flight, outcome)

    def answer(self, name: str = "a", seconds: float = 0.5, *, tokens: int = 100, pending: int = 0) -> None:
        """A whole streamed attempt that ends a tenth of a second after its first token."""
        flight = self.start(name, tokens=tokens, pending=pending)
        self.now += seconds
        self.learner.first_token(flight, self.now)
        self.now += 0.1
        self.end(flight)


# --- time by length of prompt


def test_before_the_first_answer_a_guess_is_expected() -> None:
    bench = Bench()
    assert bench.start().expected == DEFAULTS.first_guess


def test_the_line_finds_base_and_slope() -> None:
    bench, rng = Bench(), Random(1)
    for _ in range(400):
        tokens = rng.randrange(20, 4000)
        bench.answer(seconds=(0.2 + 0.001 * tokens) * rng.uniform(0.9, 1.1), tokens=tokens)
    line = bench.pair().model.streamed
    assert line.base == pytest.approx(0.2, rel=0.1)
    assert line.slope == pytest.approx(0.001, rel=0.1)


def test_the_line_follows_a_change() -> None:
    bench = Bench()
    for seconds in [0.2] * 50 + [2.0] * 1500:
        bench.answer(seconds=seconds)
    assert bench.pair().model.streamed.seconds(100) == pytest.approx(2.0, rel=0.1)


def test_one_stall_hardly_bends_the_line() -> None:
    bench = Bench()
    for seconds in [0.5] * 100 + [60.0]:
        bench.answer(seconds=seconds)
    assert bench.pair().model.streamed.seconds(100) < 0.55


def test_shorter_prompts_that_take_longer_do_not_make_a_negative_slope() -> None:
    bench = Bench()
    for _ in range(50):
        bench.answer(seconds=0.2, tokens=2000)
        bench.answer(seconds=0.8, tokens=100)
    line = bench.pair().model.streamed
    assert line.slope == 0.0
    assert line.seconds(0) > 0.0


def test_a_line_through_the_origin_never_expects_nothing() -> None:
    bench = Bench()
    for _ in range(20):
        bench.answer(seconds=0.1, tokens=100)
        bench.answer(seconds=1.2, tokens=1000)
    line = bench.pair().model.streamed
    assert line.base > 0.0
    assert line.slope == pytest.approx(0.0011, rel=0.1)


def test_prompts_of_unknown_length_are_fine() -> None:
    bench = Bench()
    bench.answer(seconds=0.3, tokens=0)
    assert bench.pair().model.streamed.seconds(0) == pytest.approx(0.3)


def test_answers_in_no_time_at_all_are_fine() -> None:
    bench = Bench()
    flight = bench.start()
    bench.learner.first_token(flight, bench.now)
    assert 0.0 < bench.pair().model.streamed.seconds(100) < 0.001


def test_streams_and_whole_answers_have_lines_of_their_own() -> None:
    bench = Bench()
    bench.answer(seconds=0.2)
    flight = bench.start(stream=False)
    bench.now += 9.0
    bench.end(flight, first_byte_ms=9000.0)
    model = bench.pair().model
    assert model.streamed.seconds(100) == pytest.approx(0.2)
    assert model.whole.seconds(100) == pytest.approx(9.0)


def test_the_backends_of_a_model_share_its_line_and_others_do_not() -> None:
    bench = Bench()
    bench.answer("a", 0.2)
    assert bench.start("b").expected == pytest.approx(0.2)
    assert bench.start("b", model="other").expected == DEFAULTS.first_guess


def test_a_refused_mistake_of_the_client_is_no_fast_answer() -> None:
    bench = Bench()
    bench.end(bench.start(stream=False), first_byte_ms=1.0, status=400)
    assert bench.pair().slowness == 0.0
    assert bench.pair().successes == 1.0


# --- slowness


def settle(bench: Bench, *, slow: float = 1.0) -> None:
    """Three backends with some history; "c" is `slow` times as slow as the others."""
    for _ in range(60):
        bench.answer("a", 0.5)
        bench.answer("b", 0.5)
        bench.answer("c", 0.5 * slow)


def test_slowness_is_the_factor_to_the_line_and_the_median_that_of_the_fleet() -> None:
    bench = Bench()
    settle(bench, slow=3.0)
    ratio = bench.pair("c").slowness / bench.pair("a").slowness
    assert ratio == pytest.approx(3.0, rel=0.05)
    assert bench.pair().model.median == pytest.approx(bench.pair("a").slowness, rel=0.05)


def test_bad_news_is_believed_faster_than_good() -> None:
    worse, better = Bench(), Bench()
    for bench in (worse, better):
        settle(bench)
    before = worse.pair("c").slowness
    worse.answer("c", 1.0)
    better.answer("c", 0.001)
    assert worse.pair("c").slowness - before > 2.0 * (before - better.pair("c").slowness) > 0.0


def test_many_answers_at_once_count_as_one_moment() -> None:
    bench = Bench()
    settle(bench)
    flights = [bench.start("c") for _ in range(20)]
    bench.now += 2.0
    for flight in flights:
        bench.learner.first_token(flight, bench.now)
    once = Bench()
    settle(once)
    flight = once.start("c")
    once.now += 2.0
    once.learner.first_token(flight, once.now)
    assert bench.pair("c").slowness == pytest.approx(once.pair("c").slowness, rel=0.25)


def test_what_is_not_heard_of_relaxes_to_the_median() -> None:
    bench = Bench()
    settle(bench, slow=8.0)
    pair, now = bench.pair("c"), bench.now
    measured = pair.slowness
    middle = pair.model.median
    assert slowness_now(pair, DEFAULTS, now + DEFAULTS.relax_after - 1.0) == measured
    later = slowness_now(pair, DEFAULTS, now + DEFAULTS.relax_after + DEFAULTS.relax_seconds)
    assert later == pytest.approx(middle + (measured - middle) / math.e, rel=0.05)
    assert slowness_now(pair, DEFAULTS, now + 3600) == pytest.approx(middle)


def test_nothing_measured_is_the_median() -> None:
    bench = Bench()
    settle(bench)
    bench.start("new")
    assert slowness_now(bench.pair("new"), DEFAULTS, bench.now) == bench.pair().model.median


def test_a_fast_failure_does_not_look_fast() -> None:
    bench = Bench()
    settle(bench)
    before = bench.pair("a").slowness
    flight = bench.start("a")
    bench.now += 0.001
    bench.end(flight, AttemptResult.FAILURE)
    assert bench.pair("a").slowness == before
    assert bench.pair("a").failures == 1.0


@pytest.mark.parametrize("result", [AttemptResult.FAILURE, AttemptResult.CANCELLED])
def test_a_wait_that_ended_without_a_token_looks_slow(result: AttemptResult) -> None:
    bench = Bench()
    settle(bench)
    before = bench.pair("a").slowness
    flight = bench.start("a")
    bench.now += 30.0
    bench.end(flight, result)
    assert bench.pair("a").slowness > 5.0 * before
    assert bench.pair("a").slowness <= DEFAULTS.most_slowness * bench.pair("a").model.median


def test_a_client_that_gives_up_a_whole_answer_says_nothing_about_its_speed() -> None:
    bench = Bench()
    bench.end(bench.start(stream=False), first_byte_ms=500.0)
    before = bench.pair().slowness
    flight = bench.start(stream=False)
    bench.now += 30.0
    bench.end(flight, AttemptResult.CANCELLED)
    assert bench.pair().slowness == before


def test_a_throttled_attempt_says_nothing() -> None:
    bench = Bench()
    settle(bench)
    pair = bench.pair("a")
    before = (pair.slowness, pair.successes, pair.failures)
    flight = bench.start("a")
    bench.now += 30.0
    bench.end(flight, AttemptResult.RATE_LIMITED, status=429)
    assert (pair.slowness, pair.successes, pair.failures) == before
    assert not pair.waiting


# --- successes and failures


def test_a_first_token_counts_as_a_success_until_the_end_says_otherwise() -> None:
    bench = Bench()
    flight = bench.start()
    bench.learner.first_token(flight, bench.now + 0.5)
    assert (bench.pair().successes, bench.pair().failures, bench.pair().answers) == (1.0, 0.0, 0)
    bench.now += 0.5
    bench.end(flight, AttemptResult.FAILURE)
    assert (bench.pair().successes, bench.pair().failures) == (0.0, 1.0)


def test_a_complete_answer_is_counted_once() -> None:
    bench = Bench()
    flight = bench.start()
    bench.learner.first_token(flight, bench.now)
    bench.learner.first_token(flight, bench.now)
    bench.end(flight, ttft_ms=1.0)
    assert (bench.pair().successes, bench.pair().answers) == (1.0, 1)


def test_a_failure_after_a_late_first_token_is_one_failure() -> None:
    bench = Bench()
    settle(bench)
    before = bench.pair("a").failures
    flight = bench.start("a")
    bench.now += 30.0
    bench.learner.first_token(flight, bench.now)
    bench.end(flight, AttemptResult.FAILURE)
    assert bench.pair("a").failures == pytest.approx(before + 1.0)


@pytest.mark.parametrize(
    ("seconds", "pending", "late"),
    [(30.0, 0, 1.0), (4.0, 0, 0.0), (30.0, 8, 0.0)],
    ids=["late", "slow", "busy"],
)
def test_a_first_token_far_beyond_the_usual_counts_as_a_failure(
    seconds: float, pending: int, late: float
) -> None:
    bench = Bench()
    settle(bench)
    bench.answer("a", seconds, pending=pending)
    assert bench.pair("a").failures == late


def test_an_attempt_given_up_because_it_was_late_counts_as_a_failure() -> None:
    bench = Bench()
    settle(bench)
    for seconds, failures in ((1.0, 0.0), (30.0, 1.0)):
        flight = bench.start("a")
        bench.now += seconds
        bench.end(flight, AttemptResult.CANCELLED)
        assert bench.pair("a").failures == failures


def test_nothing_is_late_before_there_is_a_usual_time() -> None:
    bench = Bench()
    bench.answer("a", 30.0)
    assert bench.pair("a").failures == 0.0


def test_counts_decay() -> None:
    bench = Bench()
    bench.end(bench.start(), AttemptResult.FAILURE)
    bench.now += DEFAULTS.error_memory
    bench.end(bench.start(), AttemptResult.FAILURE)
    assert bench.pair().failures == pytest.approx(1.0 + 1.0 / math.e)


def test_a_recovered_backend_starts_anew_but_keeps_its_limit() -> None:
    bench = Bench()
    settle(bench, slow=8.0)
    stuck = bench.start("c")
    bench.end(bench.start("c"), AttemptResult.FAILURE)
    bench.pair("c").limit = 20.0
    bench.learner.recovered(bench.live("c"), bench.now)
    pair = bench.pair("c")
    assert (pair.failures, pair.slowness, pair.limit) == (0.0, 0.0, 20.0)
    assert bench.live("c").recovered_at == bench.now
    bench.now += 60.0
    bench.end(stuck, AttemptResult.FAILURE)
    assert pair.slowness == 0.0


def test_forgiving_a_model_leaves_the_others() -> None:
    bench = Bench()
    for model in ("m", "n"):
        bench.end(bench.start(model=model), AttemptResult.FAILURE)
    bench.learner.forgive(bench.live(), "m")
    bench.learner.forgive(bench.live(), "never seen")
    assert (bench.pair(model="m").failures, bench.pair(model="n").failures) == (0.0, 1.0)


# --- limits


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


def test_an_untried_limit_counts_as_what_the_others_carry() -> None:
    bench = Bench()
    settle(bench)
    pair = bench.pair("c")
    pair.model.median_limit = 20.0
    assert carried_limit(pair, DEFAULTS) == 20.0
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

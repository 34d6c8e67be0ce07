"""What attempts teach about backends: speed by length of prompt, slowness, failures."""

import math
from random import Random

import pytest

from nexus.core.learned import slowness_now
from nexus.core.outcome import AttemptResult
from tests.unit.quality.learning import DEFAULTS, Bench, settle

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


def test_a_long_whole_answer_is_not_a_slow_one() -> None:
    """It is judged by its own length, where that is known."""
    bench, rng = Bench(), Random(2)
    for _ in range(200):
        tokens = rng.choice((10, 100, 1000))
        flight = bench.start(stream=False, tokens=50)
        bench.now += 0.1 + 0.02 * tokens
        bench.end(flight, first_byte_ms=100.0 + 20.0 * tokens, output_tokens=tokens)
    pair = bench.pair()
    assert pair.slowness == pytest.approx(1.0, abs=0.05)
    assert pair.unhurried == pytest.approx(1.0, abs=0.05)
    assert pair.model.generated.slope == pytest.approx(0.02, rel=0.05)


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

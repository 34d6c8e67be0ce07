"""Counters as additions: whatever is counted in between, the sums over all workers are exact."""

import random

import msgspec

from nexus.app.workers.counting import CountsBook
from nexus.app.workers.news import Counts
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.telemetry.counters import OTHER, TrafficCounters
from nexus.telemetry.histogram import StageTimes


def plain(counters: TrafficCounters) -> object:
    """Everything in the counters, comparable."""
    histograms = (counters.duration, counters.overhead, counters.recompute)
    return (
        {
            name: [
                *(getattr(each, slot) for slot in ("success", "failure", "cancelled", "rate_limited")),
                round(each.latency_ms_sum, 6),
                each.failures,
                each.transitions,
                each.ttft.counts,
                each.queue_time.counts,
            ]
            for name, each in counters.backends.items()
        },
        counters.models,
        counters.codes,
        counters.statuses,
        [(each.counts, round(each.total, 6)) for each in histograms],
        counters.waits,
    )


def attempt(rng: random.Random) -> AttemptOutcome:
    result = rng.choice(list(AttemptResult))
    kind = rng.choice(list(FailureKind)) if result is AttemptResult.FAILURE else None
    return AttemptOutcome(
        "t", rng.choice("ab"), "m", result, 1.0, rng.random() * 100, kind, 200, 1.0, rng.random(), True
    )


def count_something(counters: TrafficCounters, stages: StageTimes, rng: random.Random) -> None:
    counters.record_attempts([attempt(rng)])
    counters.count_unrouted(rng.choice((404, 413)), rng.choice(("x", "y")))
    counters.record_transition("a", "closed", rng.choice(("open", "half_open")))
    counters.record_wait(rng.random(), rng.choice(("a", None)))
    counters.recompute.observe(rng.random())
    stages.observe(rng.randrange(6), rng.random() / 1e4)
    counters.models[rng.choice("mn")] = counters.models.get("m", 0) + 1


def over_the_line(counts: Counts | None) -> Counts | None:
    return None if counts is None else msgspec.msgpack.decode(msgspec.msgpack.encode(counts), type=Counts)


def test_the_sums_of_two_workers_are_exact_however_often_they_speak():
    """Each shows its own counts and the other's, and what a third one begins with is the same."""
    rng = random.Random(3)
    counters, stages = [TrafficCounters(), TrafficCounters()], [StageTimes(), StageTimes()]
    books = [CountsBook(*each) for each in zip(counters, stages, strict=True)]
    for _ in range(200):
        at = rng.randrange(2)
        count_something(counters[at], stages[at], rng)
        if rng.random() < 0.2:
            told = over_the_line(books[at].take())
            if told is not None:
                books[1 - at].hear(told)
    for at in (0, 1):
        told = over_the_line(books[at].take())
        if told is not None:
            books[1 - at].hear(told)
    shown, shown_stages = [TrafficCounters(), TrafficCounters()], [StageTimes(), StageTimes()]
    for at in (0, 1):
        books[at].show(shown[at], shown_stages[at])
    assert plain(shown[0]) == plain(shown[1])
    assert shown[0].backends.keys() == {"a", "b"}
    assert sum(each.requests for each in shown[0].backends.values()) == 200
    assert isinstance(shown[0].backends["a"].requests, int)
    assert sum(each.count for each in shown_stages[0].histograms) == 200
    third = CountsBook(TrafficCounters(), StageTimes())
    everything = over_the_line(books[0].everything())
    assert everything is not None
    third.hear(everything)
    third.show(shown[1], shown_stages[1])
    assert plain(shown[0]) == plain(shown[1])


def test_nothing_new_is_nothing_to_tell():
    counters = TrafficCounters()
    book = CountsBook(counters, StageTimes())
    assert book.take() is None
    assert book.everything() is None
    counters.count_unrouted(404, "x")
    assert book.take() is not None
    assert book.take() is None


def test_backends_and_models_that_go_are_told_right():
    """A model that is gone moves to the others'; a backend that comes back starts at zero, and is told so."""
    counters = TrafficCounters()
    book, other = CountsBook(counters, StageTimes()), CountsBook(TrafficCounters(), StageTimes())
    rng = random.Random(1)
    for _ in range(5):
        counters.record_attempts([attempt(rng)])
    counters.models["m"] = 4
    for _ in range(2):
        told = book.take()
        if told is not None:
            other.hear(told)
        counters.prune((), ())
        other.forget_others_but(())
    assert other.others.models == {OTHER: 4}
    assert not other.others.backends
    counters.record_attempts([attempt(rng)])
    told = book.take()
    assert told is not None
    other.hear(told)
    assert [each.requests for each in other.others.backends.values()] == [1]

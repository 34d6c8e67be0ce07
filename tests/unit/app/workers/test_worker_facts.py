"""Figures over all workers: counts never fall when a worker ends, and what it held goes with it."""

import msgspec

from nexus.app.workers.facts import Facts, FactsBook, read_facts
from nexus.telemetry.outcomes import OutcomeCounts

CPU, RSS = "process_cpu_seconds", "process_resident_memory_bytes"


class Source:
    """Everything that is read."""

    retries, refused, depth, overflowed, unwritten = 1, 2, 3, 4, 5

    def counts(self) -> OutcomeCounts:
        return OutcomeCounts(
            {("explicit", "success"): 6}, pending=7, abandoned=8, written=9, waiting=10, dropped=11, unread=12
        )


def facts() -> Facts:
    source = Source()
    return read_facts(source, source, (source, source), source)


def test_sums_are_those_of_all_workers():
    book = FactsBook(facts)
    other = msgspec.msgpack.decode(msgspec.msgpack.encode(facts()), type=Facts)
    book.hear(2, other)
    book.refresh()
    assert (book.retries, book.refused, book.depth, book.overflowed, book.unwritten) == (2, 4, 6, 16, 20)
    counts = book.counts()
    assert counts.resolutions == {("explicit", "success"): 12}
    assert (counts.pending, counts.abandoned, counts.written) == (14, 16, 18)
    assert (counts.waiting, counts.dropped, counts.unread) == (20, 22, 24)


def test_of_a_worker_that_ended_the_counts_stay():
    book = FactsBook(Facts)
    book.hear(2, Facts(retries=3, queue_depth=4, pending=5, waiting=6, process={CPU: 7.0, RSS: 8.0}))
    book.forget(2)
    book.forget(2)
    book.refresh()
    assert (book.retries, book.depth, book.counts().pending, book.counts().waiting) == (3, 0, 0, 0)
    theirs, gone = book.everything(1)
    assert theirs == {1: Facts()}
    assert gone.process == {CPU: 7.0}
    new = FactsBook(Facts)
    new.begin(theirs, gone)
    new.refresh()
    assert new.retries == 3


def test_process_figures_are_summed_up_where_that_makes_sense():
    """Memory and time add up; the limit of open files and the time of the start are this process's."""
    book = FactsBook(facts)
    book.hear(2, Facts(process={CPU: 1000.0, RSS: 1e12}))
    book.refresh()
    found = {family.name: family.samples[0].value for family in book.collect()}
    assert found[CPU] >= 1000.0
    assert found[RSS] > 1e12
    assert found["process_start_time_seconds"] < 1e11


def test_without_outcomes_there_are_none():
    source = Source()
    assert read_facts(source, source, (), None).resolutions == ()

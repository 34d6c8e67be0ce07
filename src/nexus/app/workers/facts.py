"""Figures for `/metrics` that are read where they are kept, over all workers."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct, structs
from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric

from nexus.telemetry.outcomes import OutcomeCounts, OutcomeSource
from nexus.telemetry.prometheus import LogLosses, Queue, Retries

_SUMMED = frozenset(
    {
        "process_virtual_memory_bytes",
        "process_resident_memory_bytes",
        "process_cpu_seconds",
        "process_open_fds",
    }
)
_CPU = "process_cpu_seconds"


class Facts(Struct, frozen=True, array_like=True, gc=False):
    """The figures of one worker. Those of `process` are by metric, without a suffix."""

    retries: int = 0
    refused: int = 0
    overflowed: int = 0
    unwritten: int = 0
    queue_depth: int = 0
    pending: int = 0
    abandoned: int = 0
    written: int = 0
    waiting: int = 0
    dropped: int = 0
    unread: int = 0
    resolutions: tuple[tuple[str, str, int], ...] = ()
    process: Mapping[str, float] = {}


def read_facts(
    retries: Retries, queue: Queue, losses: Iterable[LogLosses], outcomes: OutcomeSource | None
) -> Facts:
    """This worker's figures now."""
    losses = tuple(losses)
    process = {
        family.name: family.samples[0].value
        for family in ProcessCollector(registry=None).collect()
        if family.name in _SUMMED
    }
    facts = Facts(
        retries=retries.retries,
        refused=retries.refused,
        overflowed=sum(each.overflowed for each in losses),
        unwritten=sum(each.unwritten for each in losses),
        queue_depth=queue.depth,
        process=process,
    )
    if outcomes is None:
        return facts
    counts = outcomes.counts()
    return structs.replace(
        facts,
        pending=counts.pending,
        abandoned=counts.abandoned,
        written=counts.written,
        waiting=counts.waiting,
        dropped=counts.dropped,
        unread=counts.unread,
        resolutions=tuple((*key, count) for key, count in sorted(counts.resolutions.items())),
    )


def add_facts(one: Facts, other: Facts) -> Facts:
    """Both together."""
    resolutions: dict[tuple[str, str], int] = {}
    for signal, word, count in (*one.resolutions, *other.resolutions):
        resolutions[(signal, word)] = resolutions.get((signal, word), 0) + count
    names = {**one.process, **other.process}
    return Facts(
        one.retries + other.retries,
        one.refused + other.refused,
        one.overflowed + other.overflowed,
        one.unwritten + other.unwritten,
        one.queue_depth + other.queue_depth,
        one.pending + other.pending,
        one.abandoned + other.abandoned,
        one.written + other.written,
        one.waiting + other.waiting,
        one.dropped + other.dropped,
        one.unread + other.unread,
        tuple((*key, count) for key, count in sorted(resolutions.items())),
        {name: one.process.get(name, 0.0) + other.process.get(name, 0.0) for name in names},
    )


class FactsBook:
    """The figures of all workers, as the metrics ask for them.

    Args:
        read: this worker's own figures now.
    """

    def __init__(self, read: Callable[[], Facts]) -> None:
        self.read = read
        self._theirs: dict[int, Facts] = {}
        self._gone = Facts()
        self._total = Facts()

    def hear(self, sender: int, facts: Facts) -> None:
        """Another worker's figures."""
        self._theirs[sender] = facts

    def forget(self, sender: int) -> None:
        """Another worker has ended: its counts stay, and what it held is gone."""
        facts = self._theirs.pop(sender, None)
        if facts is not None:
            kept = {_CPU: facts.process.get(_CPU, 0.0)}
            rest = structs.replace(facts, queue_depth=0, pending=0, waiting=0, process=kept)
            self._gone = add_facts(self._gone, rest)

    def everything(self, own: int) -> tuple[dict[int, Facts], Facts]:
        """The figures by worker, ours included, and those of the workers that ended."""
        return {**self._theirs, own: self.read()}, self._gone

    def begin(self, theirs: Mapping[int, Facts], gone: Facts) -> None:
        """Start with what another worker knows."""
        self._theirs = dict(theirs)
        self._gone = gone

    def refresh(self) -> None:
        """Make the sums anew; they stay as they are until the next time."""
        self._total = add_facts(self.read(), self._gone)
        for facts in self._theirs.values():
            self._total = add_facts(self._total, facts)

    @property
    def depth(self) -> int:
        """Requests in the queues."""
        return self._total.queue_depth

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        return self._total.retries

    @property
    def refused(self) -> int:
        """Retries that were not allowed."""
        return self._total.refused

    @property
    def overflowed(self) -> int:
        """Log lines dropped because the reader of the log is too slow."""
        return self._total.overflowed

    @property
    def unwritten(self) -> int:
        """Log lines lost to errors in writing."""
        return self._total.unwritten

    def counts(self) -> OutcomeCounts:
        """What became of answers."""
        total = self._total
        return OutcomeCounts(
            {(signal, word): count for signal, word, count in total.resolutions},
            pending=total.pending,
            abandoned=total.abandoned,
            written=total.written,
            waiting=total.waiting,
            dropped=total.dropped,
            unread=total.unread,
        )

    def collect(self) -> Iterator[Metric]:
        """The metrics of this process, with memory, time and files summed up over all workers."""
        for family in ProcessCollector(registry=None).collect():
            total = self._total.process.get(family.name)
            if total is not None:
                sample = family.samples[0]
                family.samples = [sample._replace(value=total)]
            yield family

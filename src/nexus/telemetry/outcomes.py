"""Series about outcomes of calls and the receipts made of them."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from nexus.telemetry import metric_table as table


class OutcomeCounts(Struct, frozen=True):
    """Counts since the start. `resolutions` is by signal and word: success, failure or unknown.

    `pending` calls wait for a signal now; `abandoned` ones never ended. Of the receipts, `written` are in the
    ledger, `waiting` in memory, `dropped` lost. `unread` requests were never looked at for implicit signals.
    """

    resolutions: Mapping[tuple[str, str], int]
    pending: int
    abandoned: int
    written: int
    waiting: int
    dropped: int
    unread: int


class OutcomeSource(Protocol):
    """Who counts outcomes."""

    def counts(self) -> OutcomeCounts:
        """The counts of this moment."""
        ...


def outcome_families(counts: OutcomeCounts) -> Iterator[Metric]:
    """The series for these counts."""
    resolved = CounterMetricFamily(table.OUTCOMES.name, table.OUTCOMES.help, labels=table.OUTCOMES.labels)
    for labels, count in sorted(counts.resolutions.items()):
        resolved.add_metric(labels, count)
    yield resolved
    yield GaugeMetricFamily(table.OUTCOMES_PENDING.name, table.OUTCOMES_PENDING.help, counts.pending)
    yield CounterMetricFamily(table.OUTCOMES_ABANDONED.name, table.OUTCOMES_ABANDONED.help, counts.abandoned)
    yield CounterMetricFamily(table.CONVERSATIONS_UNREAD.name, table.CONVERSATIONS_UNREAD.help, counts.unread)
    receipts = CounterMetricFamily(table.RECEIPTS.name, table.RECEIPTS.help, labels=table.RECEIPTS.labels)
    receipts.add_metric(("written",), counts.written)
    receipts.add_metric(("dropped",), counts.dropped)
    yield receipts
    yield GaugeMetricFamily(table.RECEIPTS_WAITING.name, table.RECEIPTS_WAITING.help, counts.waiting)

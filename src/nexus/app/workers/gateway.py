"""One worker's gateway: shows what all workers did, and notes what the others must hear."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.metrics_core import Metric

from nexus import __version__
from nexus.app.gateway import Gateway
from nexus.app.outcomes import Outcomes
from nexus.app.workers.attempts import AttemptLog
from nexus.app.workers.counting import CountsBook
from nexus.app.workers.facts import FactsBook, read_facts
from nexus.app.workers.limits import NotedBuckets
from nexus.app.workers.news import BreakerNews
from nexus.app.workers.outcomes import SharedOutcomes
from nexus.backends.prices import PriceList
from nexus.config.model import Config
from nexus.core.backend import Backend
from nexus.core.clock import Clock
from nexus.proxy.upstream import UpstreamPool
from nexus.resilience.breaker_config import BreakerState
from nexus.server.elsewhere import Elsewhere
from nexus.server.rate_limits import Buckets, RateLimitSettings
from nexus.telemetry.counters import TrafficCounters
from nexus.telemetry.histogram import StageTimes
from nexus.telemetry.logging import ProcessLog
from nexus.telemetry.prometheus import Metrics


class WorkerGateway(Gateway):
    """A gateway beside others on the same port.

    `log` has the attempts that ended, `breakers` and `forgiven` what happened to breakers and gates here, all
    since they were last taken. While `following` is true, changes are those of another worker and are not
    noted. `leads`: this worker makes the checks and writes the files that only one may.
    """

    def __init__(
        self,
        config: Config,
        backends: tuple[Backend, ...],
        *,
        clock: Clock,
        pool: UpstreamPool,
        prices: PriceList,
        process_log: ProcessLog,
        index: int,
        leads: bool,
        key: bytes,
        elsewhere: Elsewhere,
    ) -> None:
        self.leads = leads
        self.following = False
        self.breakers: list[BreakerNews] = []
        self.forgiven: list[tuple[str, str]] = []
        self.buckets: NotedBuckets | None = None
        self.shared: SharedOutcomes | None = None
        self._key = key
        self.facts = FactsBook(lambda: read_facts(self.retries, self.queue, self._losses, self.outcomes))
        self._sum = TrafficCounters()
        self._sum_stages = StageTimes()
        super().__init__(
            config,
            backends,
            clock=clock,
            pool=pool,
            prices=prices,
            process_log=process_log,
            elsewhere=elsewhere,
        )
        self.book = CountsBook(self.counters, self.stages)

        self._history.writes = leads
        self._documents.worker = index

    def start(self) -> None:
        """As `Gateway.start`; only the worker that leads begins with the files that one worker writes."""
        if self.leads:
            super().start()
            return
        if self.outcomes is not None:
            self.outcomes.load()
            self.outcomes.start()
            self.choosing.start()
        self._refresh_quality()

    def lead(self) -> None:
        """Take over the checks and the files of the worker that led."""
        self.leads = True
        self._history.writes = True
        self.monitor.start()

    def forgive(self, backend_id: str, model: str) -> None:
        """Forget the failures of a pair that has recovered at another worker."""
        view = self.fleet.snapshot.view(backend_id)
        if view is not None:
            super()._forgive(backend_id, model)
            view.live.gates.pop(model, None)
            self.fleet.publish()

    def _watching(self) -> AttemptLog:
        self.log = AttemptLog(self.learner)
        return self.log

    def _tracked(self, config: Config) -> Outcomes:
        self.shared = SharedOutcomes(config, self._clock, key=self._key, receivers=(self.choosing.receive,))
        return self.shared

    def _shown(self) -> TrafficCounters:
        self.book.show(self._sum, self._sum_stages)
        return self._sum

    def _metrics(self) -> Metrics:
        return _SharedMetrics(
            self._shown,
            self.facts,
            fleet=self.fleet,
            counters=self._sum,
            stages=self._sum_stages,
            losses=(self.facts,),
            version=__version__,
            rolled_up=lambda: self._config.quality.rollup_series,
            queue=self.facts,
            retries=self.facts,
            outcomes=self.facts if self.outcomes is not None else None,
            process=self.facts,
        )

    def _buckets(self, settings: RateLimitSettings) -> Buckets:
        self.buckets = NotedBuckets(settings)
        return self.buckets

    def _probe(self) -> None:
        if self.leads:
            super()._probe()

    def _refresh_quality(self) -> None:
        super()._refresh_quality()
        self.book.forget_others_but({backend.id for backend in self.fleet.backends})

    def _breaker_changed(self, backend_id: str, old: BreakerState, new: BreakerState) -> None:
        if self.following:
            # Counted where it happened.
            self._learning.breaker_changed(backend_id, old, new)
            return
        super()._breaker_changed(backend_id, old, new)
        breaker = self.fast_path.breaker_of(backend_id)
        if breaker is not None:
            self.breakers.append(BreakerNews(backend_id, new, breaker.retry_after()))

    def _forgive(self, backend_id: str, model: str) -> None:
        super()._forgive(backend_id, model)
        self.forgiven.append((backend_id, model))


class _SharedMetrics(Metrics):
    """Metrics that are summed up anew at each scrape."""

    def __init__(self, refresh: Callable[[], object], facts: FactsBook, **parts: Any) -> None:
        self._refresh = refresh
        self._facts = facts
        super().__init__(**parts)

    def collect(self) -> Iterator[Metric]:
        """All families as of now."""
        self._refresh()
        self._facts.refresh()
        yield from super().collect()

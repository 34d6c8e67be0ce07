"""The documents that show the gateway's state at one moment."""

from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import UNSET, UnsetType

from nexus import __version__
from nexus.backends.registry import Fleet
from nexus.config.model import Config
from nexus.core.clock import Clock
from nexus.quality import QualityMetricsStore
from nexus.telemetry.counters import TrafficCounters
from nexus.telemetry.health import HealthDocument, HealthWord, build_health, is_ready
from nexus.telemetry.stats import StatsDocument, build_stats

_LOSS_SHOWN_SECONDS = 60.0


class Losing(Protocol):
    """Something that may fail to write lines."""

    @property
    def unwritten(self) -> int:
        """How many were lost so far."""
        ...


class Documents:
    """Builds `/v1/stats` and `/health` from what the parts know.

    `counters` gives the counts to show; `losses` are the writers whose lost lines make the log degraded for a
    minute; `draining` says whether a shutdown is under way. `worker` is this process's number among several.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        fleet: Fleet,
        counters: Callable[[], TrafficCounters],
        store: QualityMetricsStore,
        losses: Iterable[Losing],
        draining: Callable[[], bool],
    ) -> None:
        self.worker: int | UnsetType = UNSET
        self._config = config
        self._clock = clock
        self._fleet = fleet
        self._counters = counters
        self._store = store
        self._losses = tuple(losses)
        self._draining = draining
        self._started_at = clock.monotonic()
        self._lost = 0
        self._lost_at = float("-inf")

    def configure(self, config: Config) -> None:
        """Replace the settings that the documents show and go by."""
        self._config = config

    def stats(self) -> StatsDocument:
        """`/v1/stats`."""
        now = self._clock.monotonic()
        return build_stats(
            snapshot=self._fleet.snapshot,
            counters=self._counters(),
            quantiles=self._store,
            settings=self._config.quality,
            version=__version__,
            uptime_seconds=now - self._started_at,
            now=now,
            worker=self.worker,
        )

    def health(self) -> HealthDocument:
        """`/health`."""
        return build_health(
            snapshot=self._fleet.snapshot,
            services={"log": self._log_word()},
            version=__version__,
            uptime_seconds=self._clock.monotonic() - self._started_at,
            checks_enabled=self._config.health_check.enabled,
            draining=self._draining(),
        )

    def ready(self) -> bool:
        """Whether requests can be answered now."""
        return is_ready(
            self._fleet.snapshot,
            checks_enabled=self._config.health_check.enabled,
            draining=self._draining(),
        )

    def _log_word(self) -> HealthWord:
        lost = sum(each.unwritten for each in self._losses)
        now = self._clock.monotonic()
        if lost > self._lost:
            self._lost = lost
            self._lost_at = now
        return "degraded" if now - self._lost_at < _LOSS_SHOWN_SECONDS else "healthy"

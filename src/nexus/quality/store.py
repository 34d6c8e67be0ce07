"""The store: outcomes go in as they happen, figures come out as of the last recompute."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from nexus.core.clock import Clock, SystemClock
from nexus.core.quality import AgentFigures, AgentQualityMetrics
from nexus.quality.agent import Agent
from nexus.quality.config import QualityConfig
from nexus.quality.history import AgentHistory, add_history, history_of

MAX_TTFT_MS: Final = 86_400_000.0
"""A day: what lasts longer is a mistake of the caller's."""

_NEW: Final = AgentQualityMetrics()


class QualityMetricsStore:
    """Sliding windows of attempt outcomes per agent and model. Safe under threads.

    Two stages: `record_outcome` counts, `recompute_all` turns the counts into the figures that the getters
    give (`ttft_quantile` alone looks at the counts themselves). Time is the clock's monotonic time.

    Args:
        config: the rule and the limits.
        clock: where time comes from.
    """

    def __init__(self, config: QualityConfig | None = None, clock: Clock | None = None) -> None:
        self._config = config if config is not None else QualityConfig()
        self._now = (clock if clock is not None else SystemClock()).monotonic
        self._lock = threading.Lock()
        self._agents: dict[str, Agent] = {}
        # Both are replaced, never changed, so that readers need no lock.
        self._figures: dict[str, AgentFigures] = {}
        self._metrics: dict[str, AgentQualityMetrics] = {}

    @property
    def config(self) -> QualityConfig:
        """The configuration in force."""
        return self._config

    def configure(self, config: QualityConfig) -> None:
        """Replace the configuration; it holds from the next outcome and recompute on."""
        self._config = config

    def record_outcome(
        self,
        agent_id: str,
        success: bool,
        ttft_ms: float | None,
        *,
        model: str | None = None,
        streamed: bool = True,
    ) -> None:
        """Count the end of one attempt.

        Args:
            agent_id: whose attempt it was; an unknown agent starts to exist.
            success: whether the agent did its part.
            ttft_ms: milliseconds to the first token, or, where `streamed` is False, to the first byte. None:
                not measured. That of a failure is ignored.
            model: the model asked for; the outcome counts for it and for the agent. None: for the agent only.
            streamed: which of the two kinds `ttft_ms` is.

        Raises:
            ValueError: `ttft_ms` is not between 0 and a day; nothing is counted.
        """
        if ttft_ms is not None and not 0.0 <= ttft_ms <= MAX_TTFT_MS:
            raise ValueError(f"ttft_ms must be between 0 and {MAX_TTFT_MS:.0f} or None, got {ttft_ms!r}")
        with self._lock:
            now = self._now()
            agent = self._agents.get(agent_id)
            if agent is None:
                agent = self._agents[agent_id] = Agent()
            window = agent.windows.get(model)
            if window is None:
                window = agent.open_window(model, now, self._config.max_models)
            if now >= window.bucket_end:
                window.settle(now)
            if not success:
                window.failures += 1
                window.last_failure = now
                return
            window.successes += 1
            if ttft_ms is None:
                return
            if streamed:
                window.streams += 1
                window.stream_ms += ttft_ms
                agent.streamed.add(ttft_ms, now)
            else:
                window.first_bytes += 1
                window.first_byte_ms += ttft_ms
                agent.first_byte.add(ttft_ms, now)

    def recompute_all(self) -> None:
        """Make the figures of every agent anew."""
        with self._lock:
            now = self._now()
            min_samples = self._config.min_samples
            self._publish({name: agent.recompute(now, min_samples) for name, agent in self._agents.items()})

    def get_metrics(self, agent_id: str) -> AgentQualityMetrics:
        """The agent's figures over all its models; those of a new agent if it is unknown."""
        return self._metrics.get(agent_id, _NEW)

    def get_all_metrics(self) -> dict[str, AgentQualityMetrics]:
        """The figures of every agent that the last recompute saw, by agent id."""
        return dict(self._metrics)

    def snapshot(self) -> Mapping[str, AgentFigures]:
        """What routing reads of every agent and its models, by agent id. It does not change: ask again."""
        return self._figures

    def ttft_quantile(self, agent_id: str, q: float) -> float | None:
        """Milliseconds that a share `q` (0 to 1) of the last hour's successes took at most, to within 2 %.

        It is of times to first token where there were streams, else of times to first byte, up to this moment
        and in steps of 400 seconds. None: nothing was measured. ValueError: `q` is not between 0 and 1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"q must be between 0 and 1, got {q!r}")
        with self._lock:
            agent = self._agents.get(agent_id)
            return agent.ttft_quantile(q, self._now()) if agent is not None else None

    def forgive(self, agent_id: str, model: str | None = None) -> None:
        """Stop judging what the agent did so far, because it has recovered; its figures are remade at once.

        Only `judged_rate` and `judged_count` forget: from now on they count new outcomes. The metrics stay
        the truth. What one model is forgiven is left out of the agent's judged figures too, so that it
        excludes no other model; None forgives all models. Unknown names are ignored.
        """
        with self._lock:
            agent = self._agents.get(agent_id)
            if agent is not None:
                now = self._now()
                agent.forgive(model, now)
                figures = agent.recompute(now, self._config.min_samples)
                self._publish({**self._figures, agent_id: figures})

    def remove_agent(self, agent_id: str) -> None:
        """Forget the agent and its figures; if it is recorded again, it starts as new. Unknown: no effect."""
        with self._lock:
            self._agents.pop(agent_id, None)
            self._publish({name: kept for name, kept in self._figures.items() if name != agent_id})

    def history(self) -> Iterator[AgentHistory]:
        """All that is needed to go on after a restart but the quantiles of durations, agent by agent."""
        # One agent at a time: recording waits for the lock.
        for name in list(self._agents):
            with self._lock:
                agent = self._agents.get(name)
                found = None if agent is None else history_of(name, agent, self._now())
            if found is not None:
                yield found

    def restore(self, history: Iterable[AgentHistory], elapsed: float) -> None:
        """Add a history that was made `elapsed` seconds ago; the figures are remade at once.

        Raises:
            ValueError: `elapsed` is negative or not a number.
        """
        if not elapsed >= 0.0:
            raise ValueError(f"elapsed must not be negative, got {elapsed!r}")
        with self._lock:
            now = self._now()
            for written in history:
                agent = self._agents.setdefault(written.agent_id, Agent())
                add_history(agent, written, now=now, elapsed=elapsed, max_models=self._config.max_models)
        self.recompute_all()

    def _publish(self, figures: dict[str, AgentFigures]) -> None:
        self._figures = figures
        self._metrics = {name: agent.rollup.metrics for name, agent in figures.items()}

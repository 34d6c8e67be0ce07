"""What one worker tells the others: sums of what it did since it last spoke, and how things stand with it.

Moments are readings of the monotonic clock, which all processes of one machine share.
"""

import msgspec
from msgspec import Struct

from nexus.app.workers.facts import Facts
from nexus.app.workers.learned import LearnedPair
from nexus.app.workers.outcomes import OutcomeNews
from nexus.core.backend import Backend, ModelInfo
from nexus.core.fleet import BackendStatus
from nexus.quality.history import AgentHistory
from nexus.resilience.breaker_config import BreakerState
from nexus.state.spend import MonthSpend


class Measured(Struct, frozen=True, array_like=True, gc=False):
    """One time to the first token (stream) or byte: for a prompt of `tokens`, with `pending` under way."""

    tokens: int
    pending: int
    seconds: float
    output_tokens: int


class PairNews(Struct, array_like=True, gc=False):
    """The attempts of one kind on one model of one backend.

    `times` are the milliseconds of the successes that were timed; `untimed` counts the others. `measured` is
    the newest of them.
    """

    backend: str
    model: str
    stream: bool
    times: list[float] = []
    untimed: int = 0
    failures: int = 0
    measured: Measured | None = None

    @property
    def successes(self) -> int:
        """Timed or not."""
        return len(self.times) + self.untimed


class BackendNews(Struct, array_like=True, gc=False):
    """The attempts on one backend.

    `recent` are the last of them in order, True for a success; only these two ends are judged. `latency_ms`
    is the sum over the `successes`. `unreached` counts failed connections, `answered` says whether any HTTP
    answer came. `blocked_until` and `throttles` are set where it answered 429.
    """

    backend: str
    attempts: int = 0
    recent: list[bool] = []
    successes: int = 0
    latency_ms: float = 0.0
    unreached: int = 0
    answered: bool = False
    reason: str = ""
    blocked_until: float = 0.0
    throttles: int = 0


class HistogramNews(Struct, array_like=True, gc=False):
    """Additions to a histogram."""

    counts: list[int]
    total: float


class BackendCounts(Struct, array_like=True, gc=False):
    """Additions to the counters of one backend; `numbers` in the order of `counting.NUMBERS`."""

    numbers: list[int | float]
    failures: dict[str, int]
    transitions: dict[str, int]
    ttft: HistogramNews | None
    queue_time: HistogramNews | None


class Counts(Struct, array_like=True, gc=False):
    """Additions to `TrafficCounters` and the times of the routing stages."""

    backends: dict[str, BackendCounts]
    models: dict[str, int]
    codes: dict[str, int]
    statuses: dict[int, list[int]]
    duration: HistogramNews | None
    overhead: HistogramNews | None
    recompute: HistogramNews | None
    stages: list[HistogramNews | None]
    waits: int
    waited_seconds: float


class Standing(Struct, frozen=True, array_like=True, gc=False):
    """What the checks say of one backend."""

    backend: str
    status: BackendStatus
    error: str
    models: tuple[ModelInfo, ...]


class BreakerNews(Struct, frozen=True, array_like=True, gc=False):
    """A breaker that changed; `wait` is in seconds."""

    backend: str
    state: BreakerState
    wait: float


class News(Struct, omit_defaults=True, gc=False):
    """One batch. `pending` has the attempts under way, by backend, where their number changed.

    `granted` are the requests that rate limits let through, by bucket.
    """

    breakers: list[BreakerNews] = []
    forgiven: list[tuple[str, str]] = []
    pairs: list[PairNews] = []
    backends: list[BackendNews] = []
    pending: dict[str, int] = {}
    standings: list[Standing] = []
    counts: Counts | None = None
    granted: dict[str, int] = {}
    spend: MonthSpend | None = None
    facts: Facts | None = None
    outcomes: OutcomeNews | None = None

    def __bool__(self) -> bool:
        return bool(
            self.counts
            or self.granted
            or self.spend
            or self.facts
            or self.outcomes
            or self.backends
            or self.pending
            or self.breakers
            or self.standings
            or self.forgiven
            or self.pairs
        )


class Scene(Struct, gc=False):
    """All that a worker knows, for one that begins.

    `found` are the backends where they were discovered. `pending` is by worker and backend, `spends` and
    `facts` by worker; `gone` are the facts of those that have ended. `filling` has the seconds until each
    bucket of the rate limits is full.
    """

    found: tuple[Backend, ...]
    standings: list[Standing]
    breakers: list[BreakerNews]
    history: list[AgentHistory]
    pending: dict[int, dict[str, int]]
    counts: Counts | None
    filling: dict[str, float]
    spends: dict[int, MonthSpend]
    facts: dict[int, Facts]
    gone: Facts
    learned: list[LearnedPair]


encoder = msgspec.msgpack.Encoder()
news_decoder = msgspec.msgpack.Decoder(News)
scene_decoder = msgspec.msgpack.Decoder(Scene)

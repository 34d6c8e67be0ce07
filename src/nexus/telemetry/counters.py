"""What happened since the process started, counted as it happens.

Recording is on the path of every request, so it is plain arithmetic on slots: no locks, no labels. Everything
here belongs to one event loop; `/metrics` and `/v1/stats` read it on that loop.
"""

from bisect import bisect_left
from collections.abc import Container, Sequence
from typing import Final

from nexus.core.decision import Finished
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind, RequestResult
from nexus.core.request import Surface
from nexus.telemetry.histogram import Histogram

OTHER: Final = "other"
NO_SURFACE: Final = "none"
SURFACES = (Surface.CHAT.value, Surface.COMPLETION.value, Surface.EMBEDDING.value, NO_SURFACE)
RESULTS = tuple(result.value for result in RequestResult)

TTFT_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DURATION_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
QUEUE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
OVERHEAD_BOUNDS = (2e-5, 3e-5, 5e-5, 7.5e-5, 1e-4, 1.5e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.1, 1.0)
RECOMPUTE_BOUNDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5)

# Names come from backends and codes from ourselves; a table that grows has an end all the same.
MAX_MODELS: Final = 1024
MAX_CODES: Final = 64

_PATHS: Final = {
    "/v1/chat/completions": Surface.CHAT.value,
    "/v1/completions": Surface.COMPLETION.value,
    "/v1/embeddings": Surface.EMBEDDING.value,
}
_SURFACE_CELL: Final = {surface: index * len(RESULTS) for index, surface in enumerate(SURFACES)}
_RESULT_CELL: Final = {result: index for index, result in enumerate(RESULTS)}
_SUCCEEDED, _FAILED, _LEFT, _REJECTED = range(len(RESULTS))
# A module's own name is found faster than an attribute of an enum.
_ATTEMPT_SUCCESS: Final = AttemptResult.SUCCESS
_ATTEMPT_FAILURE: Final = AttemptResult.FAILURE
_ATTEMPT_CANCELLED: Final = AttemptResult.CANCELLED
_REQUEST_SUCCESS: Final = RequestResult.SUCCESS
_CHAT_SURFACE: Final = Surface.CHAT
_UNKNOWN_KIND: Final = "unknown"


class BackendCounters:
    """The attempts made on one backend. `latency_ms_sum` is over the successes, `failures` is by kind.

    `transitions` counts the breaker's changes by the state they led to.
    """

    __slots__ = (
        "cancelled",
        "cost_usd",
        "failure",
        "failures",
        "input_tokens",
        "latency_ms_sum",
        "output_tokens",
        "queue_time",
        "rate_limited",
        "success",
        "transitions",
        "ttft",
    )

    def __init__(self) -> None:
        self.success = 0
        self.failure = 0
        self.rate_limited = 0
        self.cancelled = 0
        self.failures: dict[str, int] = {}
        self.latency_ms_sum = 0.0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd = 0.0
        self.ttft = Histogram(TTFT_BOUNDS)
        self.queue_time = Histogram(QUEUE_BOUNDS)
        self.transitions: dict[str, int] = {}

    @property
    def requests(self) -> int:
        """Finished attempts, however they ended."""
        return self.success + self.failure + self.rate_limited + self.cancelled

    @property
    def mean_latency_ms(self) -> float:
        """Mean time of the successful attempts, 0.0 without one. Failures never make a backend look fast."""
        return self.latency_ms_sum / self.success if self.success else 0.0

    def count_failure(self, kind: FailureKind | None) -> None:
        """One more failed attempt, of this kind."""
        self.failure += 1
        name = _UNKNOWN_KIND if kind is None else kind.value
        self.failures[name] = self.failures.get(name, 0) + 1


TABLES = (
    "backends",
    "codes",
    "duration",
    "models",
    "overhead",
    "recompute",
    "statuses",
    "waited_seconds",
    "waits",
)
"""What a `TrafficCounters` is made of."""


class TrafficCounters:
    """Counts attempts by backend, and client requests by status, surface and end.

    `statuses` has, by HTTP status, one cell per surface and result, at `surface * len(RESULTS) + result`; the
    totals are sums over it. `models` counts requests by the model that answered, `codes` by error code.
    `waits` counts the requests that have waited in the queue, for `waited_seconds` in all.
    """

    __slots__ = TABLES

    def __init__(self) -> None:
        self.backends: dict[str, BackendCounters] = {}
        self.models: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        self.statuses: dict[int, list[int]] = {}
        self.duration = Histogram(DURATION_BOUNDS)
        self.overhead = Histogram(OVERHEAD_BOUNDS)
        self.recompute = Histogram(RECOMPUTE_BOUNDS)
        self.waits = 0
        self.waited_seconds = 0.0

    @property
    def total(self) -> int:
        """Every request at an inference path, refused ones included; the sum of the four ends below."""
        return sum(map(sum, self.statuses.values()))

    @property
    def success(self) -> int:
        """Requests that were answered."""
        return self._ended(_SUCCEEDED)

    @property
    def errors(self) -> int:
        """Requests that reached a backend and failed."""
        return self._ended(_FAILED)

    @property
    def cancelled(self) -> int:
        """Requests whose client went away."""
        return self._ended(_LEFT)

    @property
    def rejected(self) -> int:
        """Requests that were never sent to a backend."""
        return self._ended(_REJECTED)

    @property
    def mean_wait_ms(self) -> float:
        """Mean time in the queue over the requests that waited, 0.0 without one."""
        return 1000.0 * self.waited_seconds / self.waits if self.waits else 0.0

    def record_attempts(self, outcomes: Sequence[AttemptOutcome]) -> None:
        """Count finished attempts. The time to first token counts unless the attempt failed."""
        for outcome in outcomes:
            backend = self.backends.get(outcome.backend_id)
            if backend is None:
                backend = self.backends[outcome.backend_id] = BackendCounters()
            result = outcome.result
            if result is _ATTEMPT_SUCCESS:
                backend.success += 1
                backend.latency_ms_sum += outcome.latency_ms
            elif result is _ATTEMPT_FAILURE:
                backend.count_failure(outcome.kind)
            elif result is _ATTEMPT_CANCELLED:
                backend.cancelled += 1
            else:
                backend.rate_limited += 1
            ttft_ms = outcome.ttft_ms
            if ttft_ms is not None and outcome.stream and result is not _ATTEMPT_FAILURE:
                backend.ttft.observe(ttft_ms / 1000.0)
            backend.input_tokens += outcome.input_tokens
            backend.output_tokens += outcome.output_tokens
            if outcome.cost_usd is not None:
                backend.cost_usd += outcome.cost_usd

    def record_requests(self, finished: Sequence[Finished]) -> None:
        """Count finished client requests. The decisions are not needed; recorders are all called alike."""
        statuses, models = self.statuses, self.models
        duration, overhead = self.duration, self.overhead
        durations, overheads = duration.counts, overhead.counts
        for outcome, _ in finished:
            result, surface = outcome.result, outcome.request.surface
            if result is _REQUEST_SUCCESS and surface is _CHAT_SURFACE:
                cell = 0
            else:
                cell = _SURFACE_CELL[surface.value] + _RESULT_CELL[result.value]
            cells = statuses.get(outcome.status) or self._cells(outcome.status)
            cells[cell] += 1
            if outcome.code:
                self._count_code(outcome.code)
            served = outcome.served
            if served is not None:
                model = served.model
                if model in models:
                    models[model] += 1
                else:
                    self._first_of(model)
            # `Histogram.observe`, written out: the calls would double what recording costs.
            seconds = outcome.latency_ms / 1000.0
            durations[bisect_left(DURATION_BOUNDS, seconds)] += 1
            duration.total += seconds
            seconds = outcome.overhead_ms / 1000.0
            overheads[bisect_left(OVERHEAD_BOUNDS, seconds)] += 1
            overhead.total += seconds

    def count_unrouted(self, status: int, code: str, path: str = "") -> None:
        """Count a request at an inference path that was refused before it became a `Request`."""
        self._cells(status)[_SURFACE_CELL[_PATHS.get(path, NO_SURFACE)] + _REJECTED] += 1
        if code:
            self._count_code(code)

    def record_transition(self, agent_id: str, _old: str, new: str) -> None:
        """Count a breaker's change of state; has the shape of a breaker's listener."""
        backend = self.backends.get(agent_id)
        if backend is None:
            backend = self.backends[agent_id] = BackendCounters()
        state = str(new)
        backend.transitions[state] = backend.transitions.get(state, 0) + 1

    def record_wait(self, seconds: float, agent_id: str | None) -> None:
        """Count a request that leaves the queue, with a place on a backend or (None) without one."""
        self.waits += 1
        self.waited_seconds += seconds
        if agent_id is not None:
            backend = self.backends.get(agent_id)
            if backend is None:
                backend = self.backends[agent_id] = BackendCounters()
            backend.queue_time.observe(seconds)

    def remove_backend(self, backend_id: str) -> None:
        """Forget a backend; added again, it starts at zero."""
        self.backends.pop(backend_id, None)

    def prune(self, backend_ids: Container[str], models: Container[str]) -> None:
        """Forget the backends that are gone, and count the models that are gone as `other`.

        An attempt that ends after its backend was removed is counted for a moment; this clears it away.
        """
        for backend_id in [each for each in self.backends if each not in backend_ids]:
            del self.backends[backend_id]
        for model in [each for each in self.models if each not in models and each != OTHER]:
            self.models[OTHER] = self.models.get(OTHER, 0) + self.models.pop(model)

    def _ended(self, result: int) -> int:
        return sum(sum(cells[result :: len(RESULTS)]) for cells in self.statuses.values())

    def _cells(self, status: int) -> list[int]:
        cells = self.statuses.get(status)
        if cells is None:
            cells = self.statuses[status] = [0] * (len(SURFACES) * len(RESULTS))
        return cells

    def _first_of(self, model: str) -> None:
        if len(self.models) >= MAX_MODELS:
            model = OTHER
        self.models[model] = self.models.get(model, 0) + 1

    def _count_code(self, code: str) -> None:
        if code not in self.codes and len(self.codes) >= MAX_CODES:
            code = OTHER
        self.codes[code] = self.codes.get(code, 0) + 1

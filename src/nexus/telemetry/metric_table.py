"""Every metric that Nexus exposes: the one place for names, types, labels and help texts.

`/metrics` is rendered from these records, and the reference page is generated from them.
"""

from typing import Literal

from msgspec import Struct

from nexus.telemetry.counters import (
    DURATION_BOUNDS,
    OVERHEAD_BOUNDS,
    QUEUE_BOUNDS,
    RECOMPUTE_BOUNDS,
    TTFT_BOUNDS,
)
from nexus.telemetry.histogram import STAGE_BOUNDS


class MetricSpec(Struct, frozen=True):
    """One metric as it is exposed. `bounds` are a histogram's upper bounds, without infinity."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_AGENT = ("agent_id",)

AGENT_ERROR_RATE = MetricSpec(
    "nexus_agent_error_rate",
    "gauge",
    "Share of failed attempts in the last hour, 0 to 1. Absent for a backend without history.",
    _AGENT,
)
AGENT_SUCCESS_RATE = MetricSpec(
    "nexus_agent_success_rate_24h",
    "gauge",
    "Share of successful attempts in the last 24 hours, 0 to 1. Absent for a backend without history.",
    _AGENT,
)
AGENT_REQUEST_COUNT = MetricSpec(
    "nexus_agent_request_count_1h",
    "gauge",
    "Attempts in the last hour that ended in success or failure. Absent for a backend without history.",
    _AGENT,
)
AGENT_TTFT = MetricSpec(
    "nexus_agent_ttft_seconds",
    "histogram",
    "Time from sending a streamed attempt upstream to its first content token; failed attempts do not count.",
    _AGENT,
    TTFT_BOUNDS,
)
AGENT_MODEL_ERROR_RATE = MetricSpec(
    "nexus_agent_model_error_rate",
    "gauge",
    "Share of failed attempts in the last hour by backend and model, 0 to 1. "
    "Absent where quality.rollup_series is on.",
    ("agent_id", "model"),
)
BACKEND_ERROR_RATE = MetricSpec(
    "nexus_backend_error_rate",
    "gauge",
    "Share of failed attempts in the last hour, all models together, 0 to 1. "
    "Stands in for the series by model where quality.rollup_series is on.",
    ("backend_id",),
)
QUALITY_RECOMPUTE = MetricSpec(
    "nexus_quality_recompute_duration_seconds",
    "histogram",
    "Time one recompute of all quality figures takes.",
    bounds=RECOMPUTE_BOUNDS,
)
RECONCILER_DURATION = MetricSpec(
    "nexus_reconciler_duration_seconds",
    "histogram",
    "Time one stage of the routing pipeline takes; stages without anything to do for a model are passed by.",
    ("reconciler",),
    STAGE_BOUNDS,
)
BACKEND_UP = MetricSpec(
    "nexus_backend_up",
    "gauge",
    "1 where the health checks say healthy, 0 where unhealthy or unknown.",
    _AGENT,
)
BREAKER_STATE = MetricSpec(
    "nexus_breaker_state", "gauge", "State of the circuit breaker: 0 closed, 1 half-open, 2 open.", _AGENT
)
BREAKER_TRANSITIONS = MetricSpec(
    "nexus_breaker_transitions_total",
    "counter",
    "Changes of the circuit breaker, by the state it changed to: closed, half_open or open.",
    ("agent_id", "to"),
)
AGENT_QUEUE_TIME = MetricSpec(
    "nexus_agent_queue_time_seconds",
    "histogram",
    "Time requests waited in the queue before their first attempt on the backend; only those that waited.",
    _AGENT,
    QUEUE_BOUNDS,
)
QUEUE_DEPTH = MetricSpec("nexus_queue_depth", "gauge", "Requests that wait for a free place on a backend.")
RETRIES = MetricSpec(
    "nexus_retries_total",
    "counter",
    "Attempts beyond a request's first, those beside a slow one included.",
)
RETRIES_REFUSED = MetricSpec(
    "nexus_retries_refused_total", "counter", "Retries that the retry budget did not allow."
)
PENDING = MetricSpec("nexus_pending_requests", "gauge", "Attempts in flight on the backend.", _AGENT)
REQUESTS = MetricSpec(
    "nexus_requests_total",
    "counter",
    "Client requests at inference paths, by surface (chat, completion, embedding; none where the request was "
    "refused before that was known), result (success, error, cancelled, rejected) and HTTP status.",
    ("surface", "result", "status"),
)
REQUEST_ERRORS = MetricSpec(
    "nexus_request_errors_total",
    "counter",
    "Client requests that the gateway answered with an error of its own, by the code in the error body.",
    ("code",),
)
MODEL_REQUESTS = MetricSpec(
    "nexus_model_requests_total",
    "counter",
    "Client requests by the model that answered; other counts the models that are no longer there.",
    ("model",),
)
ATTEMPTS = MetricSpec(
    "nexus_attempts_total",
    "counter",
    "Finished attempts by outcome (success, failure, rate_limited, cancelled) and kind of failure "
    "(empty unless the outcome is failure).",
    ("agent_id", "outcome", "kind"),
)
TOKENS = MetricSpec(
    "nexus_tokens_total",
    "counter",
    "Tokens sent to (input) and received from (output) the backend; estimated where it reports none.",
    ("agent_id", "direction"),
)
COST = MetricSpec(
    "nexus_cost_usd_total", "counter", "US dollars spent on attempts whose price is known.", _AGENT
)
REQUEST_DURATION = MetricSpec(
    "nexus_request_duration_seconds",
    "histogram",
    "Time from receiving a client request to its end.",
    bounds=DURATION_BOUNDS,
)
OVERHEAD = MetricSpec(
    "nexus_gateway_overhead_seconds",
    "histogram",
    "Time a client request spends in the gateway itself up to the first byte sent.",
    bounds=OVERHEAD_BOUNDS,
)
OUTCOMES = MetricSpec(
    "nexus_outcomes_total",
    "counter",
    "Resolved calls by the signal that resolved them (explicit, failure, rate_limit, expired, or an implicit "
    "one) and what it said: success, failure or unknown. Absent where outcomes are switched off.",
    ("signal", "result"),
)
OUTCOMES_PENDING = MetricSpec(
    "nexus_outcomes_pending", "gauge", "Calls that wait for a signal about their answer."
)
OUTCOMES_ABANDONED = MetricSpec(
    "nexus_outcomes_abandoned_total", "counter", "Calls given up because they had not ended in time."
)
CONVERSATIONS_UNREAD = MetricSpec(
    "nexus_conversations_unread_total",
    "counter",
    "Requests left unread by the implicit signals because more came than there was time to read.",
)
RECEIPTS = MetricSpec(
    "nexus_receipts_total",
    "counter",
    "Receipts of resolved calls: written to the ledger, or dropped because it could not be written.",
    ("result",),
)
RECEIPTS_WAITING = MetricSpec(
    "nexus_receipts_waiting", "gauge", "Receipts in memory that are not in the ledger yet."
)
LOG_LINES_LOST = MetricSpec(
    "nexus_log_lines_lost_total",
    "counter",
    "Log lines that could not be written: overflow (the reader is too slow) or write_error.",
    ("reason",),
)
BUILD_INFO = MetricSpec(
    "nexus_build_info", "info", "Always 1; the label says which version runs.", ("version",)
)

OWN_METRICS = (
    REQUESTS,
    REQUEST_ERRORS,
    REQUEST_DURATION,
    OVERHEAD,
    MODEL_REQUESTS,
    ATTEMPTS,
    TOKENS,
    COST,
    RETRIES,
    RETRIES_REFUSED,
    QUEUE_DEPTH,
    AGENT_QUEUE_TIME,
    PENDING,
    BACKEND_UP,
    BREAKER_STATE,
    BREAKER_TRANSITIONS,
    AGENT_ERROR_RATE,
    AGENT_SUCCESS_RATE,
    AGENT_REQUEST_COUNT,
    AGENT_TTFT,
    AGENT_MODEL_ERROR_RATE,
    BACKEND_ERROR_RATE,
    QUALITY_RECOMPUTE,
    RECONCILER_DURATION,
    OUTCOMES,
    OUTCOMES_PENDING,
    OUTCOMES_ABANDONED,
    CONVERSATIONS_UNREAD,
    RECEIPTS,
    RECEIPTS_WAITING,
    LOG_LINES_LOST,
    BUILD_INFO,
)
PROCESS_METRICS = (
    MetricSpec("process_cpu_seconds_total", "counter", "User and system CPU time spent, in seconds."),
    MetricSpec("process_resident_memory_bytes", "gauge", "Resident memory in bytes."),
    MetricSpec("process_virtual_memory_bytes", "gauge", "Virtual memory in bytes."),
    MetricSpec("process_start_time_seconds", "gauge", "Unix time at which the process started."),
    MetricSpec("process_open_fds", "gauge", "Open file descriptors."),
    MetricSpec("process_max_fds", "gauge", "Limit of open file descriptors."),
)
METRICS = OWN_METRICS + PROCESS_METRICS

"""Every setting of Nexus, with its type, range, default and description.

The TOML file, the environment variables, the flags of `serve`, the template and the reference page all come
from these classes.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import field_validator

from nexus.config.backend import BackendSettings
from nexus.config.routing import BudgetConfig, RoutingConfig, RoutingPolicy, RoutingWeights
from nexus.config.section import AnyCase, AsTuple, Section, setting

__all__ = [
    "BackendSettings",
    "BreakerSettings",
    "BudgetConfig",
    "Config",
    "DiscoveryConfig",
    "HealthCheckConfig",
    "LedgerSettings",
    "LogLevel",
    "LoggingSettings",
    "OutcomeSettings",
    "QualitySettings",
    "QueueSettings",
    "RateLimitSettings",
    "RetrySettings",
    "RoutingConfig",
    "RoutingPolicy",
    "RoutingWeights",
    "ServerConfig",
    "TimeoutSettings",
]

_STORE_URL = re.compile(r"(sqlite|jsonl):////[^/\0][^\0]*\Z|postgres(ql)?://.")
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], AnyCase]


class ServerConfig(Section):
    """`[server]`: where the gateway listens and what it accepts. A change needs a restart."""

    host: str = setting("127.0.0.1", "Address to listen on.", min_length=1, short="--host")
    port: int = setting(8080, "Port to listen on; 0: any free one.", ge=0, le=65535, short="--port")
    workers: int = setting(1, "Processes that serve requests.", ge=1, le=256)
    max_body_bytes: int = setting(33_554_432, "Largest request body; a larger one is a 413.", ge=1)
    max_concurrent_requests: int = setting(4096, "Requests in flight; beyond it, 503 at once.", ge=1)
    busy_poll_microseconds: int = setting(
        200,
        "How long to look for more work before sleeping, where requests and answers come as close together; "
        "0: sleep at once.",
        ge=0,
        le=10_000,
    )
    header_timeout_seconds: float = setting(10.0, "Time a client has to send a request's head.", gt=0)
    body_timeout_seconds: float = setting(60.0, "Time a client has to send a request's body.", gt=0)
    shutdown_grace_seconds: float = setting(30.0, "Time running requests get to finish at the end.", ge=0)
    api_keys_env: str = setting(
        "",
        "Name of a variable with comma-separated keys that clients must present; empty: no authentication.",
        example='"NEXUS_API_KEYS"',
    )


class DiscoveryConfig(Section):
    """`[discovery]`: finding model servers on this machine."""

    enabled: bool = setting(
        True,
        "With no backend configured, look for model servers on the well-known local ports: Ollama 11434, "
        "LM Studio 1234, vLLM 8000, llama.cpp 8080, SGLang 30000.",
    )


class HealthCheckConfig(Section):
    """`[health_check]`: regular checks of every backend."""

    enabled: bool = setting(True, "Check backends in the background.")
    interval_seconds: float = setting(30.0, "Time between two checks of a backend.", gt=0)
    timeout_seconds: float = setting(5.0, "A check that takes longer has failed.", gt=0)
    failure_threshold: int = setting(3, "Failed checks in a row that make a backend unhealthy.", ge=1)
    recovery_threshold: int = setting(2, "Good checks in a row that make it healthy again.", ge=1)


class QualitySettings(Section):
    """`[quality]`: measuring backends by how their answers end, and leaving out the bad ones."""

    enabled: bool = setting(True, "Let the measured quality decide about routing.", live=True)
    error_rate_threshold: float = setting(
        0.5,
        "Share of failures in the last hour from which on a backend is left out; 1.0 or more: never.",
        live=True,
        ge=0,
    )
    ttft_penalty_threshold_ms: int = setting(
        3000, "Mean time to first token above which a backend's score falls; 0: never.", live=True, ge=0
    )
    metrics_interval_seconds: float = setting(
        30.0, "Time between two recomputations of the published figures.", live=True, ge=1
    )
    min_samples: int = setting(5, "Outcomes a rate needs before it counts.", live=True, ge=1)
    recovery: Literal["probe", "window"] = setting(
        "probe", "How an excluded backend returns: by test requests, or when its failures age out.", live=True
    )
    on_all_degraded: Literal["include", "reject"] = setting(
        "include", "When every backend is degraded: use them all the same, or answer 503.", live=True
    )
    fallback_backend: str = setting(
        "", "Id of the backend preferred when every one is degraded.", live=True, example='"my-backend"'
    )
    reward_good: bool = setting(False, "Raise the score of backends with few errors.", live=True)
    rollup_series: bool = setting(False, "Publish one error rate per backend instead of one per model.")


class BreakerSettings(Section):
    """`[breaker]`: taking a failing backend out within seconds."""

    enabled: bool = setting(True, "Use circuit breakers.", live=True)
    failure_threshold: int = setting(
        3, "Failures in a row that open a breaker.", live=True, ge=1, legacy="LLM_CB_FAILURE_THRESHOLD"
    )
    success_threshold: int = setting(2, "Successes of a half-open breaker that close it.", live=True, ge=1)
    timeout_seconds: float = setting(
        60.0, "Longest time a breaker stays open.", live=True, gt=0, legacy="LLM_CB_TIMEOUT_SECONDS"
    )
    first_timeout_seconds: float = setting(
        2.0, "Time it stays open at first; it doubles up to the longest.", live=True, gt=0
    )
    max_half_open: int = setting(1, "Test requests at a time while half-open.", live=True, ge=1)


class RetrySettings(Section):
    """`[retry]`: trying another backend before the client has seen a byte."""

    max_retries: int = setting(
        2, "Attempts beyond the first, fallback models included.", live=True, ge=0, legacy="MAX_RETRIES"
    )
    initial_delay_seconds: float = setting(
        0.0, "Wait before the first retry.", live=True, ge=0, legacy="INITIAL_RETRY_DELAY"
    )
    max_delay_seconds: float = setting(
        60.0, "Longest wait before a retry.", live=True, ge=0, legacy="MAX_RETRY_DELAY"
    )
    backoff_factor: float = setting(2.0, "Each wait is this many times the one before.", live=True, ge=1)
    jitter: bool = setting(True, "Spread the waits at random.", live=True)
    budget_percent: float = setting(
        20.0, "Retries may be this share of all requests.", live=True, ge=0, le=100
    )
    budget_min_per_second: float = setting(
        10.0, "Retries per second that are allowed whatever the share.", live=True, ge=0
    )


class TimeoutSettings(Section):
    """`[timeouts]`: how long a backend may take."""

    connect_seconds: float = setting(5.0, "To accept a connection.", live=True, gt=0)
    first_token_seconds: float = setting(60.0, "To the first content of an answer.", live=True, gt=0)
    stream_idle_seconds: float = setting(60.0, "Between two pieces of a stream.", live=True, gt=0)
    total_seconds: float = setting(
        600.0, "For the whole request.", live=True, gt=0, legacy="LLM_TIMEOUT_SECONDS"
    )


class RateLimitSettings(Section):
    """`[rate_limit]`: how many requests a client may send."""

    enabled: bool = setting(False, "Limit requests.", live=True)
    per_second: float = setting(
        10.0, "Requests per second in the long run.", live=True, gt=0, legacy="RATE_LIMIT_PER_SECOND"
    )
    burst: int = setting(20, "Requests that may come at once.", live=True, ge=1, legacy="RATE_LIMIT_BURST")
    scope: Literal["key", "global", "ip"] = setting(
        "key", "Whose requests are counted together: one API key's, everybody's, one address's.", live=True
    )
    max_wait_seconds: float = setting(5.0, "Longest wait before a 429.", live=True, ge=0)


class QueueSettings(Section):
    """`[queue]`: where requests wait while every backend is at its limit."""

    enabled: bool = setting(True, "Let requests wait for a free place.", live=True)
    max_size: int = setting(100, "Requests that may wait; beyond it, 503.", live=True, ge=1)
    max_wait_seconds: float = setting(30.0, "Longest wait before a 503.", live=True, ge=0)


class OutcomeSettings(Section):
    """`[outcomes]`: learning which model is good at what."""

    enabled: bool = setting(True, "Keep outcomes and model profiles.")
    implicit_signals: bool = setting(True, "Read from the next message what became of an answer.")
    pending_ttl_seconds: float = setting(300.0, "Time a signal has to arrive.", gt=0)
    max_pending: int = setting(
        10_000,
        "Calls that wait for a signal at a time, about 0.6 kB each; beyond it the oldest are closed.",
        ge=1,
    )
    git_deadline_seconds: float = setting(86_400.0, "Time suggested code has to appear in a commit.", gt=0)
    exploration: float = setting(0.05, "Share of `auto` requests that try another model.", ge=0, le=1)
    quality_weight: float = setting(1.0, "Weight of quality in the choice of a model.", ge=0)
    cost_weight: float = setting(0.1, "Weight of cost in the choice of a model.", ge=0)
    latency_weight: float = setting(0.1, "Weight of the expected time in the choice of a model.", ge=0)


class LedgerSettings(Section):
    """`[ledger]`: where receipts are kept."""

    url: str = setting(
        "",
        "`sqlite:///` or `jsonl:///` and an absolute path, `postgresql://…`, or `none`; "
        "empty: `nexus.db` (SQLite) in the data directory.",
        secret=True,
        example='"jsonl:////var/lib/nexus/ledger.jsonl"',
    )
    max_entries: int = setting(1_000_000, "Receipts kept; the oldest go first. 0: all.", ge=0)
    flush_interval_seconds: float = setting(1.0, "Time between two writes.", gt=0)

    @field_validator("url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if url in {"", "none"} or _STORE_URL.match(url):
            return url
        raise ValueError(
            "must be sqlite:/// or jsonl:/// and an absolute path, which makes four slashes "
            "(sqlite:////var/lib/nexus/nexus.db), postgresql://…, or none"
        )


class LoggingSettings(Section):
    """`[logging]`: what is logged and how."""

    level: LogLevel = setting(
        "info", "Lowest level that is logged.", live=True, short="--log-level", legacy="LOG_LEVEL"
    )
    format: Literal["auto", "pretty", "json"] = setting(
        "auto", "`auto` is pretty on a terminal and JSON elsewhere.", live=False
    )
    component_levels: dict[str, LogLevel] = setting(
        {},
        "Levels of single components.",
        live=True,
        example='{ "routing.reconciler.quality" = "debug" }',
    )
    content: bool = setting(False, "Log prompts and answers too.", live=True)


class Config(Section):
    """The whole configuration. A field is a section of the file; `data_dir` stands above the sections."""

    data_dir: Path = setting(
        Path(), "Where Nexus keeps its data; empty: the platform's place for it.", strict=False
    )
    server: ServerConfig = ServerConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    health_check: HealthCheckConfig = HealthCheckConfig()
    routing: RoutingConfig = RoutingConfig()
    quality: QualitySettings = QualitySettings()
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    queue: QueueSettings = QueueSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    ledger: LedgerSettings = LedgerSettings()
    logging: LoggingSettings = LoggingSettings()
    backends: Annotated[tuple[BackendSettings, ...], AsTuple] = setting(
        (), "The backends; none: they are looked for (see `[discovery]`).", live=True
    )

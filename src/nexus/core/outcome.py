"""How attempts and requests end. Every attempt yields exactly one `AttemptOutcome`."""

from enum import StrEnum

from msgspec import Struct

from nexus.core.request import Request


class AttemptResult(StrEnum):
    """The end of one try on one backend.

    Only `success` and `failure` are evidence about the backend's quality. `rate_limited` is an upstream 429:
    it paces the backend and says nothing about how good it is. `cancelled`: the client went away, or the
    attempt lost a race.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    RATE_LIMITED = "rate_limited"
    CANCELLED = "cancelled"


class FailureKind(StrEnum):
    """What went wrong with a failed attempt."""

    CONNECT = "connect"
    DNS = "dns"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect_timeout"
    RESET = "reset"
    PROTOCOL = "protocol"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    SERVER_ERROR = "server_error"
    AUTH = "auth"
    MODEL_MISSING = "model_missing"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    MALFORMED = "malformed"
    ERROR_BODY = "error_body"
    EMPTY = "empty"
    CUT = "cut"

    @property
    def is_connection(self) -> bool:
        """Whether no HTTP answer was had at all: these count as health evidence too."""
        return self in _CONNECTION

    @property
    def is_timeout(self) -> bool:
        """Whether time ran out."""
        return self in _TIMEOUT


_CONNECTION = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.DNS,
        FailureKind.TLS,
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.RESET,
    }
)
_TIMEOUT = frozenset(
    {
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.FIRST_TOKEN_TIMEOUT,
        FailureKind.IDLE_TIMEOUT,
        FailureKind.TOTAL_TIMEOUT,
        FailureKind.UPSTREAM_TIMEOUT,
    }
)


# Records that are kept by the thousand are packed as arrays: the names of their fields would be most of it.
class AttemptOutcome(Struct, frozen=True, gc=False, array_like=True):
    """One finished attempt.

    Times are milliseconds from sending the attempt upstream: `latency_ms` to its end, `first_byte_ms` to the
    first byte of the answer's body, `ttft_ms` to the first content token (streams only). `status` is the
    upstream's HTTP status, 0 where there was none. `retry_after` (seconds) is what a 429 asked for.
    `cost_usd` is from real usage and a known price, else None. `ended_at` is monotonic.
    """

    trace_id: str
    backend_id: str
    model: str
    result: AttemptResult
    ended_at: float
    latency_ms: float
    kind: FailureKind | None = None
    status: int = 0
    first_byte_ms: float | None = None
    ttft_ms: float | None = None
    stream: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    usage_estimated: bool = False
    cost_usd: float | None = None
    retry_after: float | None = None
    probe: bool = False
    error: str = ""


class RequestResult(StrEnum):
    """How the client's request ended. `rejected` never reached a backend."""

    SUCCESS = "success"
    ERROR = "error"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class RequestOutcome(Struct, frozen=True, gc=False, array_like=True):
    """One finished client request: what the log line, the counters and the stored explanation are made of.

    `overhead_ms` is the time spent in the gateway itself up to the first byte sent. `served` is the attempt
    that answered, None where none did. `timestamp` is Unix time in seconds.
    """

    request: Request
    path: str
    status: int
    result: RequestResult
    timestamp: float
    latency_ms: float
    overhead_ms: float
    route_reason: str = ""
    attempts: tuple[AttemptOutcome, ...] = ()
    served: AttemptOutcome | None = None
    code: str = ""

"""What the request log says of a request."""

from msgspec import Struct


class RequestLine(Struct, frozen=True, gc=False):
    """One line of the log. Times are in milliseconds; null stands for what there was not.

    `model` is the name asked for, `model_served` and `backend` are those that answered, and the tokens are
    theirs. `cost_usd` is that of all attempts whose price is known. `ttft_ms` is of streams only.
    """

    timestamp: str
    level: str
    service: str
    message: str
    trace_id: str
    method: str
    path: str
    status: int
    model: str | None
    model_served: str | None
    backend: str | None
    route_reason: str | None
    attempts: int
    stream: bool
    latency_ms: float | None
    ttft_ms: float | None
    overhead_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    client: str | None

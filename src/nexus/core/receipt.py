"""One line of the ledger: what is kept of a resolved inference outcome. Never the words themselves."""

from typing import Protocol

from msgspec import Struct

from nexus.core.request import Task


class LedgerEntry(Struct, frozen=True, omit_defaults=True, gc=False):
    """One receipt. A field that is None (or empty) is absent where it is written, not null.

    `timestamp` is Unix time in seconds, `latency_ms` and `ttft_ms` milliseconds. `success` and `quality` (in
    [0, 1]) are None where nobody knows. `error` and `routing_reason` hold at most 256 characters, secrets
    masked. `propensity` is the probability with which `model_id` was chosen among `candidates`. `signal` says
    what resolved the outcome.
    """

    trace_id: str
    model_id: str
    task: Task
    routing_reason: str
    latency_ms: float
    input_tokens: int
    output_tokens: int
    attempts: int
    timestamp: float
    backend_id: str = ""
    success: bool | None = None
    quality: float | None = None
    error: str | None = None
    project_id: str | None = None
    intent: str | None = None
    ttft_ms: float | None = None
    cost_usd: float | None = None
    propensity: float | None = None
    candidates: tuple[str, ...] | None = None
    signal: str | None = None


class ReceiptReceiver(Protocol):
    """Who is told of receipts, one or several at a time, in the order in which they were made."""

    def __call__(self, *entries: LedgerEntry) -> None:
        """Take them; it must return quickly."""
        ...

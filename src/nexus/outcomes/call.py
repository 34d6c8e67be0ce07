"""One inference call between its start and its resolution, and the receipt it becomes."""

from functools import lru_cache

from msgspec import Struct

from nexus.core.masking import mask_secrets
from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.outcomes.outcome import Resolution

MAX_TEXT_CHARS = 256
_LOOK_CHARS = 4096


class CallDetails(Struct, frozen=True, gc=False):
    """What only some callers know of a call; it goes to the receipt.

    `ttft_ms` is milliseconds, `propensity` the probability with which the model was chosen among `candidates`
    (model names). `intent` is the name that was asked for, where another model served.
    """

    backend_id: str = ""
    attempts: int = 1
    cost_usd: float | None = None
    ttft_ms: float | None = None
    propensity: float | None = None
    candidates: tuple[str, ...] | None = None
    project_id: str | None = None
    intent: str | None = None


NO_DETAILS = CallDetails()
FOLLOWED_UP = Resolution("followed_up", success=True)
"""Of an answer whose conversation went on without a word on it, once its time is over."""


class PendingCall(Struct, frozen=True):
    """A call that is not resolved yet, as it is shown.

    `started_at` and `completed_at` are readings of the tracker's monotonic clock; the second is None while
    the call runs. `suggestions` is what a repository check has to look for.
    """

    trace_id: str
    model_id: str
    task: Task
    routing_reason: str
    started_at: float
    completed_at: float | None = None
    latency_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    has_output: bool = False
    signal_waits: bool = False
    suggestions: tuple[object, ...] = ()


class Call(Struct, gc=False):
    """The tracker's own record of a call.

    `waiting` is a signal that came before the completion. `checked`: a repository was searched for the
    suggestions at least once. `followed`: the conversation went on, and nothing was said of the answer.
    """

    trace_id: str
    model_id: str
    task: Task
    routing_reason: str
    started_at: float
    details: CallDetails = NO_DETAILS
    completed_at: float | None = None
    latency_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    has_output: bool = False
    waiting: Resolution | None = None
    suggestions: tuple[object, ...] = ()
    checked: bool = False
    followed: bool = False

    def shown(self) -> PendingCall:
        """A copy that does not change."""
        return PendingCall(
            trace_id=self.trace_id,
            model_id=self.model_id,
            task=self.task,
            routing_reason=self.routing_reason,
            started_at=self.started_at,
            completed_at=self.completed_at,
            latency_ms=self.latency_ms,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            has_output=self.has_output,
            signal_waits=self.waiting is not None,
            suggestions=self.suggestions,
        )

    def receipt(self, resolution: Resolution, timestamp: float) -> LedgerEntry:
        """The line of the ledger for this call; `timestamp` is Unix time in seconds."""
        details = self.details
        # In the order of the record's fields: naming them would double what a receipt costs.
        return LedgerEntry(
            self.trace_id,
            self.model_id,
            self.task,
            self.routing_reason,
            self.latency_ms,
            self.input_tokens,
            self.output_tokens,
            details.attempts,
            timestamp,
            details.backend_id,
            resolution.success,
            resolution.quality,
            resolution.error,
            details.project_id,
            details.intent,
            details.ttft_ms,
            details.cost_usd,
            details.propensity,
            details.candidates,
            resolution.signal,
        )


def clipped(text: str) -> str:
    """The text without secrets, in at most 256 characters; a cut is marked with `…`.

    Secrets are masked before the cut: half a key could not be told from a word.
    """
    masked = mask_secrets(text[:_LOOK_CHARS])
    if len(masked) <= MAX_TEXT_CHARS:
        return masked
    return masked[: MAX_TEXT_CHARS - 1] + "…"


@lru_cache(maxsize=256)
def clipped_reason(text: str) -> str:
    """As `clipped`, remembered: routing reasons are few and come with every call."""
    return clipped(text)

"""Which failure it is when a stream is at fault, and what is said when time has run out."""

from nexus.core.outcome import FailureKind
from nexus.proxy.sse import StreamFault

FAULT_KINDS = {
    StreamFault.MALFORMED: FailureKind.MALFORMED,
    StreamFault.ERROR_EVENT: FailureKind.ERROR_BODY,
}
_TIMEOUT_TEXTS = {
    FailureKind.FIRST_TOKEN_TIMEOUT: "no answer within {seconds:.1f} s (timeouts.first_token_seconds)",
    FailureKind.IDLE_TIMEOUT: "the answer fell silent; given up after {seconds:.1f} s in all "
    "(timeouts.stream_idle_seconds)",
    FailureKind.TOTAL_TIMEOUT: "not finished after {seconds:.1f} s (timeouts.total_seconds)",
}


def timeout_text(kind: FailureKind, seconds: float) -> str:
    """What to say of an attempt that was given up after `seconds`, with the setting that says so."""
    return _TIMEOUT_TEXTS[kind].format(seconds=seconds)

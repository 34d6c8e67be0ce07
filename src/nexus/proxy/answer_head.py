"""The gateway's own header lines of an answer. No I/O."""

from functools import lru_cache

from nexus.core.decision import Candidate
from nexus.proxy.downstream import ClientHeaders
from nexus.proxy.headers import header_text


def own_lines(trace_id: str, client: ClientHeaders, overhead_ms: float) -> bytes:
    """What every answer has: its ids, and the time that the gateway itself took."""
    request_id = header_text(client.request_id) if client.request_id else trace_id
    microseconds = int(overhead_ms * 1000.0 + 0.5)
    # Compiled, a number in a format takes longer than all the rest here.
    milliseconds = f"{microseconds // 1000}.{str(1000 + microseconds % 1000)[1:]}"
    lines = (
        f"X-Nexus-Trace-Id: {trace_id}\r\nX-Request-Id: {request_id}\r\n"
        f"X-Nexus-Overhead-Ms: {milliseconds}\r\n{client.answer_lines}"
    )
    return lines.encode("latin-1")


def routed_lines(candidate: Candidate, reason: str, attempts: int) -> bytes:
    """What an answer of a backend has besides: why it went there, and after how many attempts."""
    lines = _reason_lines(reason, attempts)
    if candidate.cost_usd is not None:
        lines += b"X-Nexus-Cost-Estimated: %.6f\r\n" % candidate.cost_usd
    if candidate.degraded:
        lines += b"X-Nexus-Degraded: true\r\n"
    return lines


@lru_cache(maxsize=256)
def _reason_lines(reason: str, attempts: int) -> bytes:
    """Reasons are few, and come with every answer."""
    return f"X-Nexus-Route-Reason: {reason}\r\nX-Nexus-Attempts: {attempts}\r\n".encode("latin-1")

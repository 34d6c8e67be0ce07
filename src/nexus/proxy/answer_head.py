"""The gateway's own header lines of an answer. No I/O."""

from nexus.core.decision import Candidate
from nexus.proxy.downstream import ClientHeaders
from nexus.proxy.headers import header_text


def own_lines(trace_id: str, client: ClientHeaders, overhead_ms: float) -> str:
    """What every answer has: its ids, and the time that the gateway itself took."""
    request_id = header_text(client.request_id) if client.request_id else trace_id
    return (
        f"X-Nexus-Trace-Id: {trace_id}\r\nX-Request-Id: {request_id}\r\n"
        f"X-Nexus-Overhead-Ms: {overhead_ms:.3f}\r\n{client.answer_lines}"
    )


def routed_lines(candidate: Candidate, reason: str, attempts: int) -> str:
    """What an answer of a backend has besides: why it went there, and after how many attempts."""
    extra = ""
    if candidate.cost_usd is not None:
        extra = f"X-Nexus-Cost-Estimated: {candidate.cost_usd:.6f}\r\n"
    if candidate.degraded:
        extra += "X-Nexus-Degraded: true\r\n"
    return f"X-Nexus-Route-Reason: {reason}\r\nX-Nexus-Attempts: {attempts}\r\n{extra}"

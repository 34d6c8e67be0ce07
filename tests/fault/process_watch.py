"""What the fault tests look at besides the answers: descriptors of the gateway, its log, its figures."""

import json
from pathlib import Path
from typing import Any

from nexus.testing import FaultyBackend, GatewayProcess
from tests.e2e.gateway_client import idle


def descriptors(gateway: GatewayProcess) -> int:
    """How many files and sockets the gateway's process has open."""
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def settle(gateway: GatewayProcess, *backends: FaultyBackend, at_most: int | None = None) -> Any:
    """Wait until nothing is in flight; the figures then. At most `at_most` descriptors may be open."""

    def quiet(stats: Any) -> bool:
        return idle(stats) and (at_most is None or descriptors(gateway) <= at_most)

    stats = gateway.wait_for(quiet)
    for backend in backends:
        backend.wait_until(lambda server: server.active_requests == 0)
    return stats


def tried(shown: Any) -> list[tuple[str, str, str | None, int]]:
    """Backend, outcome, kind and status of each attempt of a remembered request."""
    return [(each["backend"], each["outcome"], each["kind"], each["status"]) for each in shown["attempts"]]


def complaints(gateway: GatewayProcess) -> list[str]:
    """Log lines that tell of a fault of the gateway's own. Call it once the process has ended."""
    whole = gateway.stdout[: gateway.stdout.rfind("\n") + 1]  # who was killed may have been writing a line
    lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    odd = [
        json.dumps(line) for line in lines if line["level"] in {"error", "critical"} or "stack_trace" in line
    ]
    return odd + (["standard error: " + gateway.stderr] if "Traceback" in gateway.stderr else [])


def no_backend_is_pending(gateway: GatewayProcess) -> bool:
    """Whether every pending count is zero now."""
    return idle(gateway.get("/v1/stats"))

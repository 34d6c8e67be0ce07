"""`/health` is about whether requests can be served, `/health/ready` about whether they should come."""

import msgspec
import pytest

from nexus.core.fleet import BackendStatus, FleetSnapshot
from nexus.telemetry.health import HealthDocument, HealthWord, build_health, is_ready
from tests.unit.routing.fleets import FixedGate, fleet, serve

UP, DOWN, UNKNOWN = BackendStatus.HEALTHY, BackendStatus.UNHEALTHY, BackendStatus.UNKNOWN


def health(
    snapshot: FleetSnapshot,
    *,
    services: dict[str, HealthWord] | None = None,
    checks_enabled: bool = True,
    draining: bool = False,
) -> HealthDocument:
    return build_health(
        snapshot=snapshot,
        services=services or {},
        version="1.2.3",
        uptime_seconds=4.5678,
        checks_enabled=checks_enabled,
        draining=draining,
    )


def test_the_whole_document():
    """Key by key."""
    snapshot = fleet(
        serve("a", "m n"),
        serve("b", status=DOWN, breaker=FixedGate(wait=1.0)),
        serve("c", status=UNKNOWN, breaker=FixedGate(permits=True)),
    )
    found = health(snapshot, services={"ledger": "healthy"})
    assert msgspec.json.decode(msgspec.json.encode(found)) == {
        "status": "degraded",
        "version": "1.2.3",
        "uptime_seconds": 4.568,
        "services": {"ledger": "healthy"},
        "circuit_breakers": {"a": "closed", "b": "open", "c": "half_open"},
        "backends": {"total": 3, "healthy": 1, "unhealthy": 1},
        "models": 2,
    }


@pytest.mark.parametrize(
    ("snapshot", "services", "draining", "status", "code"),
    [
        (fleet(serve("a")), {"ledger": "healthy"}, False, "healthy", 200),
        (fleet(serve("a"), serve("b", status=DOWN)), {}, False, "degraded", 200),
        (fleet(serve("a"), serve("b", breaker=FixedGate())), {}, False, "degraded", 200),
        (fleet(serve("a")), {"ledger": "degraded"}, False, "degraded", 200),
        (fleet(serve("a")), {"ledger": "unhealthy"}, False, "degraded", 200),
        (fleet(serve("a"), serve("b", status=UNKNOWN)), {}, False, "healthy", 200),
        (fleet(serve("a", status=DOWN)), {}, False, "unhealthy", 503),
        (fleet(serve("a", status=UNKNOWN)), {}, False, "unhealthy", 503),
        (fleet(), {}, False, "unhealthy", 503),
        (fleet(serve("a")), {}, True, "unhealthy", 503),
    ],
)
def test_the_status(snapshot, services, draining, status, code):
    """503 exactly where nothing can be served."""
    found = health(snapshot, services=services, draining=draining)
    assert (found.status, found.http_status) == (status, code)


@pytest.mark.parametrize(
    ("status", "checks_enabled", "draining", "ready"),
    [
        (UP, True, False, True),
        (UP, True, True, False),
        (UNKNOWN, True, False, False),
        (UNKNOWN, False, False, True),
        (DOWN, False, False, False),
    ],
)
def test_ready_needs_a_usable_backend_and_no_shutdown(status, checks_enabled, draining, ready):
    """Where health checks are off, what is not known to be down is usable."""
    snapshot = fleet(serve("a", status=status))
    assert is_ready(snapshot, checks_enabled=checks_enabled, draining=draining) is ready
    found = health(snapshot, checks_enabled=checks_enabled, draining=draining)
    assert (found.http_status == 200) is ready

"""The document of `/health`, and whether the gateway is ready for traffic."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.telemetry.condition import BreakerWord, breaker_word

HealthWord = Literal["healthy", "degraded", "unhealthy"]
_OK = 200
_UNAVAILABLE = 503


class BackendTotals(Struct, frozen=True):
    """How many backends there are. Those not checked yet are neither healthy nor unhealthy."""

    total: int
    healthy: int
    unhealthy: int


class HealthDocument(Struct, frozen=True):
    """All of `/health`, ready for `msgspec.json.encode`."""

    status: HealthWord
    version: str
    uptime_seconds: float
    services: Mapping[str, HealthWord]
    circuit_breakers: Mapping[str, BreakerWord]
    backends: BackendTotals
    models: int

    @property
    def http_status(self) -> int:
        """200 while the gateway can serve, else 503."""
        return _UNAVAILABLE if self.status == "unhealthy" else _OK


def is_usable(view: BackendView, *, checks_enabled: bool) -> bool:
    """Whether requests can be sent to it as far as is known.

    Where nothing is checked, a backend counts as usable; where it is, only once a check has succeeded.
    """
    if view.status is BackendStatus.UNKNOWN:
        return not checks_enabled
    return view.status is BackendStatus.HEALTHY


def is_ready(snapshot: FleetSnapshot, *, checks_enabled: bool, draining: bool) -> bool:
    """Whether `/health/ready` says 200: a backend is usable and no shutdown is under way."""
    return not draining and any(is_usable(view, checks_enabled=checks_enabled) for view in snapshot.backends)


def build_health(
    *,
    snapshot: FleetSnapshot,
    services: Mapping[str, HealthWord],
    version: str,
    uptime_seconds: float,
    checks_enabled: bool,
    draining: bool,
) -> HealthDocument:
    """The document as of now.

    `unhealthy`: no backend is usable, or a shutdown is under way. `degraded`: a backend is unhealthy, a
    breaker is not closed, or one of `services` is not healthy. Else `healthy`.
    """
    words = {view.backend.id: breaker_word(view.live.breaker) for view in snapshot.backends}
    statuses = [view.status for view in snapshot.backends]
    unhealthy = statuses.count(BackendStatus.UNHEALTHY)
    status: HealthWord = "healthy"
    if not is_ready(snapshot, checks_enabled=checks_enabled, draining=draining):
        status = "unhealthy"
    elif unhealthy or set(words.values()) != {"closed"} or any(s != "healthy" for s in services.values()):
        status = "degraded"
    return HealthDocument(
        status=status,
        version=version,
        uptime_seconds=round(uptime_seconds, 3),
        services=services,
        circuit_breakers=words,
        backends=BackendTotals(len(statuses), statuses.count(BackendStatus.HEALTHY), unhealthy),
        models=len(snapshot.by_model),
    )

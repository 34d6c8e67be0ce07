"""GET /health, /health/live and /health/ready."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus.server.answers import json_response
from nexus.telemetry.health import HealthDocument


class Alive(Struct, frozen=True):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Readiness(Struct, frozen=True):
    """Whether requests can be answered now."""

    status: Literal["ready", "not_ready"]


class HealthSurface:
    """Says how the gateway is. `health` builds the document of this moment, `ready` decides readiness."""

    def __init__(self, health: Callable[[], HealthDocument], ready: Callable[[], bool]) -> None:
        self._health = health
        self._ready = ready

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [
            Route("/health", self.show),
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
        ]

    async def show(self, request: Request) -> Response:  # noqa: ARG002  # Starlette's signature
        """The whole document; 503 when nothing can be served."""
        document = self._health()
        return json_response(document, document.http_status)

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        """Always 200: whoever answers is alive."""
        return json_response(Alive())

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """200 once a backend is usable and while no shutdown is under way, else 503."""
        if self._ready():
            return json_response(Readiness("ready"))
        return json_response(Readiness("not_ready"), 503)

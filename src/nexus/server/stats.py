"""GET /v1/stats and /metrics: the same figures for people and for Prometheus."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus.server.answers import json_response
from nexus.telemetry.prometheus import Metrics
from nexus.telemetry.stats import StatsDocument


class StatsSurface:
    """Shows what was measured. `stats` builds the document of this moment."""

    def __init__(self, stats: Callable[[], StatsDocument], metrics: Metrics) -> None:
        self._stats = stats
        self._metrics = metrics

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [Route("/v1/stats", self.show_stats), Route("/metrics", self.show_metrics)]

    async def show_stats(self, request: Request) -> Response:  # noqa: ARG002  # Starlette's signature
        """The JSON document."""
        return json_response(self._stats())

    async def show_metrics(self, request: Request) -> Response:
        """Prometheus text, or OpenMetrics where the client asks for it."""
        body, content_type = self._metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

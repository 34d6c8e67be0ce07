"""GET /: what this is, for programs, and a status page for browsers."""

from importlib.resources import files

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus import __version__
from nexus.server.answers import json_response

_CAPABILITIES = (
    "chat_completions",
    "completions",
    "embeddings",
    "streaming",
    "failover",
    "quality_routing",
    "explain",
    "outcomes",
)
_LINKS = {
    "models": "/v1/models",
    "stats": "/v1/stats",
    "metrics": "/metrics",
    "health": "/health",
    "explain": "/v1/routing/explain",
    "outcomes": "/v1/outcomes",
    "profiles": "/v1/profiles",
    "openapi": "/openapi.json",
}


class About(Struct, frozen=True):
    """Name, version, what it can do and where."""

    name: str
    version: str
    capabilities: tuple[str, ...]
    links: dict[str, str]


class RootSurface:
    """Introduces the gateway."""

    def __init__(self) -> None:
        self._page = files("nexus.server").joinpath("dashboard.html").read_bytes()

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [Route("/", self.show)]

    async def show(self, request: Request) -> Response:
        """The page for a browser, JSON for everything else."""
        if "text/html" in request.headers.get("accept", ""):
            headers = {"content-security-policy": "default-src 'self' 'unsafe-inline'"}
            return Response(self._page, media_type="text/html", headers=headers)
        return json_response(About("nexus", __version__, _CAPABILITIES, _LINKS))

"""The control plane: every path that is not an inference path, as one ASGI application."""

from collections.abc import Iterable
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from nexus.server.answers import ApiError, answer_api_error, answer_http_error


class Surface(Protocol):
    """A group of paths."""

    def routes(self) -> list[Route]:
        """The paths served here."""
        ...


def control_plane(surfaces: Iterable[Surface]) -> Starlette:
    """The application that serves these surfaces, with errors in the one envelope."""
    return Starlette(
        routes=[route for surface in surfaces for route in surface.routes()],
        exception_handlers={ApiError: answer_api_error, HTTPException: answer_http_error},
    )

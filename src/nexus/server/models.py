"""GET /v1/models and /v1/models/{id}: every name a client may ask for."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus.core.fleet import FleetSnapshot
from nexus.proxy.context import FleetSource
from nexus.routing.names import AUTO, is_auto
from nexus.server.answers import ApiError, json_response


class Capabilities(Struct, frozen=True):
    """Whether any backend of the model can do it; None where no backend says."""

    vision: bool | None
    tools: bool | None
    json_mode: bool | None


class ModelDetails(Struct, frozen=True):
    """What the gateway knows beyond the OpenAI fields. `context_length` is the largest on offer."""

    backends: tuple[str, ...]
    aliases: tuple[str, ...]
    context_length: int | None
    capabilities: Capabilities


class ModelEntry(Struct, frozen=True):
    """One entry of the list."""

    id: str
    created: int
    owned_by: str
    nexus: ModelDetails
    object: str = "model"


class ModelList(Struct, frozen=True):
    """The list as OpenAI's clients expect it."""

    data: tuple[ModelEntry, ...]
    object: str = "list"


class ModelsSurface:
    """Lists models, aliases, and (if known) `auto`. `created` is the Unix time the gateway started."""

    def __init__(
        self, fleet: FleetSource, aliases: Mapping[str, str], created: int, *, auto: bool = False
    ) -> None:
        self._auto = auto
        self._fleet = fleet
        self._aliases = aliases
        self._created = created

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [
            Route("/v1/models", self.list_all),
            Route("/v1/models/{model_id:path}", self.get_one),
        ]

    async def list_all(self, request: Request) -> Response:  # noqa: ARG002  # Starlette's signature
        """Every model and alias, by name."""
        snapshot = self._fleet.snapshot
        names = sorted({*snapshot.by_model, *self._aliases, *((AUTO,) if self._auto else ())})
        entries = (self._entry(snapshot, name) for name in names)
        return json_response(ModelList(tuple(each for each in entries if each is not None)))

    async def get_one(self, request: Request) -> Response:
        """One model or alias."""
        name = request.path_params["model_id"]
        entry = self._entry(self._fleet.snapshot, name)
        if entry is None:
            message = f'No backend serves the model "{name[:200]}". GET /v1/models lists what there is.'
            raise ApiError(404, "model_not_found", message, "not_found_error", param="model")
        return json_response(entry)

    def _entry(self, snapshot: FleetSnapshot, name: str) -> ModelEntry | None:
        model = self._resolve(name)
        if self._auto and is_auto(model):
            infos = [info for view in snapshot.backends for info in view.models.values()]
            serving = tuple(view for view in snapshot.backends if view.models)
        else:
            serving = snapshot.by_model.get(model, ())
            infos = [view.models[model] for view in serving]
        if not serving:
            return None
        aliases = tuple(
            sorted(alias for alias in self._aliases if alias != name and self._resolve(alias) == model)
        )
        details = ModelDetails(
            backends=tuple(view.backend.id for view in serving),
            aliases=aliases,
            context_length=max(
                (info.context_length for info in infos if info.context_length is not None), default=None
            ),
            capabilities=Capabilities(
                vision=_any(info.vision for info in infos),
                tools=_any(info.tools for info in infos),
                json_mode=_any(info.json_mode for info in infos),
            ),
        )
        return ModelEntry(id=name, created=self._created, owned_by="nexus", nexus=details)

    def _resolve(self, name: str) -> str:
        # Cycles are refused when the configuration is read, so this ends.
        while name in self._aliases:
            name = self._aliases[name]
        return name


def _any(said: Iterable[bool | None]) -> bool | None:
    known = [each for each in said if each is not None]
    return any(known) if known else None

"""OpenAI's API, as OpenAI itself and most inference servers speak it. Answers are relayed untouched."""

from collections.abc import Mapping
from typing import Any, Final

from nexus.core.backend import Backend, ModelInfo
from nexus.core.request import Surface
from nexus.dialects.answer import entries, first_count, first_flag, json_object, mapping_at, strings_at
from nexus.dialects.base import Decoder
from nexus.dialects.rewrite import replace_model

_PATHS: Final[Mapping[Surface, str]] = {
    Surface.CHAT: "/v1/chat/completions",
    Surface.COMPLETION: "/v1/completions",
    Surface.EMBEDDING: "/v1/embeddings",
}
_CONTEXT_KEYS = (
    "loaded_context_length",  # LM Studio: what the loaded model really has, below its maximum
    "max_model_len",  # vLLM, SGLang
    "context_length",  # OpenRouter and others
    "context_window",  # Groq
    "max_context_length",  # LM Studio, Mistral
)
_LLAMACPP_CONTEXT_KEYS = ("n_ctx", "n_ctx_train")
_VISION_NAMES: Final = frozenset({"vision", "multimodal"})
_TOOL_NAMES: Final = frozenset({"tools", "tool_use", "function_calling"})
_EMBEDDING_NAMES: Final = frozenset({"embedding", "embeddings"})
_EMBEDDING_PREFIX: Final = "text-embedding-"


class OpenAICompatible:
    """Any server with OpenAI's endpoints under `/v1`.

    Args:
        health_path: what proves the server is up, where that is not its list of models.
    """

    health_path: str
    models_path: str

    def __init__(self, *, health_path: str = "/v1/models") -> None:
        self.health_path = health_path
        self.models_path = "/v1/models"

    def target(self, surface: Surface) -> str:
        """The path an inference request goes to, from the backend's base URL."""
        return _PATHS[surface]

    def auth_headers(self, backend: Backend) -> tuple[tuple[str, str], ...]:
        """The backend's key as a bearer token; empty where it has none."""
        return (("Authorization", f"Bearer {backend.api_key}"),) if backend.api_key else ()

    def encode(self, surface: Surface, body: bytes, model: str, asked: str) -> bytes:  # noqa: ARG002 - the seam
        """The body itself when `model` is the name asked for, else a copy with only that name changed."""
        return body if model == asked else replace_model(body, model)

    def decoder(self, surface: Surface, *, stream: bool) -> Decoder | None:  # noqa: ARG002 - the seam
        """None: answers are in the OpenAI form already."""
        return None

    def parse_models(self, body: bytes) -> tuple[ModelInfo, ...]:
        """The models in the list, with what servers add about them, and a model of its own for each alias.

        Raises:
            DialectError: it is not an object with a list `data` of objects that have an `id`.
        """
        found: dict[str, ModelInfo] = {}
        for model_id, entry in entries(json_object(body), "data", ("id",)):
            for name in (model_id, *sorted(strings_at(entry, "aliases") or ())):
                if name:
                    found.setdefault(name, _model(name, entry))
        return tuple(found.values())


def _model(name: str, entry: Mapping[str, Any]) -> ModelInfo:
    # Another Nexus puts what it knows into an object of its own.
    facts = mapping_at(entry, "nexus") or entry
    return ModelInfo(
        id=name,
        context_length=_context_length(facts),
        vision=_vision(facts),
        tools=_tools(facts),
        json_mode=_json_mode(facts),
        embedding=_embedding(name, facts),
    )


def _context_length(facts: Mapping[str, Any]) -> int | None:
    # llama.cpp says what it was started with, and what the model was trained for, which may be more.
    return first_count(mapping_at(facts, "meta"), _LLAMACPP_CONTEXT_KEYS) or first_count(facts, _CONTEXT_KEYS)


def _vision(facts: Mapping[str, Any]) -> bool | None:
    modalities = strings_at(mapping_at(facts, "architecture"), "input_modalities")
    if modalities is not None:
        return "image" in modalities
    if facts.get("type") == "vlm":
        return True
    return _capability(facts, _VISION_NAMES, ("vision",))


def _tools(facts: Mapping[str, Any]) -> bool | None:
    parameters = strings_at(facts, "supported_parameters")
    if parameters is not None:
        return "tools" in parameters
    return _capability(facts, _TOOL_NAMES, ("tools", "function_calling", "trained_for_tool_use"))


def _json_mode(facts: Mapping[str, Any]) -> bool | None:
    parameters = strings_at(facts, "supported_parameters")
    if parameters is not None:
        return not parameters.isdisjoint({"response_format", "structured_outputs"})
    return first_flag(mapping_at(facts, "capabilities"), ("json_mode",))


def _embedding(name: str, facts: Mapping[str, Any]) -> bool | None:
    outputs = strings_at(mapping_at(facts, "architecture"), "output_modalities") or frozenset()
    # OpenAI and LM Studio name every embedding model so, and no other.
    evident = (
        name.rpartition("/")[2].startswith(_EMBEDDING_PREFIX)
        or facts.get("type") in _EMBEDDING_NAMES
        or not outputs.isdisjoint(_EMBEDDING_NAMES)
    )
    return True if evident else None


def _capability(facts: Mapping[str, Any], names: frozenset[str], flags: tuple[str, ...]) -> bool | None:
    """What `capabilities` says: flags are believed both ways, of a list only what stands in it."""
    listed = strings_at(facts, "capabilities")
    if listed is not None:
        return None if listed.isdisjoint(names) else True
    return first_flag(mapping_at(facts, "capabilities"), flags)

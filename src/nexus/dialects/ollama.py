"""Ollama: traffic on its OpenAI-compatible endpoint, health and models by its own API."""

from collections.abc import Mapping
from typing import Any, Final

from nexus.core.backend import ModelInfo
from nexus.dialects.answer import entries, first_count, json_object, mapping_at, strings_at
from nexus.dialects.openai import OpenAICompatible

_DEFAULT_TAG: Final = ":latest"
_VISION_FAMILIES: Final = frozenset({"clip", "mllama"})
_EMBEDDING_FAMILIES: Final = frozenset({"bert", "nomic-bert"})


class Ollama(OpenAICompatible):
    """An Ollama server. `/api/tags` is both the proof of life and the list: it loads no model."""

    def __init__(self) -> None:
        super().__init__(health_path="/api/tags")
        self.models_path = "/api/tags"

    def parse_models(self, body: bytes) -> tuple[ModelInfo, ...]:
        """The models on this machine.

        `llama3:latest` is listed as `llama3` too, since Ollama takes both names. A model that Ollama only
        passes on to another host is left out: its requests would leave the machine although the backend is
        a local one. Name it in the backend's `models` to use it all the same.

        Raises:
            DialectError: the answer is not an object with a list `models` of objects that have a `name`.
        """
        found: dict[str, ModelInfo] = {}
        for name, entry in entries(json_object(body), "models", ("name", "model")):
            if entry.get("remote_host") or entry.get("remote_model"):
                continue
            for each in (name, name.removesuffix(_DEFAULT_TAG)):
                found.setdefault(each, _model(each, entry))
        return tuple(found.values())


def _model(name: str, entry: Mapping[str, Any]) -> ModelInfo:
    details = mapping_at(entry, "details")
    context_length = first_count(entry, ("context_length",)) or first_count(details, ("context_length",))
    capabilities = strings_at(entry, "capabilities")
    if capabilities:
        # Ollama refuses a request for a capability that is not in this list, so absence means no.
        return ModelInfo(
            id=name,
            context_length=context_length,
            vision="vision" in capabilities,
            tools="tools" in capabilities,
            embedding="embedding" in capabilities or None,
        )
    families = strings_at(details, "families") or frozenset()
    return ModelInfo(
        id=name,
        context_length=context_length,
        vision=None if families.isdisjoint(_VISION_FAMILIES) else True,
        embedding=None if families.isdisjoint(_EMBEDDING_FAMILIES) else True,
    )

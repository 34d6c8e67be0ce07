"""Which dialect is spoken to which type of backend. A new dialect is one file and one line here."""

from collections.abc import Mapping

from nexus.core.backend import BackendType
from nexus.core.errors import NexusError
from nexus.dialects.base import Dialect
from nexus.dialects.ollama import Ollama
from nexus.dialects.openai import OpenAICompatible

_OPENAI = OpenAICompatible()

# Dialects keep no state, so one object serves all backends of its type.
_DIALECTS: Mapping[BackendType, Dialect] = {
    BackendType.GENERIC: _OPENAI,
    BackendType.OPENAI: _OPENAI,
    BackendType.VLLM: _OPENAI,
    BackendType.LMSTUDIO: _OPENAI,
    BackendType.SGLANG: _OPENAI,
    BackendType.LLAMACPP: OpenAICompatible(health_path="/health"),
    BackendType.OLLAMA: Ollama(),
}

SUPPORTED_TYPES: tuple[BackendType, ...] = tuple(_DIALECTS)
"""The types of backend that can be used today."""


class UnsupportedTypeError(NexusError):
    """A type of backend that has a name but no dialect yet."""


def dialect_for(backend_type: BackendType) -> Dialect:
    """The dialect of this type of backend. Ask when a configuration is read, so that the user hears at once.

    Raises:
        UnsupportedTypeError: there is none yet; the message names the types there are.
    """
    dialect = _DIALECTS.get(backend_type)
    if dialect is None:
        known = ", ".join(SUPPORTED_TYPES)
        raise UnsupportedTypeError(
            f"backends of type `{backend_type}` are not supported yet; use one of: {known}"
        )
    return dialect

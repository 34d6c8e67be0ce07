"""A backend: one running upstream, and what is known of the models on it."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct


class BackendType(StrEnum):
    """The kind of server; it names the dialect that is spoken to it."""

    GENERIC = "generic"
    OPENAI = "openai"
    VLLM = "vllm"
    OLLAMA = "ollama"
    LLAMACPP = "llamacpp"
    LMSTUDIO = "lmstudio"
    SGLANG = "sglang"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"

    @property
    def is_cloud(self) -> bool:
        """Whether requests to this type leave the owner's machines and cost money."""
        return self in _CLOUD


_CLOUD = frozenset({BackendType.OPENAI, BackendType.ANTHROPIC, BackendType.GOOGLE})


class Zone(StrEnum):
    """Where a backend's data goes: `restricted` stays with the owner, `open` leaves."""

    RESTRICTED = "restricted"
    OPEN = "open"


class Backend(Struct, frozen=True):
    """One configured or discovered upstream.

    `url` is the origin plus any path prefix, without a trailing slash or `/v1`. `models` are the names fixed
    by configuration (empty: the backend is asked). `max_concurrency` 0 means learned. Lower `priority` is
    preferred. `api_key` is a secret: it is never logged or shown.
    """

    id: str
    name: str
    url: str
    type: BackendType = BackendType.GENERIC
    zone: Zone = Zone.RESTRICTED
    tier: int = 1
    priority: int = 50
    api_key: str = ""
    headers: Mapping[str, str] = {}
    models: tuple[str, ...] = ()
    max_concurrency: int = 0

    @property
    def location(self) -> str:
        """`local` or `cloud`, as the response header says it."""
        return "cloud" if self.type.is_cloud else "local"


class ModelInfo(Struct, frozen=True, gc=False):
    """What a backend said of one of its models; None: it said nothing, so nothing is held against it."""

    id: str
    context_length: int | None = None
    vision: bool | None = None
    tools: bool | None = None
    json_mode: bool | None = None
    embedding: bool | None = None

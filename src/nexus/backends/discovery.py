"""Finding model servers on this machine: ask the well-known ports, and believe the answers, not the ports."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nexus.backends.fetch import Fetch, FetchError, FetchResult
from nexus.core.backend import Backend, BackendType
from nexus.dialects.base import Dialect, DialectError
from nexus.dialects.table import dialect_for

_LOG = logging.getLogger(__name__)

WELL_KNOWN_PORTS: tuple[int, ...] = (11434, 1234, 8000, 8080, 30000)
"""Where Ollama, LM Studio, vLLM, llama.cpp and SGLang listen unless told otherwise."""

PROBE_TIMEOUT_SECONDS = 0.5

_OWNERS: Mapping[str, BackendType] = {
    "vllm": BackendType.VLLM,
    "llamacpp": BackendType.LLAMACPP,
    "sglang": BackendType.SGLANG,
    "organization_owner": BackendType.LMSTUDIO,
}
_NAMES: Mapping[BackendType, str] = {
    BackendType.OLLAMA: "Ollama",
    BackendType.LMSTUDIO: "LM Studio",
    BackendType.VLLM: "vLLM",
    BackendType.LLAMACPP: "llama.cpp",
    BackendType.SGLANG: "SGLang",
    BackendType.GENERIC: "Local server",
}
_WANTS_KEY = frozenset({401, 403})
_LOADING = 503


async def discover(
    fetch: Fetch,
    *,
    ports: Sequence[int] = WELL_KNOWN_PORTS,
    own_port: int | None = None,
    timeout_seconds: float = PROBE_TIMEOUT_SECONDS,
    warn: Callable[[str], None] = _LOG.warning,
) -> tuple[Backend, ...]:
    """The model servers that answer on 127.0.0.1, in the order of `ports`; all are asked at the same time.

    `own_port` is where this gateway listens, and is left out. Another Nexus is left out too. The id is the
    server's type (`ollama`, `vllm`, ...), with the port for a second one of a type and for one that can't be
    told (`local-8000`, type generic). A server that wants a key can't be asked further: `warn` hears of it.
    Takes at most two timeouts.
    """
    asked = [port for port in dict.fromkeys(ports) if port != own_port]
    probes = [_Probe(fetch, f"http://127.0.0.1:{port}", timeout_seconds, warn) for port in asked]
    types = await asyncio.gather(*(probe.identify() for probe in probes))
    found: dict[str, Backend] = {}
    for port, probe, kind in zip(asked, probes, types, strict=True):
        if kind is not None:
            backend = _backend(kind, port, probe.url, taken=found)
            found[backend.id] = backend
    return tuple(found.values())


def _backend(kind: BackendType, port: int, url: str, taken: Mapping[str, Backend]) -> Backend:
    if kind is BackendType.GENERIC:
        return Backend(f"local-{port}", f"{_NAMES[kind]} on port {port}", url, kind)
    if kind.value in taken:
        return Backend(f"{kind.value}-{port}", f"{_NAMES[kind]} on port {port}", url, kind)
    return Backend(kind.value, _NAMES[kind], url, kind)


class _Probe:
    """The questions put to one port."""

    def __init__(self, fetch: Fetch, url: str, timeout_seconds: float, warn: Callable[[str], None]) -> None:
        self.url = url
        self._fetch = fetch
        self._timeout_seconds = timeout_seconds
        self._warn = warn

    async def identify(self) -> BackendType | None:
        """What kind of model server answers here; None if there is none."""
        models, tags = await asyncio.gather(self._get("/v1/models"), self._get("/api/tags"))
        if models is None and tags is None:
            return None
        entries = _entries(models)
        if any(isinstance(entry.get("nexus"), dict) for entry in entries):
            return None
        # llama.cpp may answer to Ollama's path as well, so the owner is asked about first.
        for entry in entries:
            kind = _OWNERS.get(str(entry.get("owned_by")))
            if kind is not None:
                return kind
        if _is_list_of(dialect_for(BackendType.OLLAMA), tags):
            return BackendType.OLLAMA
        return await self._identify_without_owner(models)

    async def _identify_without_owner(self, models: FetchResult | None) -> BackendType | None:
        """Look for signs of servers that have no models yet, or name no owner."""
        if models is not None and models.status in _WANTS_KEY:
            self._warn(
                f"the server at {self.url} wants an API key: configure it under [[backends]] to use it"
            )
            return None
        speaks_openai = _is_list_of(dialect_for(BackendType.GENERIC), models)
        if not speaks_openai and (models is None or models.status != _LOADING):
            return None
        props, own_list = await asyncio.gather(self._get("/props"), self._get("/api/v0/models"))
        if "default_generation_settings" in _object(props) or _is_loading_llamacpp(models):
            return BackendType.LLAMACPP
        if not speaks_openai:
            return None
        is_lmstudio = _is_list_of(dialect_for(BackendType.LMSTUDIO), own_list)
        return BackendType.LMSTUDIO if is_lmstudio else BackendType.GENERIC

    async def _get(self, path: str) -> FetchResult | None:
        try:
            return await self._fetch(self.url + path, (), self._timeout_seconds)
        except FetchError:
            # Nothing there, or nothing that speaks HTTP in time: the normal case for most ports.
            return None


def _object(answer: FetchResult | None) -> Mapping[str, Any]:
    """The JSON object in an answer of any status; empty where there is none."""
    if answer is None:
        return {}
    try:
        value = json.loads(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _entries(answer: FetchResult | None) -> list[Mapping[str, Any]]:
    data = _object(answer).get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _is_list_of(dialect: Dialect, answer: FetchResult | None) -> bool:
    if answer is None or not answer.is_success:
        return False
    try:
        dialect.parse_models(answer.body)
    except DialectError:
        return False
    return True


def _is_loading_llamacpp(answer: FetchResult | None) -> bool:
    if answer is None or answer.status != _LOADING:
        return False
    error = _object(answer).get("error")
    return isinstance(error, dict) and error.get("type") == "unavailable_error"

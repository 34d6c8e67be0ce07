"""What the proxy keeps per backend: where it is, how to speak to it, and header blocks formatted once."""

from nexus.core.backend import Backend
from nexus.core.request import Surface
from nexus.dialects.base import Dialect
from nexus.proxy.headers import header_text
from nexus.proxy.origin import Origin


class Target:
    """One backend, ready to be called. With `has_own_key`, a client's key is never sent to it."""

    __slots__ = ("_blocks", "backend", "dialect", "has_own_key", "origin", "paths")

    def __init__(self, backend: Backend, dialect: Dialect) -> None:
        self.backend = backend
        self.dialect = dialect
        own_key = dialect.auth_headers(backend)
        self.origin = Origin(backend.url, (*own_key, *backend.headers.items()))
        self.has_own_key = bool(own_key)
        self.paths = {surface: dialect.target(surface) for surface in Surface}
        self._blocks: dict[tuple[str, bool], bytes] = {}

    def served_by(self, model: str, *, fallback: bool) -> bytes:
        """The response headers that say who answers: they are the same for every request to this pair."""
        block = self._blocks.get((model, fallback))
        if block is None:
            backend = self.backend
            lines = [
                f"X-Nexus-Backend: {backend.id}",
                f"X-Nexus-Backend-Type: {backend.location}",
                f"X-Nexus-Model: {header_text(model)}",
                f"X-Nexus-Privacy-Zone: {backend.zone}",
            ]
            if fallback:
                lines.append(f"X-Nexus-Fallback-Model: {header_text(model)}")
            block = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
            self._blocks[model, fallback] = block
        return block

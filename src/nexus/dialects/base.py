"""The seam between the gateway and an upstream's API."""

from typing import Protocol

from nexus.core.backend import Backend, ModelInfo
from nexus.core.request import Surface


class Decoder(Protocol):
    """Turns one upstream answer into the OpenAI form, in any chunking. One object per attempt."""

    def feed(self, data: bytes) -> bytes:
        """The translation of what is complete so far."""
        ...

    def end(self) -> bytes:
        """The translation of what was left when the answer ended."""
        ...


class Dialect(Protocol):
    """How to speak to one kind of server.

    `health_path` proves the server is up; `models_path` lists its models; they may be the same path.
    Neither ever costs money.
    """

    health_path: str
    models_path: str

    def target(self, surface: Surface) -> str:
        """The path an inference request goes to, from the backend's base URL."""
        ...

    def auth_headers(self, backend: Backend) -> tuple[tuple[str, str], ...]:
        """Headers that carry the backend's own key; empty where it has none."""
        ...

    def encode(self, surface: Surface, body: bytes, model: str, asked: str) -> bytes:
        """The upstream request body. The same object is returned when `model` is the name asked for."""
        ...

    def decoder(self, surface: Surface, *, stream: bool) -> Decoder | None:
        """A fresh decoder for one attempt; None where answers are relayed untouched."""
        ...

    def parse_models(self, body: bytes) -> tuple[ModelInfo, ...]:
        """The models in a `models_path` answer.

        Raises:
            DialectError: the answer is not of the form this server gives.
        """
        ...


class DialectError(ValueError):
    """An upstream's answer does not have the expected form; the message says what is wrong with it."""

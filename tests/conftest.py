"""Fixtures that several rooms' tests share."""

from collections.abc import Iterator

import pytest

from nexus.testing import LlamaServer, ModelUnavailableError, find_weights


@pytest.fixture(scope="session")
def real_model() -> type[LlamaServer]:
    """The class that runs a real model; skips the test where none is installed (`make test` installs it)."""
    try:
        find_weights()
    except ModelUnavailableError as error:
        pytest.skip(str(error))
    return LlamaServer


@pytest.fixture(scope="session")
def llama_servers(real_model: type[LlamaServer]) -> Iterator[tuple[LlamaServer, LlamaServer]]:
    """Two real llama.cpp servers with the model `smollm2`, shared: a test that kills one starts its own."""
    with real_model() as one, real_model() as two:
        yield one, two


@pytest.fixture(scope="session")
def llama_embedder(real_model: type[LlamaServer]) -> Iterator[LlamaServer]:
    """A real llama.cpp server with embeddings switched on, model `smollm2-embed`."""
    with real_model(embeddings=True, alias="smollm2-embed") as server:
        yield server

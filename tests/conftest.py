"""Fixtures that several rooms' tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus.testing import LlamaServer, ModelUnavailableError, find_weights

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer


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


@pytest.fixture(scope="session")
def postgres() -> Iterator["PostgresServer"]:
    """A PostgreSQL server of our own; skips the test where its programs are not installed."""
    from tests.postgres_server import PostgresServer, find_postgres  # noqa: PLC0415 - few runs need its driver

    binaries = find_postgres()
    if binaries is None:
        pytest.skip("no PostgreSQL here: initdb and postgres are neither on PATH nor in /usr/lib/postgresql")
    with PostgresServer(binaries) as server:
        yield server


@pytest.fixture
def new_ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes the URL of an empty ledger of a kind: sqlite, jsonl or postgresql."""

    def new(kind: str) -> str:
        if kind != "postgresql":
            return f"{kind}:///{tmp_path}/ledger.{kind}"
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.fresh_url()

    return new


@pytest.fixture(params=["sqlite", "jsonl", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, new_ledger_url: Callable[[str], str]) -> str:
    """The URL of an empty ledger, once for every kind."""
    return new_ledger_url(request.param)

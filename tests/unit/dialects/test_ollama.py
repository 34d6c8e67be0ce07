"""What is read from Ollama's own API."""

import json
from typing import Any

import pytest

from nexus.core.backend import ModelInfo
from nexus.core.request import Surface
from nexus.dialects.base import DialectError
from nexus.dialects.ollama import Ollama


def _parse(*entries: dict[str, Any]) -> tuple[ModelInfo, ...]:
    return Ollama().parse_models(json.dumps({"models": entries}).encode())


def test_traffic_and_checks_use_different_apis() -> None:
    """Requests go to the OpenAI-compatible endpoint; health and models to the list of tags."""
    ollama = Ollama()
    assert ollama.target(Surface.CHAT) == "/v1/chat/completions"
    assert (ollama.health_path, ollama.models_path) == ("/api/tags", "/api/tags")


def test_the_default_tag_may_be_left_out() -> None:
    """`llama3:latest` is served as `llama3` too; another tag is a model of its own."""
    names = [model.id for model in _parse({"name": "llama3:latest"}, {"name": "llama3:70b"})]
    assert names == ["llama3:latest", "llama3", "llama3:70b"]


def test_capabilities_are_believed_both_ways() -> None:
    """Ollama refuses what is not in its list."""
    chat, embedder = _parse(
        {"name": "a:1b", "capabilities": ["completion", "tools"], "details": {"context_length": 4096}},
        {"model": "b:1b", "capabilities": ["embedding"], "context_length": 512},
    )
    assert chat == ModelInfo("a:1b", 4096, vision=False, tools=True)
    assert embedder == ModelInfo("b:1b", 512, vision=False, tools=False, embedding=True)


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        (["llama", "clip"], ModelInfo("m:1b", vision=True)),
        (["nomic-bert"], ModelInfo("m:1b", embedding=True)),
        (["llama"], ModelInfo("m:1b")),
        (None, ModelInfo("m:1b")),
    ],
)
def test_an_older_server_is_judged_by_model_families(families: list[str] | None, expected: ModelInfo) -> None:
    """Without a list of capabilities, families tell vision and embedding models, and nothing else."""
    assert _parse({"name": "m:1b", "details": {"families": families}}) == (expected,)


def test_a_model_that_runs_elsewhere_is_not_served() -> None:
    """Ollama's cloud models would carry requests off this machine through a local backend."""
    remote = {"name": "big:cloud", "remote_host": "https://ollama.example:443", "remote_model": "big"}
    assert _parse(remote, {"name": "m:1b"}) == (ModelInfo("m:1b"),)


def test_no_models_is_fine() -> None:
    """A fresh Ollama has nothing yet."""
    assert Ollama().parse_models(b'{"models":null}') == ()


def test_an_openai_list_is_not_an_ollama_list() -> None:
    """Another server on the port is not taken for Ollama."""
    with pytest.raises(DialectError) as caught:
        Ollama().parse_models(b'{"data":[]}')
    assert "no list `models`" in str(caught.value)

"""What is read from the model lists of OpenAI-compatible servers."""

import json
from typing import Any

import pytest

from nexus.core.backend import ModelInfo
from nexus.dialects.base import DialectError
from nexus.dialects.openai import OpenAICompatible


def _only(entry: dict[str, Any]) -> ModelInfo:
    (model,) = OpenAICompatible().parse_models(json.dumps({"object": "list", "data": [entry]}).encode())
    return model


def test_a_bare_entry_claims_nothing() -> None:
    """OpenAI lists ids only, so nothing is held against the model."""
    entry = {"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "system"}
    assert _only(entry) == ModelInfo("gpt-4o")


@pytest.mark.parametrize(
    ("facts", "length"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"max_model_len": None}, None),
        ({"context_length": 131072, "top_provider": {}}, 131072),
        ({"context_window": 8192}, 8192),
        ({"max_context_length": 32768, "loaded_context_length": 4096}, 4096),
        ({"max_context_length": 32768}, 32768),
        ({"meta": {"n_ctx": 2048, "n_ctx_train": 8192}}, 2048),
        ({"meta": {"n_ctx_train": 8192}}, 8192),
        ({"meta": None}, None),
        ({"nexus": {"context_length": 512, "backends": ["a"]}}, 512),
        ({"context_length": "4096"}, None),
        ({"context_length": True}, None),
        ({"context_length": 0}, None),
    ],
)
def test_the_context_length_is_read_where_a_server_gives_it(
    facts: dict[str, Any], length: int | None
) -> None:
    """Each server has its own field; what the server was started with beats what the model could do."""
    assert _only({"id": "m", **facts}).context_length == length


@pytest.mark.parametrize(
    ("facts", "vision", "tools", "json_mode"),
    [
        ({"architecture": {"input_modalities": ["text", "image"]}}, True, None, None),
        ({"architecture": {"input_modalities": ["text"]}}, False, None, None),
        ({"type": "vlm", "capabilities": ["tool_use"]}, True, True, None),
        ({"type": "llm", "capabilities": []}, None, None, None),
        ({"capabilities": {"vision": False, "function_calling": True}}, False, True, None),
        ({"capabilities": {"vision": True, "trained_for_tool_use": False}}, True, False, None),
        ({"capabilities": {"vision": "yes"}}, None, None, None),
        ({"supported_parameters": ["tools", "response_format"]}, None, True, True),
        ({"supported_parameters": ["temperature"]}, None, False, False),
        ({"nexus": {"capabilities": {"vision": True, "tools": False, "json_mode": True}}}, True, False, True),
    ],
)
def test_capabilities_are_read_where_a_server_gives_them(
    facts: dict[str, Any], vision: bool | None, tools: bool | None, json_mode: bool | None
) -> None:
    """A flag is believed both ways; a name missing from a list of extras says nothing."""
    model = _only({"id": "m", **facts})
    assert (model.vision, model.tools, model.json_mode) == (vision, tools, json_mode)


@pytest.mark.parametrize(
    ("entry", "embedding"),
    [
        ({"id": "text-embedding-3-small"}, True),
        ({"id": "openai/text-embedding-3-small"}, True),
        ({"id": "nomic", "type": "embeddings"}, True),
        ({"id": "bge", "architecture": {"output_modalities": ["embeddings"]}}, True),
        ({"id": "my-embedder"}, None),
        ({"id": "m", "architecture": {"output_modalities": ["text"]}}, None),
    ],
)
def test_an_embedding_model_is_known_only_by_evidence(entry: dict[str, Any], embedding: bool | None) -> None:
    """A name that merely sounds like it is no evidence."""
    assert _only(entry).embedding is embedding


def test_aliases_are_models_too() -> None:
    """llama.cpp answers to the aliases it lists; each is served, once."""
    body = b'{"data":[{"id":"m.gguf","aliases":["m.gguf","small",""],"meta":{"n_ctx":64}},{"id":"small"}]}'
    assert OpenAICompatible().parse_models(body) == (ModelInfo("m.gguf", 64), ModelInfo("small", 64))


def test_an_empty_list_is_fine() -> None:
    """A server with no model loaded is still a server, whether it says [] or null."""
    assert OpenAICompatible().parse_models(b'{"data":[]}') == ()
    assert OpenAICompatible().parse_models(b'{"data":null}') == ()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"", "(empty)"),
        (b"<html>\n<body>Welcome</body></html>", "<html> <body>Welcome"),
        (b'{"data":[', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'[{"id":"m"}]', "not a JSON object"),
        (b'{"error":{"message":"no"},"data":[]}', 'is an error: {"error":{"message":"no"}'),
        (b'{"object":"list"}', "no list `data`"),
        (b'{"data":{"id":"m"}}', "no list `data`"),
        (b'{"data":["m"]}', "`data[0]` is not an object"),
        (b'{"data":[{"id":"m"},{"name":"n"}]}', "`data[1]` has no `id`"),
        (b'{"data":[{"id":7}]}', "`data[0]` has no `id` that is a string"),
        (b'{"data":[{"id":""}]}', "`data[0]` has no `id`"),
    ],
)
def test_another_form_is_refused_with_what_is_wrong(body: bytes, message: str) -> None:
    """The message names the place, or shows how the answer begins."""
    with pytest.raises(DialectError) as caught:
        OpenAICompatible().parse_models(body)
    assert message in str(caught.value)


def test_a_long_answer_is_shown_only_in_part() -> None:
    """An error message stays one readable line."""
    with pytest.raises(DialectError) as caught:
        OpenAICompatible().parse_models(b"x" * 10_000)
    assert len(str(caught.value)) < 200
    assert str(caught.value).endswith("…")

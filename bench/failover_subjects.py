"""The gateways under test in front of a fleet: as shipped, but with the same time limit for an answer."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from bench import peer_subjects, process
from bench.failover_backends import MODEL
from bench.process import PROXY_CORE

ANSWER_SECONDS = 4
_NEXUS = """
[server]
port = {port}
[discovery]
enabled = false
[logging]
format = "json"
[timeouts]
first_token_seconds = {seconds}
"""
_BACKEND = """
[[backends]]
name = "b{index}"
url = "{upstream}"
type = "vllm"
"""


class Subject(Struct, frozen=True):
    """One gateway. `start(folder, origins of the backends, tag)` runs it."""

    name: str
    start: Callable[[Path, Sequence[str], str], process.Running]


def nexus_config(port: int, upstreams: Sequence[str]) -> str:
    """The gateway's file: everything as by default but the time limit."""
    backends = (_BACKEND.format(index=index, upstream=each) for index, each in enumerate(upstreams))
    return _NEXUS.format(port=port, seconds=ANSWER_SECONDS) + "".join(backends)


def _start_nexus(folder: Path, upstreams: Sequence[str], tag: str) -> process.Running:
    port = process.free_port()
    config = folder / f"nexus-{tag}.toml"
    config.write_text(nexus_config(port, upstreams))
    command = [sys.executable, "-m", "nexus.cli.main", "serve", "--config", str(config)]
    command += ["--data-dir", str(folder / f"nexus-{tag}")]
    log = folder / f"nexus-{tag}.log"
    return process.start("nexus", command, port=port, core=PROXY_CORE, log=log, ready="/health/ready")


def _start_litellm(folder: Path, upstreams: Sequence[str], tag: str) -> process.Running:
    return peer_subjects.start_litellm_pool(folder, upstreams, tag, model=MODEL, seconds=ANSWER_SECONDS)


def _start_vllm_router(folder: Path, upstreams: Sequence[str], tag: str) -> process.Running:
    return peer_subjects.start_vllm_router_pool(folder, upstreams, tag, seconds=ANSWER_SECONDS)


SUBJECTS = (
    Subject("nexus", _start_nexus),
    Subject("litellm", _start_litellm),
    Subject("vllm-router", _start_vllm_router),
)

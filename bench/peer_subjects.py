"""How the peers are started: one worker each, and what can be left off is off.

Most in front of one mock; vllm-router and LiteLLM also in front of several, as shipped but for a time limit.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from bench import peers, process
from bench.process import PROXY_CORE, Subject, UnavailableError

_ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {types}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": {types}.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [ {{ match: {{ prefix: "/" }}, route: {{ cluster: mock }} }} ]
  clusters:
  - name: mock
    type: STATIC
    load_assignment:
      cluster_name: mock
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream_port} }} }} }}
"""
_ENVOY_TYPES = "type.googleapis.com/envoy.extensions.filters"
_LITELLM = """
model_list:{deployments}
general_settings:
  disable_spend_logs: true
  dangerously_permit_weak_or_unset_master_key: true
litellm_settings:
  telemetry: false{limits}
"""
_LITELLM_DEPLOYMENT = """
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: {upstream}/v1
      api_key: none"""
_LITELLM_LIMITS = """
  request_timeout: {seconds}
router_settings:
  timeout: {seconds}
  stream_timeout: {seconds}"""


def start_vllm_router(folder: Path, upstream: str, tag: str) -> process.Running:
    """vllm-router, round robin."""
    return _start_vllm_router(folder, [upstream], tag)


def start_vllm_router_pool(
    folder: Path, upstreams: Sequence[str], tag: str, *, seconds: int
) -> process.Running:
    """vllm-router in front of several backends that have so long for an answer."""
    return _start_vllm_router(folder, upstreams, tag, "--request-timeout-secs", str(seconds))


def _start_vllm_router(folder: Path, upstreams: Sequence[str], tag: str, *more: str) -> process.Running:
    port, metrics_port = process.free_port(), process.free_port()
    command = [_program("vllm-router"), "--worker-urls", *upstreams, "--policy", "round_robin", *more]
    command += ["--log-level", "warning", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--prometheus-port", str(metrics_port)]
    return _run("vllm-router", command, port, folder, tag)


def start_sglang_router(folder: Path, upstream: str, tag: str) -> process.Running:
    """sglang-router, round robin."""
    port, metrics_port = process.free_port(), process.free_port()
    command = [_program("sglang-router"), "launch", "--worker-urls", upstream, "--policy", "round_robin"]
    command += ["--log-level", "warn", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--prometheus-port", str(metrics_port), "--disable-health-check"]
    return _run("sglang-router", command, port, folder, tag)


def start_envoy(folder: Path, upstream: str, tag: str) -> process.Running:
    """Envoy as a plain proxy, one worker."""
    port = process.free_port()
    config = folder / f"envoy-{tag}.yaml"
    upstream_port = upstream.rpartition(":")[2]
    config.write_text(_ENVOY.format(port=port, upstream_port=upstream_port, types=_ENVOY_TYPES))
    command = [_program("envoy"), "-c", str(config), "--concurrency", "1", "--log-level", "warning"]
    command += ["--disable-hot-restart"]
    return _run("envoy", command, port, folder, tag)


def start_litellm(folder: Path, upstream: str, tag: str) -> process.Running:
    """LiteLLM's proxy, one worker."""
    return _start_litellm(folder, [upstream], tag, "mock", "")


def start_litellm_pool(
    folder: Path, upstreams: Sequence[str], tag: str, *, model: str, seconds: int
) -> process.Running:
    """LiteLLM's proxy in front of several backends that have so long for an answer."""
    return _start_litellm(folder, upstreams, tag, model, _LITELLM_LIMITS.format(seconds=seconds))


def _start_litellm(
    folder: Path, upstreams: Sequence[str], tag: str, model: str, limits: str
) -> process.Running:
    port = process.free_port()
    config = folder / f"litellm-{tag}.yaml"
    deployments = "".join(_LITELLM_DEPLOYMENT.format(model=model, upstream=each) for each in upstreams)
    config.write_text(_LITELLM.format(deployments=deployments, limits=limits))
    command = [_program("litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1", "--telemetry", "False"]
    return _run("litellm", command, port, folder, tag)


def start_portkey(folder: Path, upstream: str, tag: str) -> process.Running:
    """Portkey's gateway. It is told where to send a request by headers of the request."""
    port = process.free_port()
    command = ["node", _program("portkey"), f"--port={port}", "--headless"]
    headers = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", f"{upstream}/v1"))
    return _run("portkey", command, port, folder, tag, ready="/", headers=headers)


def _program(name: str) -> str:
    path = peers.program(name)
    if path is None:
        raise UnavailableError(f"{name} is not installed (make bench-peers)")
    return path


def _run(
    name: str,
    command: list[str],
    port: int,
    folder: Path,
    tag: str,
    *,
    ready: str = "/v1/models",
    headers: tuple[tuple[str, str], ...] = (),
) -> process.Running:
    log = folder / f"{name}-{tag}.log"
    environ = {"PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}", "HOME": str(folder)}
    environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its price list is not fetched from the network
    return process.start(
        name, command, port=port, core=PROXY_CORE, log=log, ready=ready, environ=environ, headers=headers
    )


SUBJECTS = (
    Subject("envoy", "plain proxy, no routing", start_envoy),
    Subject("vllm-router", "round robin", start_vllm_router),
    Subject("sglang-router", "round robin", start_sglang_router),
    Subject("portkey", "one provider", start_portkey, least_seconds=3.0),
    Subject("litellm", "one model, one worker", start_litellm, least_seconds=10.0),
)

"""Everything `nexus demo` runs: two real model servers, their unreliable twin, and the gateway."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from nexus.testing import FaultyBackend, GatewayProcess, LlamaServer, Relay, Status

MODEL = "smollm2"
TWIN = "twin"

_SETTINGS = """
[routing]
strategy = "round_robin"

[quality]
metrics_interval_seconds = 1
min_samples = 5

[breaker]
first_timeout_seconds = 1
timeout_seconds = 3

[health_check]
interval_seconds = 1

[outcomes]
enabled = false

[ledger]
url = "none"

[logging]
format = "json"
"""


def configuration(urls: dict[str, str]) -> str:
    """The gateway's `nexus.toml` for these backends (name to URL)."""
    backends = "".join(
        f'\n[[backends]]\nname = "{name}"\nurl = "{url}"\ntype = "llamacpp"\n' for name, url in urls.items()
    )
    return _SETTINGS + backends


class Fleet:
    """Two llama.cpp servers, a twin that fails every second request, and a gateway, inside a `with`.

    Entering takes a few seconds. All of it is gone after the block, also when this process is killed.

    Raises:
        ModelUnavailableError: the engine or the weights are not installed.
        LlamaServerError: a model server did not start.
        GatewayProcessError: the gateway did not start or found no backend.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._twin: FaultyBackend
        self._gateway: GatewayProcess
        self._sound_url = ""

    @property
    def url(self) -> str:
        """The gateway's origin."""
        return self._gateway.url

    def stats(self) -> dict[str, Any]:
        """What the gateway's `/v1/stats` says now."""
        answer: dict[str, Any] = self._gateway.get("/v1/stats")
        return answer

    def heal(self) -> None:
        """Make the twin answer every request from now on."""
        self._twin.always(Relay(self._sound_url))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            one, two = self._servers(stack)
            self._sound_url = one
            self._twin = stack.enter_context(FaultyBackend(models=(MODEL,)))
            self._twin.alternate(Status(500), Relay(one), Status(500), Relay(two))
            toml = configuration({"one": one, "two": two, TWIN: self._twin.url})
            self._gateway = stack.enter_context(GatewayProcess(toml))
            self._gateway.wait_for(lambda stats: all(MODEL in entry["models"] for entry in stats["backends"]))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _servers(self, stack: ExitStack) -> tuple[str, str]:
        servers = LlamaServer(alias=MODEL), LlamaServer(alias=MODEL)
        for server in servers:
            stack.callback(server.stop)
            server.launch()
        for server in servers:
            server.wait_ready()
        return servers[0].url, servers[1].url

"""What the tests of a running gateway share: configuration text, a plain HTTP client, and readings."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from nexus.testing import GatewayProcess

CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"


def backend(name: str, url: str, **settings: object) -> str:
    """One `[[backends]]` table; the settings are written as JSON, which TOML reads the same way."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join(["[[backends]]", f'name = "{name}"', f'url = "{url}"', *lines, ""])


class Reply(NamedTuple):
    """An answer; header names are in lower case. `whole` is false where the connection broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


def chat(model: str = "m", *, stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream, **more}


def post(
    port: int,
    body: Mapping[str, Any],
    *,
    path: str = CHAT,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Reply:
    """Send a request on a connection of its own and read the answer to its end, however it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        sent = {"Content-Type": "application/json", **(headers or {})}
        connection.request("POST", path, json.dumps(body), sent)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Reply(response.status, found, response.read())
        except http.client.IncompleteRead as error:
            return Reply(response.status, found, error.partial, whole=False)
    finally:
        connection.close()


def open_request(port: int, body: Mapping[str, Any], *, path: str = CHAT) -> socket.socket:
    """Send a request and return its socket, for a client that reads nothing or leaves early."""
    data = json.dumps(body).encode()
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
    peer.sendall(head.encode() + b"\r\n" + data)
    return peer


def backend_stats(stats: Mapping[str, Any], backend_id: str) -> Any:
    """The entry of one backend in `/v1/stats`."""
    return next(entry for entry in stats["backends"] if entry["id"] == backend_id)


def idle(stats: Mapping[str, Any]) -> bool:
    """Whether no attempt is in flight anywhere."""
    return all(entry["pending"] == 0 for entry in stats["backends"])


def samples(gateway: GatewayProcess, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """The series of one metric, by their labels."""
    found = {}
    for line in gateway.text("/metrics").splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0] == name:
            labels = series.partition("{")[2].rstrip("}")
            pairs = [pair.partition("=") for pair in labels.split(",") if pair]
            found[frozenset((key, text.strip('"')) for key, _, text in pairs)] = float(value)
    return found


def attempts(gateway: GatewayProcess, backend_id: str) -> dict[tuple[str, str], int]:
    """How often each (outcome, kind) was booked for a backend; those that never were are left out."""
    found = {}
    for labels, value in samples(gateway, "nexus_attempts_total").items():
        named = dict(labels)
        if named["agent_id"] == backend_id and value:
            found[named["outcome"], named["kind"]] = int(value)
    return found


def past(gateway: GatewayProcess, reply: Reply) -> Any:
    """What the gateway remembers of a request that it answered."""
    return gateway.get(f"/v1/requests/{reply.headers['x-nexus-trace-id']}")

"""A dead backend that answers its tests again is healthy at once, whatever the health checks still want."""

import http.client
import json
import time

from nexus.testing import FaultyBackend, GatewayProcess

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})


def status_once_asked(gateway: GatewayProcess, wanted: str) -> str:
    """The status of "a", asked for after each of many requests until it is the wanted one."""
    deadline = time.monotonic() + 40
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        connection.request("POST", "/v1/chat/completions", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()
        status = next(each["status"] for each in gateway.get("/v1/stats")["backends"] if each["id"] == "a")
        if status == wanted or time.monotonic() > deadline:
            return str(status)
        time.sleep(0.02)


def test_a_backend_whose_breaker_closes_is_healthy_again():
    with FaultyBackend() as a, FaultyBackend() as b:
        toml = "[discovery]\nenabled = false\n[health_check]\nrecovery_threshold = 1000\n"
        for name, each in (("a", a), ("b", b)):
            toml += f'[[backends]]\nname = "{name}"\nurl = "{each.url}"\ntype = "generic"\n'
        with GatewayProcess(toml) as gateway:
            gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            a.stop()
            assert status_once_asked(gateway, "unhealthy") == "unhealthy"
            a.start()
            assert status_once_asked(gateway, "healthy") == "healthy"

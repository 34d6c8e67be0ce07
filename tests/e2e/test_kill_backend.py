"""A backend that is killed under load costs no client anything, and is used again once it is back."""

import json
import threading
import urllib.request
from collections import Counter
from typing import Any, Self

import pytest

from nexus.testing import GatewayProcess

pytestmark = pytest.mark.real_model

CLIENTS = 3
CONFIG = """
[routing]
strategy = "round_robin"
[health_check]
interval_seconds = 0.5
timeout_seconds = 2
failure_threshold = 2
recovery_threshold = 1
[breaker]
failure_threshold = 2
first_timeout_seconds = 1
timeout_seconds = 2
[quality]
metrics_interval_seconds = 1
"""


class Load:
    """Client threads that ask one after the other, half of the time for a stream, and note what they got."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        self.served: list[str] = []
        self.early_errors: list[str] = []
        self.late_errors: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, *, since: int = 0, backend: str = "", timeout: float = 60) -> None:
        """Block until `count` answers (of one backend, if named) came after the first `since`."""

        def enough() -> bool:
            recent = self.served[since:]
            return (recent.count(backend) if backend else len(recent)) >= count

        with self._changed:
            assert self._changed.wait_for(enough, timeout), (
                f"{Counter(self.served[since:])} after {timeout} s"
            )

    def _run(self, number: int) -> None:
        turn = number
        while not self._stopping.is_set():
            turn += 1
            self._ask(stream=turn % 2 == 0)

    def _ask(self, *, stream: bool) -> None:
        body: dict[str, Any] = {"model": "smollm2", "max_tokens": 6, "stream": stream}
        body["messages"] = [{"role": "user", "content": "Say hello."}]
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        backend = ""
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                backend = response.headers["X-Nexus-Backend"]
                text = response.read()
            complete = text.endswith(b"data: [DONE]\n\n") if stream else b'"choices"' in text
            problem = "" if complete else text[-200:].decode()
        except OSError as error:
            problem = f"{error} {getattr(error, 'read', lambda: b'')()!r}"
        with self._changed:
            if not problem:
                self.served.append(backend)
            elif backend:
                self.late_errors.append(problem)
            else:
                self.early_errors.append(problem)
            self._changed.notify_all()


def state_of(stats: Any, backend: str) -> Any:
    return next(entry for entry in stats["backends"] if entry["id"] == backend)


def metric(text: str, name: str, backend: str) -> float:
    lines = [line for line in text.splitlines() if line.startswith(name) and f'agent_id="{backend}"' in line]
    assert lines, f"{name} of {backend} is missing"
    return float(lines[0].rsplit(" ", 1)[1])


def test_killing_one_of_two_backends_under_load(real_model):
    """No client sees an error before its first byte, all traffic moves, and the killed one comes back."""
    with real_model() as one, real_model() as two:
        backends = "".join(
            f'[[backends]]\nname = "{name}"\nurl = "{server.url}"\ntype = "llamacpp"\n'
            for name, server in (("one", one), ("two", two))
        )
        with GatewayProcess(CONFIG + backends) as gateway:
            gateway.wait_ready()
            gateway.wait_for(lambda stats: all(b["status"] == "healthy" for b in stats["backends"]))
            with Load(gateway.url) as load:
                load.wait_for(2, backend="one")
                load.wait_for(2, backend="two")

                one.kill()
                gateway.wait_for(
                    lambda stats: (
                        state_of(stats, "one")["status"] == "unhealthy"
                        or state_of(stats, "one")["breaker"] == "open"
                    )
                )
                moved = len(load.served)
                load.wait_for(8, since=moved + CLIENTS)
                assert set(load.served[moved + CLIENTS :]) == {"two"}
                stats = gateway.wait_for(lambda stats: state_of(stats, "one").get("error_rate_1h", 0) > 0)
                assert state_of(stats, "one")["quality"]["last_failure_seconds_ago"] is not None
                assert metric(gateway.text("/metrics"), "nexus_agent_error_rate", "one") > 0
                assert metric(gateway.text("/metrics"), "nexus_agent_error_rate", "two") == 0

                one.restart()
                back = len(load.served)
                load.wait_for(3, since=back, backend="one")
                gateway.wait_for(lambda stats: state_of(stats, "one")["status"] == "healthy")
            assert load.early_errors == []
            assert len(load.late_errors) <= CLIENTS
            stats = gateway.wait_for(lambda stats: all(b["pending"] == 0 for b in stats["backends"]))
            assert stats["requests"]["total"] == len(load.served) + len(load.late_errors)

"""A connection to each worker of a gateway, for tests that ask one of them in particular."""

import http.client
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nexus.testing import GatewayProcess
from tests.e2e.gateway_client import CHAT, Reply

SECONDS = 20.0


class Desk:
    """A kept connection to one worker."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            self.worker: int = self.stats()["worker"]
        except BaseException:
            self._connection.close()
            raise

    def get(self, path: str) -> Reply:
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        return self._ask("POST", path, json.dumps(body))

    def chat(self, body: Mapping[str, Any]) -> Reply:
        return self.post(CHAT, body)

    def stats(self) -> Any:
        return self.get("/v1/stats").json

    def wait_for(self, condition: Callable[[Any], object]) -> Any:
        """The first figures of this worker for which `condition` is true."""
        deadline = time.monotonic() + SECONDS
        while not condition(stats := self.stats()):
            assert time.monotonic() < deadline, stats
            time.sleep(0.02)
        return stats

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: str | None) -> Reply:
        self._connection.request(method, path, body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, response.read())


class Desks:
    """One desk per worker, in the order of their numbers; new connections until every worker has one."""

    def __init__(self, gateway: GatewayProcess, count: int = 2) -> None:
        self._gateway = gateway
        self._count = count
        self._found: dict[int, Desk] = {}

    def __enter__(self) -> Self:
        deadline = time.monotonic() + SECONDS
        while len(self._found) < self._count:
            assert time.monotonic() < deadline, f"only {sorted(self._found)} answer"
            try:
                desk = Desk(self._gateway.port)
            except (OSError, http.client.HTTPException):
                continue  # it met a worker that was ending
            if desk.worker in self._found:
                desk.close()
            else:
                self._found[desk.worker] = desk
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for desk in self._found.values():
            desk.close()

    def __getitem__(self, place: int) -> Desk:
        return self._found[sorted(self._found)[place]]

    def __iter__(self) -> Any:
        return iter([self._found[number] for number in sorted(self._found)])


def kill_oldest_worker(gateway: GatewayProcess) -> None:
    """SIGKILL to the worker that began first; returns when the supervisor has seen it gone."""
    victim = worker_pids(gateway)[0]
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while victim in worker_pids(gateway):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def ended(pids: list[int]) -> Iterator[None]:
    """Something in the block ends these processes, whoever's children they are; after it they are gone."""
    watched = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for each in watched:
            assert select.select([each], [], [], SECONDS)[0]
    finally:
        for each in watched:
            os.close(each)


def log_of(gateway: GatewayProcess) -> str:
    """What a running gateway has logged so far."""
    gateway.read_output()
    return gateway.stdout


def worker_pids(gateway: GatewayProcess) -> list[int]:
    """The processes of the workers, oldest first."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text()
    return sorted(int(each) for each in children.split())

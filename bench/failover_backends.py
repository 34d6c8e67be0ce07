"""The backends of the failover bench, in a process of their own: one fleet per gateway under test.

    python -m bench.failover_backends FLEETS

Prints the ports of each fleet as one line of JSON. Then reads changes, one JSON object a line, and makes each
in every fleet; it ends with its input. A sound answer names its backend, so that a client sees who answered.
"""

import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Self

import msgspec

from bench.failover_scenarios import BACKENDS, Change, Harm
from nexus.testing import Answer, Cut, FaultyBackend, Hang, Status
from nexus.testing.wire import ReceivedRequest, Step

MODEL = "m"
LAST_WORD = "whole"
_GRAY_SHARE = 0.2
_RATE, _BURST, _RETRY_AFTER = 1.0, 4.0, 2
# Below the ports that systems give to outgoing connections: one that is closed for a while stays free.
_PORTS = range(20_000, 30_000)


class Throttled:
    """Answers up to one request per second, with a little burst, and refuses the rest with 429."""

    def __init__(self, inner: Answer) -> None:
        self._inner = inner
        self._tokens = _BURST
        self._filled_at = monotonic()

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer, or the refusal."""
        now = monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _RATE)
        self._filled_at = now
        if self._tokens < 1.0:
            return Status(429, retry_after=_RETRY_AFTER).steps(request)
        self._tokens -= 1.0
        return self._inner.steps(request)


def sound(index: int) -> Answer:
    """What backend `index` says when nothing is wrong: five words in about a tenth of a second."""
    return Answer(text=f"backend {index} answers you {LAST_WORD}", first_token_delay=0.05, token_delay=0.01)


def apply(harm: Harm, backend: FaultyBackend, index: int) -> None:
    """Make a backend do this from now on."""
    answer = sound(index)
    if harm is Harm.DOWN:
        backend.stop()
        return
    backend.probes = Hang() if harm is Harm.HANG else None
    if harm is Harm.GRAY:
        backend.fail(_GRAY_SHARE, seed=index, failure=Cut(0, inner=answer), otherwise=answer)
    elif harm is Harm.THROTTLE:
        backend.always(Throttled(answer))
    elif harm is Harm.HANG:
        backend.always(Hang())
    else:
        backend.always(Status(500) if harm is Harm.ERROR else answer)
    backend.start()


class Backends:
    """The process of `main`, seen from outside. A context manager.

    `fleets` has the origins of each fleet.
    """

    def __init__(self, fleets: int) -> None:
        command = [sys.executable, "-m", "bench.failover_backends", str(fleets)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._child.stdout.readline() if self._child.stdout else b""
        ports = msgspec.json.decode(line, type=list[list[int]])
        self.fleets = [[f"http://127.0.0.1:{port}" for port in fleet] for fleet in ports]

    def change(self, change: Change) -> None:
        """Make a change in every fleet, a moment later."""
        if self._child.stdin is not None:
            self._child.stdin.write(msgspec.json.encode(change) + b"\n")
            self._child.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child.wait(30)


def free_ports(count: int, rng: random.Random) -> list[int]:
    """So many ports of the loopback interface that nothing listens on now."""
    found: list[int] = []
    for port in rng.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        found.append(port)
    return found


def main() -> int:
    """Serve until the input ends."""
    size = int(sys.argv[1])
    ports = free_ports(size * BACKENDS, random.Random())
    with ExitStack() as stack:
        fleets = [
            [
                stack.enter_context(FaultyBackend(sound(index), models=(MODEL,), port=ports.pop()))
                for index in range(BACKENDS)
            ]
            for _ in range(size)
        ]
        print(msgspec.json.encode([[backend.port for backend in fleet] for fleet in fleets]).decode())
        sys.stdout.flush()
        for line in sys.stdin.buffer:
            change = msgspec.json.decode(line, type=Change)
            for index in change.backends:
                for fleet in fleets:
                    apply(change.harm, fleet[index], index)
    return 0


if __name__ == "__main__":
    sys.exit(main())

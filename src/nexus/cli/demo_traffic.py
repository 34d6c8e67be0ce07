"""The clients of `nexus demo`: a little traffic, half of it streamed, and a record of every answer."""

import http.client
import itertools
import json
import threading
from collections import deque
from typing import Any, Self
from urllib.parse import urlsplit

from msgspec import Struct

from nexus.core.clock import Clock

_PROMPTS = (
    "Say hello.",
    "Name a colour.",
    "What is the capital of France?",
    "Count to five.",
    "Name an animal that swims.",
    "What do bees make?",
)
_MAX_TOKENS = 12
_KEPT = 200
_PAUSE_SECONDS = 0.1
_TIMEOUT_SECONDS = 60.0
_OK = 200


class Served(Struct, frozen=True):
    """One answered (or failed) request.

    `status` 0: no whole answer came. `ttft_ms` is None where nothing was streamed. `backend` is empty where
    none answered, `reason` is the gateway's route reason.
    """

    number: int
    stream: bool
    status: int
    backend: str
    attempts: str
    reason: str
    ttft_ms: float | None
    total_ms: float
    text: str

    @property
    def good(self) -> bool:
        """Whether the client got what it asked for."""
        return self.status == _OK and bool(self.text)


class Traffic:
    """`clients` threads that ask the gateway at `url` for completions, one after the other, inside a `with`.

    `recent` holds the last answers, oldest first; `total`, `failed` and `by_backend` count all of them.
    """

    def __init__(self, url: str, model: str, clock: Clock, clients: int = 2) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._model = model
        self._clock = clock
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._recent: deque[Served] = deque(maxlen=_KEPT)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        self.total = 0
        self.failed = 0
        self.by_backend: dict[str, int] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def recent(self) -> tuple[Served, ...]:
        """The last answers, oldest first."""
        with self._lock:
            return tuple(self._recent)

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            served = self._ask(next(self._numbers))
            with self._lock:
                self._recent.append(served)
                self.total += 1
                self.failed += not served.good
                if served.backend:
                    self.by_backend[served.backend] = self.by_backend.get(served.backend, 0) + 1

    def _ask(self, number: int) -> Served:
        # Pairs of equal kind, so that with backends taken in turn each of them sees both kinds.
        stream = number // 2 % 2 == 0
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": _PROMPTS[number % len(_PROMPTS)]}],
            "max_tokens": _MAX_TOKENS,
            "stream": stream,
        }
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        started = self._clock.monotonic()
        try:
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            answer = _Answer(response, self._clock)
        except (OSError, http.client.HTTPException) as error:
            return Served(number, stream, 0, "", "", "", None, self._since(started), str(error))
        finally:
            connection.close()
        first = answer.first_at
        return Served(
            number,
            stream,
            response.status if answer.complete else 0,
            response.headers.get("X-Nexus-Backend", ""),
            response.headers.get("X-Nexus-Attempts", ""),
            response.headers.get("X-Nexus-Route-Reason", ""),
            None if first is None else (first - started) * 1000,
            self._since(started),
            answer.text,
        )

    def _since(self, started: float) -> float:
        return (self._clock.monotonic() - started) * 1000


class _Answer:
    """Reads an answer to its end: its text, whether it is whole, and when its first content came."""

    def __init__(self, response: http.client.HTTPResponse, clock: Clock) -> None:
        self.first_at: float | None = None
        self.complete = False
        self.text = ""
        if response.headers.get_content_type() == "text/event-stream":
            self._read_events(response, clock)
        else:
            self.text = _content(_decoded(response.read()), "message")
            self.complete = True

    def _read_events(self, response: http.client.HTTPResponse, clock: Clock) -> None:
        while line := response.readline():
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                self.complete = True
            elif data and (piece := _content(_decoded(data), "delta")):
                self.first_at = self.first_at or clock.monotonic()
                self.text += piece


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return {}


def _content(answer: Any, part: str) -> str:
    if not isinstance(answer, dict):
        return ""
    if "error" in answer:
        return ""
    return "".join(choice.get(part, {}).get("content") or "" for choice in answer.get("choices") or ())

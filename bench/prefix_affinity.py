"""What it is worth to send conversations back where their beginning is cached, on real llama.cpp servers.

    python -m bench.prefix_affinity [--turns 6]

Two servers with two slots each, four conversations with long instructions of their own, their turns in a
shuffled order, one request at a time. It prints the time to first token of all turns but each conversation's
first, with `routing.prefix_affinity` on and off.
"""

import argparse
import http.client
import json
import random
import statistics
import time
from typing import Any

from nexus.testing import GatewayProcess, LlamaServer

_CONVERSATIONS = 4
_TOPICS = ("harbours", "bridges", "lanterns", "orchards")
_CONFIG = """
[routing]
prefix_affinity = {affinity}
[[backends]]
id = "one"
name = "one"
url = "{one}"
type = "llamacpp"
[[backends]]
id = "two"
name = "two"
url = "{two}"
type = "llamacpp"
"""


def instructions(topic: str) -> str:
    """About two and a half thousand characters."""
    return " ".join(f"Rule {number}: when asked about {topic}, be brief and exact." for number in range(38))


def first_token_ms(port: int, messages: list[dict[str, str]]) -> tuple[float, str, str]:
    """Time to the first content of a streamed answer, who gave it, and its text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"model": "smollm2", "messages": messages, "stream": True, "max_tokens": 8, "temperature": 0}
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(response.read().decode())
    backend = response.headers["X-Nexus-Backend"]
    took: float | None = None
    text = ""
    for line in response:
        if line.startswith(b"data: {"):
            content = _content(json.loads(line[6:]))
            if content and took is None:
                took = (time.perf_counter() - began) * 1000.0
            text += content
    connection.close()
    if took is None:
        raise RuntimeError("the stream had no content")
    return took, backend, text


def _content(chunk: Any) -> str:
    choices = chunk.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


def measure(port: int, turns: int, rng: random.Random) -> tuple[list[float], float]:
    """Times of all later turns, and the share of them that stayed with the backend before."""
    talks = [[{"role": "system", "content": instructions(topic)}] for topic in _TOPICS[:_CONVERSATIONS]]
    last: dict[int, str] = {}
    times, stayed = [], 0
    for turn in range(turns):
        for number in rng.sample(range(len(talks)), len(talks)):
            talk = talks[number]
            talk.append({"role": "user", "content": f"Question {turn}: what comes next?"})
            took, backend, text = first_token_ms(port, talk)
            talk.append({"role": "assistant", "content": text})
            if turn:
                times.append(took)
                stayed += backend == last[number]
            last[number] = backend
    return times, stayed / len(times)


def main() -> None:
    """Measure both ways on fresh servers, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{'prefix_affinity':16}{'p50 ms':>9}{'mean ms':>9}{'p95 ms':>9}{'stayed':>9}")
    for affinity in (True, False):
        with LlamaServer() as one, LlamaServer() as two:
            config = _CONFIG.format(affinity=str(affinity).lower(), one=one.url, two=two.url)
            with GatewayProcess(config) as gateway:
                times, stayed = measure(gateway.port, options.turns, random.Random(options.seed))
        times.sort()
        p95 = times[int(0.95 * (len(times) - 1))]
        print(
            f"{'on' if affinity else 'off':16}{statistics.median(times):>9.0f}"
            f"{statistics.mean(times):>9.0f}{p95:>9.0f}{stayed:>9.0%}"
        )


if __name__ == "__main__":
    main()

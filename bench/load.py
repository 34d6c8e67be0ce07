"""One run of wrk, pinned to the load core, and what it measured."""

import subprocess
from pathlib import Path

import msgspec
from msgspec import Struct

from bench import peers, process

_BODY = {
    "model": "mock",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant. Answer in one short paragraph."},
        {"role": "user", "content": "What does a gateway in front of several model servers do? " * 3},
    ],
    "max_tokens": 128,
    "temperature": 0.7,
}
_SCRIPT = """
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{{"requests":%d,"micros":%d,"p50_us":%.1f,"p99_us":%.1f,"errors":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class LoadError(Exception):
    """wrk failed, or some answers were errors: there is no figure."""


class Load(Struct, frozen=True):
    """One run: requests answered, its length, latencies in microseconds, and the proxy's use of its core."""

    requests: int
    micros: int
    p50_us: float
    p99_us: float
    errors: int
    busy: float = 0.0

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return self.requests / self.micros * 1e6


def write_scripts(folder: Path) -> None:
    """The two wrk scripts, for a plain answer and for a streamed one."""
    for name, body in (("json", _BODY), ("stream", {**_BODY, "stream": True})):
        text = msgspec.json.encode(body).decode()
        (folder / f"{name}.lua").write_text(_SCRIPT.format(body=text))


def run(target: process.Running, script: Path, *, connections: int, seconds: float) -> Load:
    """Drive `target` for about `seconds` (whole seconds, at least 1).

    Raises:
        LoadError: wrk could not run, or not every answer was a 2xx.
    """
    if (wrk := peers.program("wrk")) is None:
        raise LoadError("wrk is not installed (apt install wrk)")
    length = f"{max(1, round(seconds))}s"
    command = [
        "taskset",
        "--cpu-list",
        str(process.LOAD_CORE),
        wrk,
        "-t1",
        f"-c{connections}",
        f"-d{length}",
    ]
    command += ["--timeout", "10s", "-s", str(script)]
    command += [part for name, value in target.headers for part in ("-H", f"{name}: {value}")]
    command.append(target.url)
    before = target.cpu_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    used = target.cpu_seconds() - before
    load = parse(done.stdout)
    if load.errors:
        raise LoadError(f"{load.errors} of {load.requests} answers were errors")
    return msgspec.structs.replace(load, busy=used / (load.micros / 1e6))


def parse(output: str) -> Load:
    """What the script's last line says.

    Raises:
        LoadError: the output has no such line, or nothing was answered.
    """
    lines = [line for line in output.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise LoadError("wrk printed no result")
    load = msgspec.json.decode(lines[-1], type=Load)
    if not load.requests:
        raise LoadError("nothing was answered")
    return load

"""`nexus demo` tells its whole story with real models and leaves nothing behind."""

import json
import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.usefixtures("real_model"),
    pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="looks for left-over processes in /proc"
    ),
]

DEMO = [sys.executable, "-m", "nexus.cli.main", "demo"]


def processes_with(marker: str) -> dict[int, str]:
    """The processes that inherited this environment variable: id to command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended while we looked, or is somebody else's
            continue
    return found


def marked() -> tuple[str, dict[str, str]]:
    marker = uuid.uuid4().hex
    return marker, {**os.environ, "DEMO_MARKER": marker}


def test_the_demo_tells_its_story():
    """Real completions are served, the twin is excluded and comes back, and no process is left."""
    marker, env = marked()
    ended = subprocess.run(
        [*DEMO, "--seconds", "100", "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    told = json.loads(ended.stdout)
    assert list(told["phases"]) == ["warm-up", "excluded", "healed", "recovered", "over"]
    assert told["excluded_reason"].startswith("Error rate ")
    assert told["recovered"] is True
    assert told["failed"] == 0
    assert told["served"] == told["requests"] > 20
    assert set(told["by_backend"]) == {"one", "two", "twin"}
    assert told["ttft_ms_median"] > 0
    assert processes_with(marker) == {}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_demo_ends_with_its_children(number, code):
    """Ctrl-C ends it all with 130; even killed it leaves no process. Off a terminal it prints lines."""
    marker, env = marked()
    with subprocess.Popen(
        DEMO, env={**env, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        for line in demo.stdout:
            if line.startswith("#"):
                break
        started = processes_with(marker)
        assert len(started) == 4, "the demo, two model servers and the gateway"
        handles = [os.pidfd_open(pid) for pid in started]
        demo.send_signal(number)
        assert demo.wait(30) == code
        assert "Traceback" not in demo.stderr.read()
    try:
        for handle in handles:
            assert select.select([handle], [], [], 10)[0], f"still running: {processes_with(marker)}"
    finally:
        for handle in handles:
            os.close(handle)

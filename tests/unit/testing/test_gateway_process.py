"""A gateway as a child process: what goes wrong is told, and nothing is left."""

import os
import select
import signal
import subprocess
import sys

import pytest

from nexus.testing import GatewayProcess, GatewayProcessError


def test_a_configuration_with_a_mistake_is_told():
    """The gateway's own words, and its exit code."""
    with (
        pytest.raises(GatewayProcessError, match=r"(?s)ended with code 2.*strategie"),
        GatewayProcess('[routing]\nstrategie = "smart"\n'),
    ):
        raise AssertionError("it must not start")


def test_one_that_was_not_started_has_no_process():
    """Asking for one says what to do; stopping it does nothing."""
    gateway = GatewayProcess("")
    assert gateway.returncode is None
    with pytest.raises(GatewayProcessError, match="call start"):
        _ = gateway.pid
    with pytest.raises(GatewayProcessError, match="does not answer"):
        gateway.get("/v1/stats")
    with pytest.raises(GatewayProcessError, match="no backend was usable after 0 s"):
        gateway.wait_ready(0)
    gateway.kill()
    assert gateway.stop() == 0


def test_a_tethered_program_gets_sigterm_when_its_parent_lets_go():
    """The module runs as the main program with its own arguments; the end of its input ends it."""
    command = [sys.executable, "-m", "nexus.testing.tethered", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"Serving HTTP on 127.0.0.1")
        assert not select.select([child.stdout], [], [], 0)[0]
        child.stdin.close()
        assert child.wait(10) == -signal.SIGTERM

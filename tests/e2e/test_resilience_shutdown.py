"""How the gateway ends: what is in flight finishes, nothing new begins, and a second signal means now."""

import http.client
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, GatewayProcessError, Hang
from tests.e2e.gateway_client import backend, backend_stats, chat, open_request, post

CONFIG = '[health_check]\nenabled = false\n[logging]\nformat = "json"\n'
STREAMS = 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_stream_in_flight_finishes(number):
    """Fifty streams end with their last event, idle connections close, new ones are refused, exit code 0."""
    with FaultyBackend(Answer(tokens=10, token_delay=0.08)) as one:
        process = GatewayProcess(CONFIG + backend("one", one.url, models=["m"]))
        process.start()
        idle = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
        idle.request("GET", "/health/live")
        idle.getresponse().read()
        with ThreadPoolExecutor(STREAMS) as pool:
            streams = [pool.submit(post, process.port, chat(stream=True)) for _ in range(STREAMS)]
            process.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == STREAMS)
            os.kill(process.pid, number)
            assert idle.sock.recv(1) == b"", "an idle connection is closed at once"
            idle.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", process.port), timeout=5)
            replies = [each.result() for each in streams]
        assert all(each.whole and each.body.endswith(b"data: [DONE]\n\n") for each in replies)
        assert process.wait_ended(5) == 0
        process.stop()
        lines = [line for line in process.stdout.splitlines() if '"message":"request"' in line]
        assert len(lines) == STREAMS, "the log was written to its end"


def test_a_second_signal_ends_at_once():
    """The grace time is half a minute, and nobody waits for it."""
    with FaultyBackend(Hang()) as one:
        process = GatewayProcess(CONFIG + backend("one", one.url, models=["m"]))
        process.start()
        peer = open_request(process.port, chat(stream=True))
        process.wait_for(lambda stats: backend_stats(stats, "one")["pending"] == 1)
        os.kill(process.pid, signal.SIGTERM)
        with pytest.raises(GatewayProcessError, match="still runs"):
            process.wait_ended(0.5)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait_ended(5) == 0
        peer.close()
        process.stop()
        assert "cut off 1 connections" in process.stdout

"""The work that one request makes, counted rather than timed, so that no change makes it grow unnoticed."""

import uvloop

from bench.hot_path import Bench, SteadyClock, calls_per_request

MOST_CALLS = 277
"""Python and C functions called for one whole answer, everything on. Lower it when the path gets shorter."""
CROWDED = "[outcomes]\nmax_pending = 100\n"
"""So few calls may wait for a signal that each request makes room for itself, as at full load."""


def test_a_request_takes_no_more_function_calls_than_it_did(tmp_path):
    """Measured between two transports in memory: the figure depends on the code alone."""

    async def counted() -> float:
        bench = Bench(tmp_path, CROWDED, clock=SteadyClock())
        try:
            return await calls_per_request(bench)
        finally:
            bench.log.close()

    assert uvloop.run(counted()) <= MOST_CALLS

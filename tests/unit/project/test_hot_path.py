"""The work that requests make, counted rather than timed, so that no change makes it grow unnoticed."""

from pathlib import Path

import pytest
import uvloop

from bench.hot_path import Bench, SteadyClock, calls_per_request

MOST_CALLS = 192
"""Python and C functions called for one whole answer, everything on. Lower it when the path gets shorter."""
MOST_CALLS_CROWDED = 200
"""The same where each request makes room for itself among the calls that wait, as at full load."""
CROWDED = "[outcomes]\nmax_pending = 100\n"


@pytest.mark.parametrize(("settings", "most"), [("", MOST_CALLS), (CROWDED, MOST_CALLS_CROWDED)])
def test_a_request_takes_no_more_function_calls_than_it_did(tmp_path: Path, settings: str, most: int):
    """Measured between transports in memory: the figure depends on the code alone."""

    async def counted() -> float:
        bench = Bench(tmp_path, settings, clock=SteadyClock())
        try:
            return await calls_per_request(bench)
        finally:
            bench.log.close()

    assert uvloop.run(counted()) <= most

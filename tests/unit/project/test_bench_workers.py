"""The bench of workers: what its figures mean."""

import subprocess
import sys

from bench.workers import Run, _rows, tree_cpu_seconds

WORK = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
BURN = f"""
import subprocess, sys
command = [sys.executable, "-c", {WORK!r}]
subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True).wait()
"""


def test_processor_time_of_children_in_other_sessions_counts():
    parent = subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    parent.stdout.readline()
    try:
        assert tree_cpu_seconds(parent.pid) >= 0.25
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_scaling_is_what_telling_each_other_leaves_of_the_workers():
    """Two workers whose requests cost a quarter more than apart do 1.6 times as much as one, at any speed."""
    runs = {
        1: [Run(1000.0, 80.0, 0.9, 80.0), Run(900.0, 160.0, 0.9, 160.0), Run(990.0, 76.0, 0.8, 76.0)],
        2: [Run(1500.0, 125.0, 0.7, 100.0), Run(1400.0, 250.0, 0.7, 200.0), Run(1300.0, 110.0, 0.7, 96.0)],
    }
    one, two = _rows(runs, [0, 2, 3])
    assert (one.scaling, one.per_second, one.cpu_us, one.cores) == (1.0, 990.0, 80.0, (0,))
    assert (two.scaling, two.apart_us, two.cores) == (1.6, 100.0, (0, 2))

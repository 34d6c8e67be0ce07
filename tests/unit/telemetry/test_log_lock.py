"""Lines of several processes on one pipe stay whole."""

import os
import subprocess
import sys
import tempfile
import threading

WRITER = """
import sys
from nexus.telemetry.sink import LogSink

sink = LogSink(1, lock=int(sys.argv[2]))
for _ in range(20):
    sink.write(b"".join(sys.argv[1].encode() * 4000 + b"\\n" for _ in range(20)))
sink.close(30.0)
"""


def test_lines_of_two_processes_are_not_mixed():
    """Each writes far more at once than a pipe takes in one piece."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as lock:
        fds = (lock.fileno(),)
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, name, str(fds[0])], stdout=writing, pass_fds=fds)
            for name in "ab"
        ]
        os.close(writing)
        pieces: list[bytes] = []
        with os.fdopen(reading, "rb") as pipe:
            reader = threading.Thread(target=lambda: pieces.extend(iter(lambda: pipe.read(65536), b"")))
            reader.start()
            assert [each.wait(60) for each in writers] == [0, 0]
            reader.join(60)
    lines = b"".join(pieces).split(b"\n")
    assert sorted(set(lines)) == [b"", b"a" * 4000, b"b" * 4000]
    assert lines.count(b"a" * 4000) == lines.count(b"b" * 4000) == 400

"""Log lines never hold up the gateway, and what is lost is counted."""

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus.telemetry.sink import LogSink


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's reading and writing end."""
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


def fill(writer: int) -> int:
    """Make the pipe full; returns how many bytes that took."""
    os.set_blocking(writer, False)
    size = 0
    try:
        while True:
            size += os.write(writer, b"x" * 4096)
    except BlockingIOError:
        return size


def test_lines_come_out_whole_and_in_order(pipe):
    """From several threads too; closing writes what is queued."""
    reader, writer = pipe
    sink = LogSink(writer)

    def work(name: str) -> None:
        for number in range(50):
            sink.write(f"{name} {number}\n".encode())

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    os.close(writer)
    with os.fdopen(os.dup(reader)) as lines:
        found = lines.read().splitlines()
    assert [line for line in found if line.startswith("a")] == [f"a {number}" for number in range(50)]
    assert [line for line in found if line.startswith("b")] == [f"b {number}" for number in range(50)]
    assert (sink.overflowed, sink.unwritten) == (0, 0)


def test_a_reader_that_went_away_costs_lines_and_nothing_else(pipe):
    """Each lost line is counted once."""
    reader, writer = pipe
    os.close(reader)
    sink = LogSink(writer)
    sink.write(b"one\ntwo\n")
    assert sink.flush()
    sink.write(b"three\n")
    assert sink.flush()
    assert sink.unwritten == 3
    sink.close()


def test_a_full_disk_costs_lines_and_nothing_else():
    """`/dev/full` answers every write with "no space left on device"."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = LogSink(fd)
    sink.write(b"one\n")
    sink.close()
    os.close(fd)
    assert sink.unwritten == 1


def test_writing_goes_on_when_it_works_again(tmp_path):
    """The line that was cut is ended, so that the next one starts on its own."""
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    sink = LogSink(fd)
    full = OSError(28, "No space left on device")
    pieces: Iterator[int | OSError] = iter([3, full, full])

    def write_some(data: memoryview) -> int:
        piece = next(pieces, None)
        if isinstance(piece, OSError):
            raise piece
        return os.write(fd, data if piece is None else data[:piece])

    sink._write_some = write_some  # type: ignore[method-assign]
    for line in (b"first\n", b"second\n", b"third\n"):
        sink.write(line)
        assert sink.flush()
    sink.close()
    os.close(fd)
    assert path.read_bytes() == b"fir\nthird\n"
    assert sink.unwritten == 2


def test_a_reader_that_stands_still_blocks_nobody(pipe):
    """Beyond the limit lines are dropped and counted; those queued come out once it reads again."""
    reader, writer = pipe
    stuffing = fill(writer)
    sink = LogSink(writer, max_bytes=100)
    line = b"y" * 49 + b"\n"
    for _ in range(5):
        sink.write(line)
    assert sink.overflowed == 3
    assert sink.flush(timeout=0.0) is False
    taken = b""
    while len(taken) < stuffing + 2 * len(line):
        taken += os.read(reader, 65536)
    assert sink.flush()
    assert taken[stuffing:] == 2 * line
    sink.close()
    assert sink.unwritten == 0


def test_closing_does_not_wait_for_ever(pipe):
    """What could not be written by then is counted."""
    _, writer = pipe
    fill(writer)
    sink = LogSink(writer)
    sink.write(b"one\n")
    sink.close(timeout=0.01)
    thread = sink._thread
    assert thread is not None
    thread.join(5.0)
    assert not thread.is_alive()
    assert sink.overflowed + sink.unwritten == 1


def test_after_the_end_lines_are_counted_as_lost(pipe):
    """Nothing raises."""
    _, writer = pipe
    sink = LogSink(writer)
    sink.close()
    sink.write(b"late\n")
    assert sink.overflowed == 1
    assert sink.flush()


def test_a_sink_that_was_never_used_starts_no_thread(pipe):
    """Nor does closing it."""
    _, writer = pipe
    before = threading.active_count()
    LogSink(writer).close()
    assert threading.active_count() == before


def test_a_large_batch_passes_through_a_small_pipe(pipe):
    """Partial writes are continued."""
    reader, writer = pipe
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    sink = LogSink(writer)
    batch = b"".join(b"%d\n" % number for number in range(20_000))
    sink.write(batch)
    taken = b""
    while len(taken) < len(batch):
        taken += os.read(reader, 65536)
    sink.close()
    assert taken == batch

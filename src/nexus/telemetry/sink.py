"""Where log lines go: a queue and a thread, so that no reader and no disk can hold up the gateway."""

import fcntl
import os
import select
import threading

_MAX_BYTES = 8 * 1024 * 1024
_POLL_MS = 100
_LINE_FEED = 10


class LogSink:
    """Writes whole lines to a file descriptor, in order, from a thread of its own.

    `write` never blocks and never raises. `overflowed` counts the lines dropped because more than `max_bytes`
    were waiting (or the sink was closed), `unwritten` those lost to an error such as a full disk or a reader
    that went away; writing goes on as soon as it works again. The thread starts with the first line.

    Where several processes write to one pipe, a large write of one may be cut by another's. `lock` is then
    the descriptor of a file that all of them have open: its lock is held while lines are written.
    """

    def __init__(self, fd: int, *, max_bytes: int = _MAX_BYTES, lock: int | None = None) -> None:
        self.overflowed = 0
        self.unwritten = 0
        self._fd = fd
        self._lock = lock
        self._max_bytes = max_bytes
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._torn = False
        self._closing = False
        self._abandoned = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, lines: bytes) -> None:
        """Queue one or more lines, each with its line feed."""
        with self._changed:
            if self._closing or self._bytes + len(lines) > self._max_bytes:
                self.overflowed += lines.count(b"\n")
                return
            self._waiting.append(lines)
            self._bytes += len(lines)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nexus-log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until every line so far is out (or lost); False if that took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._bytes, timeout)

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued and end. What is not out after `timeout` seconds is counted as overflowed."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            return
        thread.join(timeout)
        with self._changed:
            self._abandoned = True
            self.overflowed += sum(each.count(b"\n") for each in self._waiting)
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                batch, self._waiting = self._waiting, []
            if not batch:
                return
            data = b"".join(batch)
            self._put(data)
            with self._changed:
                self._bytes -= len(data)
                self._changed.notify_all()

    def _put(self, data: bytes) -> None:
        # After an error in the middle of a line, the next one must not continue it.
        whole = b"\n" + data if self._torn else data
        rest = memoryview(whole)
        try:
            self._take_turn(fcntl.LOCK_EX)
            try:
                while rest:
                    rest = rest[self._write_some(rest) :]
            finally:
                self._take_turn(fcntl.LOCK_UN)
        except OSError:
            # There is nowhere left to report this but a metric.
            self.unwritten += min(bytes(rest).count(b"\n"), data.count(b"\n"))
        sent = len(whole) - len(rest)
        if sent:
            self._torn = whole[sent - 1] != _LINE_FEED

    def _take_turn(self, operation: int) -> None:
        if self._lock is not None:
            # Locks of this kind are a process's own, also on a descriptor that was inherited.
            fcntl.lockf(self._lock, operation)

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            # Somebody made the descriptor non-blocking, as event loops do with pipes.
            if self._abandoned:
                raise
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(_POLL_MS)
            return 0

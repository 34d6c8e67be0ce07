"""Small files that several processes share: replaced in one step, changed under a lock."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from nexus.core.clock import Clock

_PAUSE_SECONDS = 0.05


class LockedError(OSError):
    """Another process kept the lock of a file for too long."""


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file in one step, for its owner's eyes only. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(6).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def locked(path: Path, clock: Clock, *, seconds: float) -> Iterator[None]:
    """Hold the lock of a file: one beside it, because it is replaced at each write and can't carry the lock.

    Raises:
        LockedError: another process held it for `seconds`.
        OSError: the lock file can't be made.
    """
    lock = path.with_name(f"{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(round(seconds / _PAUSE_SECONDS)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                clock.sleep(_PAUSE_SECONDS)
        else:
            raise LockedError(errno.EAGAIN, "another process holds its lock", str(lock))
        yield
    finally:
        os.close(descriptor)  # which gives the lock up

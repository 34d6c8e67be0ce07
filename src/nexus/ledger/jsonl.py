"""Receipts in a text file: one line of JSON each, appended; readable by the owner only."""

import contextlib
import errno
import fcntl
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from nexus.core.clock import SystemClock
from nexus.core.receipt import LedgerEntry
from nexus.ledger.lines import decode, encode_all
from nexus.ledger.store import LedgerError

_BLOCK = 64 * 1024
_LOCK_WAIT_SECONDS = 20.0
_LOCK_PAUSE_SECONDS = 0.005
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

StrPath = str | os.PathLike[str]


class JsonlLedger:
    """A `LedgerStore` in one file; see `nexus.ledger.store`.

    The file is opened for each call, so it may be moved away or pruned by others in between.
    """

    def __init__(self, path: StrPath) -> None:
        self._path = Path(path)

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """As `append_ledger_entries`."""
        append_ledger_entries(self._path, entries)

    def read(self, limit: int = 0) -> list[LedgerEntry]:
        """As `read_ledger`."""
        return read_ledger(self._path, limit)

    def scan(self) -> Iterator[LedgerEntry]:
        """All receipts, oldest first, line by line."""
        return scan_ledger(self._path)

    def prune(self, max_entries: int, limit: int = 0) -> int:  # noqa: ARG002 - as below
        """As `prune_ledger`. The whole file is written anew, so all go at once, whatever `limit` says."""
        return prune_ledger(self._path, max_entries)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def check_writable(self) -> None:
        """Make the file where there is none.

        Raises:
            LedgerError: it can't be made or written.
        """
        with _named(self._path, "opened"), _locked_to_append(self._path):
            pass


def append_ledger_entries(path: StrPath, entries: Iterable[LedgerEntry]) -> None:
    """Append one line per receipt and wait until the disk has them.

    The file is made where there is none, with mode 0600, and its directory with 0700. If the last line
    was torn by a crash, the first new one starts on a line of its own.

    Raises:
        LedgerError: they could not be written; the file is as long as it was before.
    """
    data = b"".join([lines.json for lines in encode_all(entries)])
    if not data:
        return
    with _named(path, "written"), _locked_to_append(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            _write(descriptor, data)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        if not size:
            _sync_directory(Path(os.path.realpath(path)).parent)


def read_ledger(path: StrPath, limit: int = 0) -> list[LedgerEntry]:
    """The newest `limit` receipts in the order written, all for 0 or less; none where there is no file.

    Lines that are torn, not UTF-8 or no receipt are skipped and do not count.

    Raises:
        LedgerError: the file is there and can't be read.
    """
    if limit <= 0:
        return list(scan_ledger(path))
    with _opened(path) as file:
        newest = (entry for line in _backwards(file) if (entry := decode(line)) is not None)
        found = deque[LedgerEntry]()
        found.extendleft(islice(newest, limit))
    return list(found)


def scan_ledger(path: StrPath) -> Iterator[LedgerEntry]:
    """As `read_ledger` without a limit, one receipt at a time."""
    with _opened(path) as file:
        for line in file:
            entry = decode(line)
            if entry is not None:
                yield entry


def prune_ledger(path: StrPath, max_entries: int) -> int:
    """Keep the newest `max_entries` receipts and return how many were removed.

    Nothing happens if `max_entries` is 0 or less, if there is no file, or if it holds no more than that. The
    file is replaced in one step by one with mode 0600 and the same owner, without the lines that are no
    receipts. Appends by other processes wait meanwhile, and go to the new file.

    Raises:
        LedgerError: the file is as it was.
    """
    if max_entries <= 0:
        return 0
    file = Path(os.path.realpath(path))
    with _named(path, "pruned"):
        try:
            with _locked(file, os.O_RDWR) as descriptor:
                surplus = sum(decode(line) is not None for line in _lines(descriptor)) - max_entries
                if surplus > 0:
                    _replace(file, descriptor, surplus)
        except FileNotFoundError:
            return 0
    return max(0, surplus)


def _replace(file: Path, descriptor: int, surplus: int) -> None:
    """Put the receipts after the first `surplus` ones in the place of the file; its lock is held."""
    # Only who holds the lock gets here, so a file of this name is what a crash has left.
    fresh = file.with_name(f".{file.name}.pruned")
    fresh.unlink(missing_ok=True)
    target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(target, "wb") as output:
            kept = (line for line in _lines(descriptor) if decode(line) is not None)
            output.writelines(line.rstrip(b"\n") + b"\n" for line in islice(kept, surplus, None))
            output.flush()
            _give_to_owner_of(descriptor, target)
            os.fsync(target)
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync_directory(file.parent)


def _give_to_owner_of(descriptor: int, target: int) -> None:
    """Root may prune the ledger of a gateway that runs as somebody else, who must be able to go on."""
    owner, mine = os.fstat(descriptor), os.fstat(target)
    if owner.st_uid != mine.st_uid:
        os.fchown(target, owner.st_uid, owner.st_gid)


# --- files and locks


@contextlib.contextmanager
def _named(path: StrPath, deed: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise LedgerError(f"the ledger {os.fspath(path)} can't be {deed}: {reason}") from error


@contextlib.contextmanager
def _opened(path: StrPath) -> Iterator[BinaryIO]:
    """The file for reading; an empty one where there is none."""
    with _named(path, "read"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            yield file


@contextlib.contextmanager
def _locked_to_append(path: StrPath) -> Iterator[int]:
    file = Path(os.path.realpath(path))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(file, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
        yield descriptor


@contextlib.contextmanager
def _locked(file: Path, flags: int) -> Iterator[int]:
    """Open the file and hold its lock.

    Pruning replaces the file, so who has waited for the lock may hold that of the old one and looks again.
    """
    while True:
        descriptor = os.open(file, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            _refuse_other_kinds(descriptor)
            _lock(descriptor)
            if _is_still(file, descriptor):
                _close_to_others(descriptor)
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if clock.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another process holds its lock") from error
            clock.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return


def _is_still(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _close_to_others(descriptor: int) -> None:
    status = os.fstat(descriptor)
    if status.st_mode & _OTHERS and status.st_uid == os.geteuid():
        os.fchmod(descriptor, 0o600)


def _refuse_other_kinds(descriptor: int) -> None:
    """A pipe or a device would block, or swallow what is written."""
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        is_folder = stat.S_ISDIR(mode)
        raise OSError(errno.EINVAL, "it is a directory" if is_folder else "it is not a regular file")


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _lines(descriptor: int) -> Iterator[bytes]:
    """The lines from the start; the descriptor stays open."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        yield from file


def _backwards(file: BinaryIO) -> Iterator[bytes]:
    """The lines without their line feeds, the last one first."""
    position = file.seek(0, os.SEEK_END)
    rest = b""
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        rest, *lines = (file.read(size) + rest).split(b"\n")
        yield from reversed(lines)
    yield rest


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

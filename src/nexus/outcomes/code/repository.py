"""What changed in a git repository: working tree, index and new commits, each file with what it replaced."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from nexus.core.errors import NexusError

MAX_FILE_BYTES = 1024 * 1024
MAX_FILES = 5_000
MAX_BYTES = 64 * 1024 * 1024
MAX_COMMITS = 500
_TIMEOUT_SECONDS = 60.0
_NO_OBJECT = "0"
_REGULAR = frozenset({"100644", "100755"})
_RAW = ("--raw", "-z", "-r", "--no-renames", "--no-abbrev")


class RepositoryError(NexusError):
    """A repository can't be read; the message says which and why."""


class ChangedFile:
    """A file of one change; its contents are read when they are asked for."""

    __slots__ = ("_entry", "_read_new", "_read_old", "path")

    def __init__(
        self,
        entry: "_Entry",
        read_new: Callable[["_Entry"], str | None],
        read_old: Callable[[str], str | None],
    ) -> None:
        self.path = entry.path
        self._entry = entry
        self._read_new = read_new
        self._read_old = read_old

    def text(self) -> str | None:
        """What is in it now; None where it is gone, or can't be read as text."""
        return self._read_new(self._entry) if self._entry.mode in _REGULAR else None

    def old_text(self) -> str | None:
        """What was in it before the change; None where it is new."""
        return self._read_old(self._entry.old_id)


class Change(NamedTuple):
    """Files that changed together: a commit, or what is not committed yet.

    `place` is `working tree`, `index` or `commit` and its short name. `made_at` is when, in Unix seconds;
    None is now.
    """

    place: str
    made_at: float | None
    files: tuple[ChangedFile, ...]


class _Entry(NamedTuple):
    """One line of a raw diff. An id of zeros is no object, or one that is only in the working tree."""

    mode: str
    old_id: str
    new_id: str
    path: str


class Repository(AbstractContextManager["Repository"]):
    """A git repository with a working tree, read with git itself. Nothing in it is changed, no lock is taken.

    Links are left out. So are binary files, those over 1 MB, what follows after 5,000 files of a change, and
    what follows after 64 MB in all: `left_out` counts them.

    Raises:
        RepositoryError: git is missing, or `directory` is in no repository with a working tree.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        self._blobs: _Blobs | None = None
        self.left_out = 0
        self._room = MAX_BYTES
        if not self._directory.is_dir():
            raise RepositoryError(f"{self._directory} is no directory")
        self.root = Path(self._text("rev-parse", "--show-toplevel"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._blobs is not None:
            self._blobs.close()
            self._blobs = None

    def git_path(self, name: str) -> Path:
        """Where git keeps something of this repository, such as `hooks`."""
        return (self.root / self._text("rev-parse", "--git-path", name)).absolute()

    def changes(self, since: float) -> Iterator[Change]:
        """What is not committed, then the commits made at `since` (Unix seconds) or later, newest first."""
        base = self._base()
        worktree = self._entries("diff-index", *_RAW, base)
        untracked = self._git(
            "ls-files", "--others", "--exclude-standard", "--full-name", "-z", cwd=self.root
        )
        worktree += [
            _Entry("100644", _NO_OBJECT, _NO_OBJECT, os.fsdecode(name))
            for name in untracked.split(b"\0")
            if name
        ]
        yield self._change("working tree", None, worktree, in_worktree=True)
        yield self._change("index", None, self._entries("diff-index", "--cached", *_RAW, base))
        for commit, made_at in self._commits(since):
            entries = self._entries("diff-tree", "--root", "--no-commit-id", *_RAW, commit)
            yield self._change(f"commit {commit[:10]}", made_at, entries)

    # --- what changed

    def _base(self) -> str:
        """HEAD, or the empty tree before the first commit."""
        done = self._run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if done.returncode == 0:
            return done.stdout.decode().strip()
        return self._text("hash-object", "-t", "tree", "--stdin")

    def _commits(self, since: float) -> list[tuple[str, float]]:
        """The commits of all branches whose time is `since` or later."""
        arguments = (
            "--branches",
            "--no-merges",
            f"--max-count={MAX_COMMITS}",
            f"--max-age={max(0, int(since))}",
        )
        if self._run("rev-parse", "--verify", "--quiet", "HEAD").returncode != 0:
            return []
        lines = self._text("log", *arguments, "--format=%H %ct", "HEAD").splitlines()
        return [self._dated(*line.split()) for line in lines]

    def _dated(self, commit: str, seconds: str) -> tuple[str, float]:
        """A commit with its time. git keeps whole seconds; the object's file knows better, if it is there."""
        made_at = float(seconds) + 1.0
        path = self.git_path("objects") / commit[:2] / commit[2:]
        if path.exists():
            written = path.stat().st_mtime
            if made_at - 1.0 <= written < made_at:
                made_at = written
        return commit, made_at

    def _entries(self, *arguments: str) -> list[_Entry]:
        fields = iter(self._git(*arguments).split(b"\0"))
        entries = []
        for head in fields:
            if head:
                _, mode, old_id, new_id, _ = head.decode().lstrip(":").split(" ")
                entries.append(_Entry(mode, old_id, new_id, os.fsdecode(next(fields))))
        return entries

    def _change(
        self, place: str, made_at: float | None, entries: Sequence[_Entry], *, in_worktree: bool = False
    ) -> Change:
        self.left_out += max(0, len(entries) - MAX_FILES)
        read = self._file if in_worktree else self._new_blob
        return Change(
            place,
            made_at,
            tuple(ChangedFile(entry, read, self._blob) for entry in entries[:MAX_FILES]),
        )

    # --- contents

    def _file(self, entry: _Entry) -> str | None:
        try:
            descriptor = os.open(self.root / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # gone since, a link, or nothing we may read: it shows nothing
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        with os.fdopen(descriptor, "rb") as file:
            return self._readable(file.read(MAX_FILE_BYTES + 1))

    def _new_blob(self, entry: _Entry) -> str | None:
        return self._blob(entry.new_id)

    def _blob(self, object_id: str) -> str | None:
        if not object_id.strip(_NO_OBJECT):
            return None
        if self._blobs is None:
            self._blobs = _Blobs(self.root)
        data = self._blobs.read(object_id)
        return None if data is None else self._readable(data)

    def _readable(self, data: bytes) -> str | None:
        if len(data) > min(MAX_FILE_BYTES, self._room) or b"\0" in data:
            self.left_out += 1
            return None
        self._room -= len(data)
        return data.decode(errors="replace")

    # --- git

    def _text(self, *arguments: str) -> str:
        return os.fsdecode(self._git(*arguments)).rstrip("\n")

    def _git(self, *arguments: str, cwd: Path | None = None) -> bytes:
        done = self._run(*arguments, cwd=cwd)
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise RepositoryError(f"git can't read {self._directory}: {said[:200]}")
        return done.stdout

    def _run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603 - git, with arguments that are ours
                git_command(*arguments),
                cwd=cwd or self._directory,
                env=git_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise RepositoryError("git is not installed: it is needed to look into a repository") from error
        except subprocess.TimeoutExpired as error:
            raise RepositoryError(f"git took over {_TIMEOUT_SECONDS:.0f} s in {self._directory}") from error


class _Blobs:
    """Reads objects through one git process."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - git, with arguments that are ours
            git_command("cat-file", "--batch"),
            cwd=root,
            env=git_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def read(self, object_id: str) -> bytes | None:
        """The bytes of a blob; None where it is missing, or no blob."""
        source, sink = self._pipes()
        sink.write(object_id.encode() + b"\n")
        sink.flush()
        head = source.readline().split()
        if len(head) != 3:  # noqa: PLR2004 - id, kind and size; else "<id> missing"
            return None
        data = source.read(int(head[2]))
        source.read(1)
        return data if head[1] == b"blob" else None

    def close(self) -> None:
        """End the process."""
        source, sink = self._pipes()
        sink.close()
        source.close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None and sink is not None  # noqa: S101, PT018 - both were asked for
        return source, sink


def git_command(*arguments: str) -> list[str]:
    """A git command line that takes no locks and starts no helper of the repository."""
    return ["git", "--no-optional-locks", "--literal-pathspecs", "-c", "core.fsmonitor=false", *arguments]


def git_environment() -> dict[str, str]:
    """The environment for git: a hook's `GIT_DIR` and the like would lead it to another repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}

"""What a set of figures was measured on: enough to judge them by, nothing that names the machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

from bench import peers
from nexus import is_compiled

ROOT = Path(__file__).resolve().parent.parent
_STEAL = 7  # of the columns of /proc/stat; what comes after it counts guests, who are in the first already
LIBRARIES = ("uvloop", "httptools", "msgspec")


class Machine(Struct, frozen=True):
    """The machine and the versions of everything that was measured. `versions` leaves out what is absent."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    python: str
    versions: dict[str, str]


def describe() -> Machine:
    """This machine, now."""
    versions = {
        name: peers.version(name) for name in (*peers.SYSTEM_PROGRAMS, *(p.name for p in peers.PEERS))
    }
    versions["nexus"] = "compiled" if is_compiled() else "interpreted"
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
        versions={name: found for name, found in versions.items() if found},
    )


class Stolen:
    """The share of this machine's time, since this was made, that its host gave to others while it had work.

    A figure of milliseconds that was taken meanwhile is as much the host's as the subject's. Always 0 on a
    machine of its own.
    """

    def __init__(self) -> None:
        self._before = _ticks()

    def share(self) -> float:
        """Between 0 and 1."""
        taken, passed = (after - before for before, after in zip(self._before, _ticks(), strict=True))
        return round(taken / passed, 4) if passed else 0.0


def _ticks() -> tuple[int, int]:
    """Ticks stolen from all processors, and all there were."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    fields = [int(field) for field in first.split()[1 : _STEAL + 2]]
    return fields[_STEAL], sum(fields)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def git_short() -> str:
    """The commit that was measured, `+` after it if the tree had changes, `unknown` outside a repository."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()

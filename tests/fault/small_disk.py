"""What tests do to a small disk of their own; the fixture `small_disk` makes it."""

import contextlib
import subprocess
from pathlib import Path


def fill(ballast: Path) -> None:
    """Write to this file, behind what it has, until there is no room left beside it."""
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)


def remount(folder: Path, mode: str) -> None:
    """Make the disk read-only (`ro`) or writable (`rw`)."""
    subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)

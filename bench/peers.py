"""Install the proxies that Nexus is compared with into an environment of their own, bench/.peers.

    python -m bench.peers

A peer that does not install is reported and left out; the bench then shows a blank row with that reason.
nginx and wrk come from the operating system (Debian: `apt install nginx wrk`).
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / ".peers"
PYPI_PEERS = ("vllm-router==0.1.17",)
SYSTEM_PROGRAMS = ("nginx", "wrk")
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str) -> str | None:
    """Where a peer's program is, in its own environment or the system; None if it is not installed."""
    own = FOLDER / "bin" / name
    return str(own) if own.exists() else shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)


def version(name: str) -> str | None:
    """The version of an installed peer as it says itself; None where it is absent or does not say."""
    if name in {pin.split("==")[0] for pin in PYPI_PEERS}:
        code = f"import importlib.metadata as m; print(m.version({name!r}))"
        command = [str(FOLDER / "bin" / "python"), "-c", code]
    else:
        command = [program(name) or name, "-v"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return _number(lines[0]) if lines and "Error" not in lines[0] else None


def _number(line: str) -> str | None:
    """The first word of a version line that has a digit and a dot, without what is wrapped around it."""
    for word in line.replace("/", " ").split():
        if word[0].isdigit() and "." in word:
            return word
    return None


def main() -> int:
    """Install what is missing; 0 if every peer is there in the end."""
    if not (FOLDER / "bin" / "python").exists():
        venv.create(FOLDER, with_pip=True)
    failed = []
    for pin in PYPI_PEERS:
        print(f"installing {pin}")
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", pin]
        if subprocess.run(pip, check=False).returncode:
            failed.append(pin)
    failed += [f"{name} (apt install {name})" for name in SYSTEM_PROGRAMS if program(name) is None]
    for name in failed:
        print(f"not installed: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

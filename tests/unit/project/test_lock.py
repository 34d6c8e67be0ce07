"""The lock pins everything the project installs, exactly, and says nothing of where it comes from."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import lock

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def needs(requirement: Requirement) -> list[Requirement]:
    """What an installed distribution needs here, for the extras that are asked for."""
    found = [Requirement(text) for text in requires(requirement.name) or ()]
    extras = requirement.extras or {""}
    return [r for r in found if not r.marker or any(r.marker.evaluate({"extra": e}) for e in extras)]


@pytest.mark.parametrize("name", ["lock.txt", "weights.txt"])
def test_every_line_is_an_exact_pin_without_an_address(name):
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    assert lines
    for line in lines:
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*", line), line
        assert "://" not in line


def test_the_lock_covers_all_that_is_needed_on_this_python():
    pinned = pins("lock.txt")
    queue = [Requirement(text) for text in lock.wanted(PYPROJECT)]
    seen: set[str] = set()
    while queue:
        requirement = queue.pop()
        name = lock.normalise(requirement.name)
        assert name in pinned, f"{name} is needed and not pinned: run `make lock`"
        assert Version(pinned[name]) in requirement.specifier, f"{requirement} is not met by the lock"
        key = f"{name}{sorted(requirement.extras)}"
        if key not in seen:
            seen.add(key)
            try:
                queue += needs(requirement)
            except PackageNotFoundError:
                pytest.fail(f"{name} is pinned and not installed: run `make test`")


def test_the_wanted_requirements_come_from_every_table():
    wanted = lock.wanted(
        {
            "build-system": {"requires": ["builder"]},
            "project": {"dependencies": ["runtime"], "optional-dependencies": {"demo": ["model"]}},
            "dependency-groups": {"dev": ["linter"]},
        }
    )
    assert wanted == ["builder", "runtime", "model", "linter"]


def test_names_are_normalised_as_the_indexes_do():
    assert lock.normalise("Prometheus_Client") == "prometheus-client"
    assert lock.normalise("a.b--c") == "a-b-c"

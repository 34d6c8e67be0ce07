"""Which modules are compiled, and that each of them may be."""

import ast
import runpy
import sys
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "src" / "nexus"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """What `setup.py` compiles."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    names: tuple[str, ...] = runpy.run_path(str(ROOT / "setup.py"))["COMPILED"]
    return names


def test_nothing_is_compiled_unless_asked_for(monkeypatch: pytest.MonkeyPatch):
    """An installation without a compiler must work, and so must one in place: it would hide the sources."""
    told: dict[str, object] = {}
    monkeypatch.setattr(setuptools, "setup", told.update)
    monkeypatch.delenv("NEXUS_COMPILE", raising=False)
    monkeypatch.setitem(sys.modules, "mypyc", None)
    runpy.run_path(str(ROOT / "setup.py"))
    assert told == {"ext_modules": []}


def test_the_modules_are_there_in_order_and_once(listed: tuple[str, ...]):
    assert list(listed) == sorted(set(listed))
    assert [name for name in listed if not (SOURCES / f"{name}.py").is_file()] == []


def test_no_class_of_a_compiled_module_has_keywords(listed: tuple[str, ...]):
    """The compiler ignores them without a word: a frozen record would become one that can be changed."""
    trees = {name: ast.parse((SOURCES / f"{name}.py").read_text(encoding="utf-8")) for name in listed}
    classes = [
        (name, node)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    assert classes
    assert [(name, node.name) for name, node in classes if node.keywords] == []

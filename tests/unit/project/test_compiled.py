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


def test_no_compiled_module_waits_for_a_coroutine(listed: tuple[str, ...]):
    """Compiled code hands on what is raised there in a way that Python 3.12 warns of."""
    trees = {name: ast.parse((SOURCES / f"{name}.py").read_text(encoding="utf-8")) for name in listed}
    waits = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert [
        name for name, tree in trees.items() if any(isinstance(node, waits) for node in ast.walk(tree))
    ] == []


def classes_of(path: Path) -> list[ast.ClassDef]:
    """The classes that a file defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def test_no_class_of_a_compiled_module_has_keywords(listed: tuple[str, ...]):
    """The compiler ignores them without a word: a frozen record would become one that can be changed."""
    classes = [(name, node) for name in listed for node in classes_of(SOURCES / f"{name}.py")]
    assert classes
    assert [(name, node.name) for name, node in classes if node.keywords] == []


def test_no_other_class_inherits_from_a_compiled_one(listed: tuple[str, ...]):
    """That would raise at its first instance, which may be a worker's that begins."""
    files = {SOURCES / f"{name}.py" for name in listed}
    compiled = {node.name for file in files for node in classes_of(file) if not is_protocol(node)}
    others = [node for file in SOURCES.rglob("*.py") if file not in files for node in classes_of(file)]
    assert others
    heirs = {node.name: bases_of(node) & compiled for node in others}
    assert {name: bases for name, bases in heirs.items() if bases} == {}


def bases_of(node: ast.ClassDef) -> set[str]:
    """The names of a class's bases."""
    plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return {base.id for base in plain if isinstance(base, ast.Name)}


def is_protocol(node: ast.ClassDef) -> bool:
    """Whether a class only describes others."""
    return "Protocol" in bases_of(node)

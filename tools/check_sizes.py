"""Gate what tends to grow: module and function lengths, and constructs that hide trouble.

    python tools/check_sizes.py [FOLDER ...]

Without folders: src, tests, bench and tools. Prints one line per breach and exits 1 if there is any. A
function may be longer than the limit when its `def` line carries `# size: <reason>`. A broad `except` that
does not raise again, and a `print` outside the command line, need a comment with the reason on that line
(the `except` also between it and its first statement).
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "bench", "tools", "examples")
MODULE_LINES = 400
FUNCTION_LINES = 50

_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
_SIZE_REASON = re.compile(r"size:\s*\S")
_NOQA = re.compile(r"#\s*noqa(:\s*[A-Z]+[0-9]+(\s*,\s*[A-Z]+[0-9]+)*)?")
_BROAD = {"Exception", "BaseException"}


class Breach(NamedTuple):
    """One broken rule and its place."""

    line: int
    message: str


class Module:
    """One parsed source file: its tree, and the comment of each line that has one."""

    def __init__(self, source: str, *, product: bool, may_print: bool) -> None:
        self.lines = source.count("\n") + (not source.endswith("\n") and bool(source))
        self.tree = ast.parse(source)
        self.product = product
        self.may_print = may_print
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.comments = {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}

    def breaches(self) -> Iterator[Breach]:
        """Every broken rule of this module."""
        if self.lines > MODULE_LINES:
            yield Breach(1, f"module has {self.lines} lines, over {MODULE_LINES}: split it by what it holds")
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._length(node)
            elif isinstance(node, ast.ExceptHandler):
                yield from self._broad(node)
            elif isinstance(node, ast.Global):
                yield Breach(node.lineno, "`global`: hold the state in an object that is passed in")
            elif self.product:
                yield from self._product_rules(node)
        if self.product:
            yield from self._unfinished()

    def _length(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Breach]:
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        marked = any(_SIZE_REASON.search(self.comments.get(line, "")) for line in _head(node))
        if length > FUNCTION_LINES and not marked:
            yield Breach(
                node.lineno,
                f"function {node.name} has {length} lines, over {FUNCTION_LINES}: cut it",
            )

    def _broad(self, node: ast.ExceptHandler) -> Iterator[Breach]:
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(kind is None or (isinstance(kind, ast.Name) and kind.id in _BROAD) for kind in caught)
        raised = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if broad and not raised and not self._reason(_head(node)):
            yield Breach(node.lineno, "broad `except` without a comment that gives its reason")

    def _reason(self, lines: range) -> str:
        """What the comments on `lines` say beyond any `noqa`."""
        said = [self.comments.get(line, "") for line in lines]
        return "".join(_NOQA.sub("", comment).strip(" #-:") for comment in said)

    def _product_rules(self, node: ast.AST) -> Iterator[Breach]:
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield Breach(node.lineno, "NotImplementedError: finish it or leave it out")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield from self._print(node)

    def _print(self, call: ast.Call) -> Iterator[Breach]:
        lines = range(call.lineno, (call.end_lineno or call.lineno) + 1)
        if not self.may_print and not self._reason(lines):
            yield Breach(call.lineno, "print outside the command line: log it, or say why not")

    def _unfinished(self) -> Iterator[Breach]:
        for line, comment in self.comments.items():
            if found := _UNFINISHED.search(comment):
                yield Breach(line, f"{found.group()} comment: do it now or open an issue")


def _head(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ExceptHandler) -> range:
    """The lines from `def` or `except` up to the first statement; a reason may stand on any of them."""
    return range(node.lineno, max(node.lineno + 1, node.body[0].lineno))


def check_file(path: Path, root: Path) -> list[Breach]:
    """The breaches of one file, in order of their lines; `root` decides which rules apply to it."""
    parts = path.relative_to(root).parts
    product = parts[0] == "src"
    module = Module(path.read_text(), product=product, may_print="cli" in parts)
    return sorted(module.breaches())


def main(folders: list[str]) -> int:
    """Check every Python file below `folders`; the exit code."""
    checked = broken = 0
    for folder in folders or FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
                continue
            checked += 1
            for breach in check_file(path, ROOT):
                broken += 1
                print(f"{path.relative_to(ROOT)}:{breach.line}: {breach.message}")
    print(
        f"{checked} modules checked, {broken} breaches"
        if broken
        else f"{checked} modules checked, all in size"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The code blocks of an answer."""

import re
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

MAX_BLOCKS = 64
_FENCES = ("```", "~~~")
_TAG, _TAG_END = "[PYTHON]", "[/PYTHON]"  # what Code Llama writes instead of fences
_NO_CODE = frozenset(
    {"text", "txt", "plaintext", "plain", "console", "shell-session", "output", "log", "markdown", "md"}
)
_SHELLS = frozenset({"sh", "bash", "zsh", "shell", "fish", "powershell", "ps1", "cmd", "bat"})
_DIFFS = frozenset({"diff", "patch", "udiff"})
_CALL = re.compile(r"\w\(")
_MARKS = (" = ", "=>", "->", " == ", "+= ")
_ENDS = ("{", "}", ";", "]", "});", "})", "),")
_STARTS = (
    *("import ", "from ", "def ", "async ", "class ", "func ", "fn ", "pub ", "use ", "package ", "export "),
    *(
        "const ",
        "let ",
        "var ",
        "return",
        "if ",
        "for ",
        "while ",
        "else",
        "try",
        "except",
        "with ",
        "@",
        "#",
    ),
    *(
        "//",
        "/*",
        "* ",
        "<",
        ")",
        "pass",
        "break",
        "continue",
        "struct ",
        "type ",
        "impl ",
        "public ",
        "private ",
    ),
)
_LINE_CHARS = 200
_LEAST_LINES = 2
_LOOK_LINES = 500
_CODE_SHARE = 0.8
_HEADERS = ("diff ", "index ", "--- ", "+++ ", "\\ No newline")


class Block(Struct, frozen=True):
    """One fenced block: its `text` without the fences, and its `language` in lower case, if it has one."""

    text: str
    language: str | None


def code_blocks(answer: str) -> Iterator[Block]:
    """The fenced blocks of an answer that can be suggestions, in order, at most 64.

    Text, output and shell commands (shell without a `#!` line) are none. Of a diff, each hunk is a block: its
    new side. A block that the answer does not close ends with the answer. An answer without any fence is one
    block if it is nothing but code: nearly all of its lines, the first among them, look like code.
    """
    if not any(fence in answer for fence in (*_FENCES, _TAG)):
        if _is_code(answer):
            yield Block(answer, None)
        return
    yield from islice((piece for block in _fenced(answer) for piece in _pieces(block)), MAX_BLOCKS)


def _is_code(answer: str) -> bool:
    lines = (line for line in answer.splitlines() if line.strip())
    if not _looks_like_code(next(lines, "")):
        return False  # prose, most of the time
    rest = [_looks_like_code(line) for line in islice(lines, _LOOK_LINES)]
    return len(rest) + 1 >= _LEAST_LINES and 1 + sum(rest) >= _CODE_SHARE * (1 + len(rest))


def _looks_like_code(line: str) -> bool:
    if line.startswith(("    ", "\t")):
        return True
    text = line[:_LINE_CHARS].rstrip()
    if text.endswith(_ENDS) or any(mark in text for mark in _MARKS):
        return True
    return text.lstrip().startswith(_STARTS) or _CALL.search(text) is not None


def _fenced(answer: str) -> Iterator[Block]:
    fence, indent, language = "", 0, ""
    lines: list[str] = []
    for line in answer.splitlines():
        stripped = line.strip()
        if not fence:
            if stripped.startswith(_FENCES):
                fence, language = _opening(stripped)
                indent = len(line) - len(line.lstrip())
                lines = []
            elif stripped == _TAG:
                fence, indent, language, lines = _TAG_END, 0, "python", []
        elif stripped == fence or (stripped.startswith(fence) and not stripped.strip(fence[0])):
            yield Block("\n".join(lines), language or None)
            fence = ""
        else:
            lines.append(line[indent:] if not line[:indent].strip() else line)
    if fence and lines:
        yield Block("\n".join(lines), language or None)


def _opening(line: str) -> tuple[str, str]:
    """The fence that a line opens, empty where the line is a span of code within text; and the language."""
    mark = line[0]
    info = line.lstrip(mark)
    if mark in info:
        return "", ""
    words = info.split(maxsplit=1)
    return mark * (len(line) - len(info)), words[0].strip("{}.").lower() if words else ""


def _pieces(block: Block) -> Iterator[Block]:
    language = block.language
    if language in _NO_CODE or (language in _SHELLS and not block.text.lstrip().startswith("#!")):
        return
    if language in _DIFFS:
        yield from _hunks(block.text)
    else:
        yield block


def _hunks(diff: str) -> Iterator[Block]:
    """The new side of each hunk of a unified diff."""
    kept: list[str] = []
    for line in [*diff.splitlines(), "@@"]:
        if line.startswith(("@@", "diff ")):
            if kept:
                yield Block("\n".join(kept), None)
            kept = []
        elif not line.startswith(("-", *_HEADERS)):
            kept.append(line[1:] if line[:1] in {"+", " "} else line)

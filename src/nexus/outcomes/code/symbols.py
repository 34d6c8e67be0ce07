"""What changed between two versions of a file, by symbols: functions, methods, classes and types.

Needs the packages of `nexus[git]`. Without them, and for other languages, nothing is said.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nexus.outcomes.code.tokens import tokens
from nexus.outcomes.outcome import CodeOutcome

if TYPE_CHECKING:  # tree-sitter is an extra
    from tree_sitter import Node

    from nexus.outcomes.code.grammars import Grammar


class Symbol(NamedTuple):
    """A named piece of a file, from byte `start` to `end`.

    `name` is qualified by what it stands in. `signature` and `body` are tokens, without those of
    symbols within it.
    """

    name: str
    start: int
    end: int
    signature: tuple[str, ...]
    body: tuple[str, ...]


def changed_symbols(
    path: str, old_text: str | None, text: str, places: Iterable[tuple[int, int]]
) -> CodeOutcome | None:
    """How the symbols at some places (ranges of characters) of a file changed.

    A changed signature counts before a changed body, and that before a new symbol. None where no symbol there
    changed, where the language is none of those that are known, or where its grammar is not installed.
    """
    new = symbols_of(path, text)
    if not new:
        return None
    touched = _touched(new, _byte_places(text, places))
    old = symbols_of(path, old_text) if old_text is not None else ()
    kinds = {_kind(new[index], new, old or ()) for index in touched}
    for kind in (CodeOutcome.SIGNATURE_CHANGED, CodeOutcome.BODY_MODIFIED, CodeOutcome.SYMBOL_ADDED):
        if kind in kinds:
            return kind
    return None


def symbols_of(path: str, text: str) -> tuple[Symbol, ...] | None:
    """The symbols of a file in the order they begin; None where nobody can tell."""
    try:
        from nexus.outcomes.code.grammars import grammar_for, parser_for  # noqa: PLC0415 - an extra

        grammar = grammar_for(path)
        if grammar is None:
            return None
        parser = parser_for(grammar)
    except ImportError:
        return None
    source = text.encode()
    return tuple(_Reader(source, grammar).read(parser.parse(source).root_node))


def _kind(symbol: Symbol, new: Sequence[Symbol], old: Sequence[Symbol]) -> CodeOutcome | None:
    before = [each for each in old if each.name == symbol.name]
    same = [each for each in before if each.signature == symbol.signature]
    if same:
        return None if any(each.body == symbol.body for each in same) else CodeOutcome.BODY_MODIFIED
    # Names may be overloaded: one more of them is a new symbol.
    if len(before) < sum(each.name == symbol.name for each in new):
        return CodeOutcome.SYMBOL_ADDED
    return CodeOutcome.SIGNATURE_CHANGED


def _touched(symbols: Sequence[Symbol], places: Iterable[int]) -> set[int]:
    """The innermost symbols at some bytes, by their index."""
    touched = set()
    for place in places:
        around = [
            (each.end - each.start, index)
            for index, each in enumerate(symbols)
            if each.start <= place < each.end
        ]
        if around:
            touched.add(min(around)[1])
    return touched


def _byte_places(text: str, places: Iterable[tuple[int, int]]) -> list[int]:
    """The first and the last byte of each range of characters."""
    marks = sorted({mark for start, end in places for mark in (start, end - 1)})
    found, at, offset = [], 0, 0
    for mark in marks:
        offset += len(text[at:mark].encode())
        at = mark
        found.append(offset)
    return found


class _Reader:
    def __init__(self, source: bytes, grammar: "Grammar") -> None:
        self._source = source
        self._grammar = grammar

    def read(self, root: "Node") -> Iterator[Symbol]:
        """The symbols below a node; no recursion, since code may be nested deeply."""
        stack: list[tuple[Node, str]] = [(root, "")]
        while stack:
            node, prefix = stack.pop()
            name = self._name(node)
            if name:
                qualified = f"{prefix}{name}"
                yield self._symbol(node, qualified)
                prefix = f"{qualified}."
            stack.extend((child, prefix) for child in reversed(node.named_children))

    def _name(self, node: "Node") -> str | None:
        kind = node.type
        grammar = self._grammar
        if kind in grammar.values:
            value = node.child_by_field_name("value") or node.child_by_field_name("right")
            if value is None or value.type not in grammar.functions:
                return None
            fields: tuple[str, ...] = ("name", "property", "key", "left")
        elif kind not in grammar.symbols:
            return None
        elif kind == "impl_item":
            return " for ".join(filter(None, (self._field(node, field) for field in ("trait", "type"))))
        elif kind == "method_declaration" and node.child_by_field_name("receiver") is not None:
            receiver = tokens(self._field(node, "receiver"))
            return f"{''.join(receiver[2:-1])}.{self._field(node, 'name')}"
        elif node.child_by_field_name("declarator") is not None:
            return self._declared(node)
        elif kind.endswith("_specifier") and node.child_by_field_name("body") is None:
            return None  # `struct S *s` names a type and defines none
        else:
            fields = ("name",)
        return next((text for text in (self._field(node, field) for field in fields) if text), None)

    def _declared(self, node: "Node") -> str:
        """The name within the declarators of C: `p` of `int *p(void)`."""
        inner = node.child_by_field_name("declarator")
        while inner is not None:
            node = inner
            inner = node.child_by_field_name("declarator")
        return self._text(node.start_byte, node.end_byte)

    def _symbol(self, node: "Node", name: str) -> Symbol:
        body = self._body(node)
        split = node.end_byte if body is None else body
        inner = list(self._inner(node))
        return Symbol(
            name,
            node.start_byte,
            node.end_byte,
            tuple(self._own(node.start_byte, split, inner)),
            tuple(self._own(split, node.end_byte, inner)),
        )

    def _body(self, node: "Node") -> int | None:
        """Where the body begins; None where there is none."""
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        body = (value or node).child_by_field_name("body") or value
        if body is None and node.type == "type_spec":
            body = node.child_by_field_name("type")
        if body is None and node.type == "macro_definition":
            named = node.child_by_field_name("name")
            return None if named is None else named.end_byte
        return None if body is None else body.start_byte

    def _inner(self, node: "Node") -> Iterator[tuple[int, int]]:
        """The ranges of the outermost symbols within a node."""
        stack = list(reversed(node.named_children))
        while stack:
            child = stack.pop()
            if self._name(child):
                yield child.start_byte, child.end_byte
            else:
                stack.extend(reversed(child.named_children))

    def _own(self, start: int, end: int, inner: Iterable[tuple[int, int]]) -> list[str]:
        pieces, at = [], start
        for inner_start, inner_end in inner:
            if start <= inner_start < end:
                pieces.append(self._text(at, inner_start))
                at = max(at, min(inner_end, end))
        pieces.append(self._text(at, end))
        return tokens(" ".join(pieces))

    def _field(self, node: "Node", field: str) -> str:
        child = node.child_by_field_name(field)
        return "" if child is None else self._text(child.start_byte, child.end_byte)

    def _text(self, start: int, end: int) -> str:
        return self._source[start:end].decode(errors="replace")

"""Which tree-sitter grammar reads a file, and which of its nodes are symbols."""

import importlib
from functools import lru_cache
from pathlib import PurePosixPath

from msgspec import Struct
from tree_sitter import Language, Parser


class Grammar(Struct, frozen=True):
    """A grammar by its package and function, and the kinds of its nodes that name something.

    `symbols` are named by themselves, `values` only where what they hold is one of `functions`.
    """

    module: str
    function: str
    symbols: frozenset[str]
    values: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()


_PYTHON = Grammar("tree_sitter_python", "language", frozenset({"function_definition", "class_definition"}))
_JS_SYMBOLS = frozenset(
    {
        "function_declaration",
        "generator_function_declaration",
        "class_declaration",
        "method_definition",
    }
)
_JS_VALUES = frozenset(
    {"variable_declarator", "field_definition", "public_field_definition", "pair", "assignment_expression"}
)
_JS_FUNCTIONS = frozenset({"arrow_function", "function_expression", "generator_function", "class"})
_JAVASCRIPT = Grammar("tree_sitter_javascript", "language", _JS_SYMBOLS, _JS_VALUES, _JS_FUNCTIONS)
_TS_SYMBOLS = _JS_SYMBOLS | {
    "abstract_class_declaration",
    "abstract_method_signature",
    "enum_declaration",
    "function_signature",
    "interface_declaration",
    "internal_module",
    "method_signature",
    "type_alias_declaration",
}
_TYPESCRIPT = Grammar("tree_sitter_typescript", "language_typescript", _TS_SYMBOLS, _JS_VALUES, _JS_FUNCTIONS)
_TSX = Grammar("tree_sitter_typescript", "language_tsx", _TS_SYMBOLS, _JS_VALUES, _JS_FUNCTIONS)
_GO = Grammar(
    "tree_sitter_go", "language", frozenset({"function_declaration", "method_declaration", "type_spec"})
)
_RUST = Grammar(
    "tree_sitter_rust",
    "language",
    frozenset(
        {
            "enum_item",
            "function_item",
            "function_signature_item",
            "impl_item",
            "macro_definition",
            "mod_item",
            "struct_item",
            "trait_item",
            "type_item",
            "union_item",
        }
    ),
)
_JAVA = Grammar(
    "tree_sitter_java",
    "language",
    frozenset(
        {
            "annotation_type_declaration",
            "class_declaration",
            "compact_constructor_declaration",
            "constructor_declaration",
            "enum_declaration",
            "interface_declaration",
            "method_declaration",
            "record_declaration",
        }
    ),
)
_C_SYMBOLS = frozenset({"enum_specifier", "function_definition", "struct_specifier", "union_specifier"})
_C = Grammar("tree_sitter_c", "language", _C_SYMBOLS)
_CPP = Grammar(
    "tree_sitter_cpp",
    "language",
    _C_SYMBOLS | {"class_specifier", "concept_definition", "namespace_definition"},
)
_BY_SUFFIX = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), _PYTHON),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), _JAVASCRIPT),
    **dict.fromkeys((".ts", ".mts", ".cts"), _TYPESCRIPT),
    ".tsx": _TSX,
    ".go": _GO,
    ".rs": _RUST,
    ".java": _JAVA,
    ".c": _C,
    # A header is read as C++, which holds nearly all of C.
    **dict.fromkeys((".h", ".cc", ".cpp", ".cxx", ".c++", ".hh", ".hpp", ".hxx", ".ipp", ".inl"), _CPP),
}


def grammar_for(path: str) -> Grammar | None:
    """The grammar of a file, by the end of its name; None for other languages."""
    return _BY_SUFFIX.get(PurePosixPath(path).suffix.lower())


@lru_cache(maxsize=len(_BY_SUFFIX))
def parser_for(grammar: Grammar) -> Parser:
    """What parses with a grammar; ImportError where its package is not installed."""
    return Parser(Language(getattr(importlib.import_module(grammar.module), grammar.function)()))

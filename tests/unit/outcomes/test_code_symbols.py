"""Symbols of the six languages: what counts as one, and what is said of a change at a place."""

import sys

import pytest

from nexus.outcomes.code.grammars import grammar_for, parser_for
from nexus.outcomes.code.symbols import changed_symbols, symbols_of

PYTHON = """import os

class Cart:
    limit = 3

    def add(self, item):
        def check():
            return item
        self.items.append(check())

async def load(path):
    return path
"""
JAVASCRIPT = """export const load = async (path) => { return path }
const plain = 3
class Cart { add(item) { this.items.push(item) } total = () => 3; size = 4 }
module.exports.save = function (path) { return path }
function* walk(tree) { yield tree }
const shop = { open() { return 1 }, close: function () { return 2 }, name: "x" }
"""
TYPESCRIPT = """interface Shop<T> { open(at: number): void; name: string }
type Price = { value: number }
enum Kind { A, B }
abstract class Cart<T> { abstract total(): number; add(item: T): void { this.items.push(item) } }
namespace Deep { export function inner(): void {} }
declare function outer(a: string): void
"""
GO = """package cart

type Cart struct { items []Item }
type Adder interface { Add(item Item) }

func (c *Cart) Add(item Item) error { return nil }
func (s Shelf) Add(item Item) error { return nil }
func New(limit int) *Cart { return &Cart{} }
"""
RUST = """struct Cart { items: Vec<Item> }
enum Kind { A, B }
trait Shop { fn open(&self); fn close(&self) { done() } }
impl<T> Shop for Cart<T> { fn open(&self) { start() } }
impl Cart { fn add(&mut self, item: Item) -> usize { self.items.push(item); 1 } }
mod deep { pub fn inner() {} }
macro_rules! twice { ($x:expr) => { $x; $x } }
"""
JAVA = """package shop;
class Cart {
    private int limit;
    Cart(int limit) { this.limit = limit; }
    int add(Item item) { return 1; }
    int add(Item item, int count) { return count; }
    interface Adder { void add(Item item); }
    enum Kind { A, B }
    record Price(int value) { Price { check(value); } }
}
"""
C = """struct cart { int limit; };
typedef struct { int value; } price;
enum kind { A, B };
static struct cart *make(int limit) { return 0; }
int add(struct cart *cart, int item);
int add(struct cart *cart, int item) { return item; }
"""
CPP = """namespace shop {
class Cart { public: int add(int item) const { return item; } int limit; };
template <typename T> T twice(T value) { return value + value; }
}
int shop::Cart::total(int rate) { return rate; }
Price Price::operator+(const Price &other) { return other; }
"""


def names(path: str, text: str) -> list[str]:
    return [each.name for each in symbols_of(path, text) or ()]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.py", PYTHON, ["Cart", "Cart.add", "Cart.add.check", "load"]),
        (
            "a.js",
            JAVASCRIPT,
            ["load", "Cart", "Cart.add", "Cart.total", "module.exports.save", "walk", "open", "close"],
        ),
        (
            "a.ts",
            TYPESCRIPT,
            [
                "Shop",
                "Shop.open",
                "Price",
                "Kind",
                "Cart",
                "Cart.total",
                "Cart.add",
                "Deep",
                "Deep.inner",
                "outer",
            ],
        ),
        ("a.go", GO, ["Cart", "Adder", "*Cart.Add", "Shelf.Add", "New"]),
        (
            "a.rs",
            RUST,
            [
                *(
                    "Cart",
                    "Kind",
                    "Shop",
                    "Shop.open",
                    "Shop.close",
                    "Shop for Cart<T>",
                    "Shop for Cart<T>.open",
                ),
                *("Cart", "Cart.add", "deep", "deep.inner", "twice"),
            ],
        ),
        (
            "a.java",
            JAVA,
            [
                *("Cart", "Cart.Cart", "Cart.add", "Cart.add", "Cart.Adder", "Cart.Adder.add", "Cart.Kind"),
                *("Cart.Price", "Cart.Price.Price"),
            ],
        ),
        ("a.c", C, ["cart", "kind", "make", "add"]),
        (
            "a.cpp",
            CPP,
            ["shop", "shop.Cart", "shop.Cart.add", "shop.twice", "shop::Cart::total", "Price::operator+"],
        ),
    ],
)
def test_the_symbols_of_each_language(path, text, expected):
    """Functions, methods, classes and types, by qualified names."""
    assert names(path, text) == expected


@pytest.mark.parametrize(
    ("path", "text", "signature", "body"),
    [
        (
            "a.py",
            PYTHON,
            ("add(self, item)", "add(self, item, at=0)"),
            ("append(check())", "insert(check())"),
        ),
        (
            "a.jsx",
            JAVASCRIPT,
            ("(path) =>", "(path, mode) =>"),
            ("{ return path }\nconst", "{ return 0 }\nconst"),
        ),
        (
            "a.tsx",
            TYPESCRIPT,
            ("add(item: T): void", "add(item: T): number"),
            ("items.push(item)", "items.pop()"),
        ),
        ("a.mts", TYPESCRIPT, ("open(at: number)", "open(at: string)"), ("value: number", "value: string")),
        (
            "a.go",
            GO,
            ("(item Item) error { return nil }\nfunc (s", "(item Item, n int) error { return nil }\nfunc (s"),
            ("return &Cart{}", "return &Cart{limit}"),
        ),
        ("a.rs", RUST, ("item: Item) -> usize", "item: Item) -> u64"), ("self.items.push(item); 1", "2")),
        (
            "a.java",
            JAVA,
            ("Cart(int limit)", "Cart(long limit)"),
            ("this.limit = limit", "this.limit = 2 * limit"),
        ),
        ("a.c", C, ("cart *make(int limit)", "cart *make(long limit)"), ("return 0", "return NULL")),
        (
            "a.h",
            CPP,
            ("int add(int item) const", "int add(long item) const"),
            ("return rate", "return 2 * rate"),
        ),
    ],
)
def test_a_changed_signature_and_a_changed_body(path, text, signature, body):
    """Each is told at the place where it is, and nothing of the symbols around it."""
    for (old, new), verdict in ((signature, "signature_changed"), (body, "body_modified")):
        assert text.count(old) == 1, old
        changed = text.replace(old, new)
        at = changed.index(new)
        # The last token of the new text may be the brace behind it.
        assert changed_symbols(path, text, changed, [(at, at + len(new) - 1)]) == verdict, new
        assert changed_symbols(path, text, text, [(at, at + 1)]) is None


@pytest.mark.parametrize(
    ("path", "text", "old", "new"),
    [
        (
            "a.py",
            PYTHON,
            "    limit = 3\n",
            "    limit = 3\n\n    def pop(self):\n        return self.items.pop()\n",
        ),
        ("a.js", JAVASCRIPT, "size = 4", "size = 4; pop() { return this.items.pop() }"),
        ("a.ts", TYPESCRIPT, "enum Kind", "function pop(items: T[]) { return items.pop() }\nenum Kind"),
        ("a.go", GO, "func New", "func (c *Cart) Pop() Item { return c.items[0] }\nfunc New"),
        ("a.rs", RUST, "impl Cart {", "impl Cart { fn pop(&mut self) -> Item { self.items.pop() }"),
        (
            "a.java",
            JAVA,
            "    int add(Item item) {",
            "    int add(Items all) { return all.pop(); }\n    int add(Item item) {",
        ),
        ("a.c", C, "enum kind", "int pop(struct cart *cart) { return cart->limit; }\nenum kind"),
        ("a.cc", CPP, "int limit;", "int pop() { return limit; } int limit;"),
    ],
)
def test_a_new_symbol(path, text, old, new):
    """It is new, and the class that it stands in has not changed; an overload is a symbol of its own."""
    assert text.count(old) == 1
    changed = text.replace(old, new)
    place = changed.lower().index("pop(")
    assert changed_symbols(path, text, changed, [(place, place + 1)]) == "symbol_added"
    assert changed_symbols(path, None, changed, [(place, place + 1)]) == "symbol_added"


def test_of_several_symbols_the_gravest_change_counts():
    """Signature before body before new symbol."""
    now = PYTHON.replace("load(path)", "load(path, mode)").replace("return item", "return item + 1")
    now += "\ndef fresh():\n    return 1\n"
    places = [
        (now.index(word), now.index(word) + 1) for word in ("return 1", "return item + 1", "return path")
    ]
    assert changed_symbols("a.py", PYTHON, now, places[:1]) == "symbol_added"
    assert changed_symbols("a.py", PYTHON, now, places[:2]) == "body_modified"
    assert changed_symbols("a.py", PYTHON, now, places) == "signature_changed"


def test_code_outside_of_symbols_says_nothing():
    """Imports, settings at the top of a module."""
    assert changed_symbols("a.py", PYTHON, PYTHON.replace("import os", "import sys"), [(0, 9)]) is None


def test_layout_and_moving_change_no_symbol():
    """Neither is a change of signature or body."""
    moved = "async def load( path ):\n\n    return path\n" + PYTHON.partition("async def")[0]
    assert changed_symbols("a.py", PYTHON, moved, [(0, len(moved))]) is None


def test_places_are_characters_also_behind_wide_ones():
    """tree-sitter counts bytes."""
    wide = "# ééé日本語\n" * 50
    text = wide + PYTHON
    now = text.replace("load(path)", "load(path, mode)")
    at = now.index("mode")
    assert changed_symbols("a.py", text, now, [(at, at + 4)]) == "signature_changed"


@pytest.mark.parametrize("path", ["a.txt", "Makefile", "a.rb", "a"])
def test_other_languages_say_nothing(path):
    assert symbols_of(path, PYTHON) is None
    assert changed_symbols(path, PYTHON, PYTHON + "x = 1\n", [(0, 5)]) is None


def test_without_the_grammars_nothing_is_said(monkeypatch):
    """They are an extra."""
    parser_for.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_python", None)
    assert symbols_of("a.py", PYTHON) is None
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    monkeypatch.delitem(sys.modules, "nexus.outcomes.code.grammars")
    assert symbols_of("a.py", PYTHON) is None


def test_broken_and_deep_code_is_read_as_far_as_it_goes():
    """A parser that finds errors still finds symbols; depth is no danger."""
    assert names("a.py", "def whole():\n    pass\n\ndef broken(:\n")[:1] == ["whole"]
    assert names("a.js", "[" * 5000 + "function () {}") == []
    assert names("a.py", "") == []


def test_a_suffix_decides_and_a_parser_is_made_once():
    grammar = grammar_for("SRC/A.PY")
    assert grammar is not None
    assert parser_for(grammar) is parser_for(grammar)

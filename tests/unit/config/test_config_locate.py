"""Line numbers of keys, on every form TOML has."""

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nexus.config.locate import locate
from nexus.config.values import to_toml

TEXT = '''\
# "quoted" [not.a.header]
title = "a # b"          # comment
[server]
port = 1_000
"host" = 'x # y'
[routing]
aliases = { "a.b" = "c", d = "e" }
fallbacks = {x = [
  "y", # ] not the end

  "z",
]}
[a.b]
multi = """
[not.a.header]
key = "\\"\\"\\" "
"""
raw = \'\'\'
x = \'1\'\'\'\'\'
dotted.key . here = [[1, 2], [
3]]
[[backends]]
name = "one"
[backends.headers]
X = "1"
[[backends]]
when = 1979-05-27 07:32:00Z
headers."Y-Z" = "2"
inline = [{ p = 1 }, { p = 2,
q = 3 }]
empty = {}
"sp ace" = []
'''

EXPECTED = {
    ("title",): 2,
    ("server",): 3,
    ("server", "port"): 4,
    ("server", "host"): 5,
    ("routing",): 6,
    ("routing", "aliases"): 7,
    ("routing", "aliases", "a.b"): 7,
    ("routing", "aliases", "d"): 7,
    ("routing", "fallbacks"): 8,
    ("routing", "fallbacks", "x"): 8,
    ("routing", "fallbacks", "x", 0): 9,
    ("routing", "fallbacks", "x", 1): 11,
    ("a",): 13,
    ("a", "b"): 13,
    ("a", "b", "multi"): 14,
    ("a", "b", "raw"): 18,
    ("a", "b", "dotted"): 20,
    ("a", "b", "dotted", "key"): 20,
    ("a", "b", "dotted", "key", "here"): 20,
    ("a", "b", "dotted", "key", "here", 0): 20,
    ("a", "b", "dotted", "key", "here", 0, 0): 20,
    ("a", "b", "dotted", "key", "here", 0, 1): 20,
    ("a", "b", "dotted", "key", "here", 1): 20,
    ("a", "b", "dotted", "key", "here", 1, 0): 21,
    ("backends",): 22,
    ("backends", 0): 22,
    ("backends", 0, "name"): 23,
    ("backends", 0, "headers"): 24,
    ("backends", 0, "headers", "X"): 25,
    ("backends", 1): 26,
    ("backends", 1, "when"): 27,
    ("backends", 1, "headers"): 28,
    ("backends", 1, "headers", "Y-Z"): 28,
    ("backends", 1, "inline"): 29,
    ("backends", 1, "inline", 0): 29,
    ("backends", 1, "inline", 0, "p"): 29,
    ("backends", 1, "inline", 1): 29,
    ("backends", 1, "inline", 1, "p"): 29,
    ("backends", 1, "inline", 1, "q"): 30,
    ("backends", 1, "empty"): 31,
    ("backends", 1, "sp ace"): 32,
}


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def test_every_key_and_element_has_its_line():
    text = TEXT.replace(" 07:32:00Z", "T07:32:00Z").replace("{ p = 2,\nq = 3 }", "{ p = 2, q = [\n3] }")
    expected = dict(EXPECTED)
    expected["backends", 1, "inline", 1, "q"] = 29
    expected["backends", 1, "inline", 1, "q", 0] = 30
    assert set(paths(tomllib.loads(text))) == set(expected)
    assert locate(text) == expected


def test_an_inline_table_may_span_lines_as_later_toml_allows():
    assert locate(TEXT) == EXPECTED


scalars = st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=6), st.floats(-2, 2))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=6))
def test_what_the_parser_finds_the_locator_finds_on_the_line_it_was_written(tables: dict[str, Any]):
    lines = [f"{to_toml(key)} = {to_toml(value)}" for key, value in tables.items()]
    text = "\n".join(lines)
    assert tomllib.loads(text) == tables
    found = locate(text)
    assert set(found) == set(paths(tables))
    for number, key in enumerate(tables, start=1):
        assert all(line == number for path, line in found.items() if path[0] == key)

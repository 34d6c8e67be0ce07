"""The scanner that changes one value in a JSON body and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.dialects.rewrite import replace_model

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=12,
)
_KEYS = st.text(max_size=6) | st.sampled_from(["model", "messages", 'mo"del', "model\\"])
_SPACES = st.text(alphabet=" \t\r\n", max_size=2)


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """JSON objects with random white space, escapes, duplicate keys and nested `model` keys."""
    pairs = draw(st.lists(st.tuples(_KEYS, _VALUES), max_size=4))
    pairs.insert(draw(st.integers(0, len(pairs))), ("model", draw(_VALUES)))
    members = []
    for key, value in pairs:
        name = json.dumps(key, ensure_ascii=draw(st.booleans()))
        if draw(st.booleans()):
            name = '"' + "".join(f"\\u{unit:04x}" for unit in _utf16(key)) + '"'
        rendered = json.dumps(
            value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
        )
        a, b, c, d = draw(st.tuples(_SPACES, _SPACES, _SPACES, _SPACES))
        members.append(f"{a}{name}{b}:{c}{rendered}{d}")
    before, after = draw(_SPACES), draw(_SPACES)
    return (before + "{" + ",".join(members) + "}" + after).encode("utf-8", "surrogatepass")


def _utf16(text: str) -> list[int]:
    raw = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


@given(body=_bodies(), model=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12))
def test_only_the_top_level_model_changes(body: bytes, model: str) -> None:
    """For any JSON object, decoding the result gives the same pairs with the last `model` replaced."""
    expected = json.loads(body, object_pairs_hook=list)
    last = max(index for index, (key, _) in enumerate(expected) if key == "model")
    expected[last] = ("model", model)

    assert json.loads(replace_model(body, model), object_pairs_hook=list) == expected


@given(body=_bodies())
def test_every_other_byte_stays(body: bytes) -> None:
    """The bytes before and after the value are those of the original."""
    marker = "\N{SNOWMAN} unlikely \N{SNOWMAN}"
    head, found, tail = replace_model(body, marker).partition(json.dumps(marker, ensure_ascii=False).encode())

    assert found
    assert body.startswith(head)
    assert body.endswith(tail)


def test_a_nested_model_key_is_left_alone() -> None:
    """Only the key of the outermost object counts."""
    body = b'{"a":{"model":"x"},"l":[{"model":"y"}],"model" : "z" ,"t":"\\"model\\":\\"w\\""}'

    assert replace_model(body, "new") == body.replace(b'"z"', b'"new"')


def test_the_last_of_duplicate_keys_is_changed() -> None:
    """Parsers keep the last one, so that is the one that names the model."""
    assert replace_model(b'{"model":"a","model":"b"}', "c") == b'{"model":"a","model":"c"}'


def test_an_escaped_key_is_still_the_key() -> None:
    """JSON lets any letter of a key be written as an escape."""
    assert replace_model(b'{"mod\\u0065l":"a"}', "c") == b'{"mod\\u0065l":"c"}'


def test_a_long_string_with_escapes_is_skipped_whole() -> None:
    """Quotes and backslashes inside an image or a prompt end nothing early."""
    text = json.dumps({"messages": ['\\"' * 10_000 + "\\", "}" * 100], "model": "a"}).encode()

    assert json.loads(replace_model(text, "b"))["model"] == "b"


def test_deep_nesting_needs_no_recursion() -> None:
    """A body nested a hundred thousand deep is scanned like any other."""
    body = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":"m"}'

    assert replace_model(body, "n").endswith(b',"model":"n"}')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no { at byte 0"),
        (b"[]", "no { at byte 0"),
        (b"{}", "no top-level `model` key"),
        (b'{"a":1}', "no top-level `model` key"),
        (b'{"model"', "no : at byte 8"),
        (b'{"model":', "ends at byte 9"),
        (b'{"model":,"a":1}', "no value at byte 9"),
        (b'{"model":"a', "starts at byte 9 has no end"),
        (b'{"model":"a\\"', "starts at byte 9 has no end"),
        (b'{"model":{"a":[}', "starts at byte 9 has no end"),
        (b'{"model":"a"', "no , at byte 12"),
        (b'{"model":"a",}', 'no " at byte 13'),
        (b"{model:1}", 'no " at byte 1'),
    ],
)
def test_a_broken_body_is_refused_with_the_place(body: bytes, message: str) -> None:
    """Nothing is guessed about a body that is no JSON object with a model."""
    with pytest.raises(ValueError) as caught:
        replace_model(body, "m")
    assert message in str(caught.value)

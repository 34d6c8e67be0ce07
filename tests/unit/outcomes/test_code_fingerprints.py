"""Fingerprints of code: what they keep, what they tell apart, and the code blocks of answers."""

import random
import re

import pytest

from nexus.outcomes import fingerprint
from nexus.outcomes.code.blocks import MAX_BLOCKS, code_blocks
from nexus.outcomes.code.matching import Matcher, Suggestion
from nexus.outcomes.code.suggestions import suggestions_in
from nexus.outcomes.code.tokens import tokens
from nexus.outcomes.code.winnow import GRAM, MAX_TOKENS, WINDOW, GramHasher, pack, unpack, winnow

KEY = b"0123456789abcdef"
CODE = """def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
"""


LONG = "\n".join(f"value_{number} = call_{number % 7}(value_{number // 2}, {number})" for number in range(90))


def whole(suggested: str, text: str) -> bool:
    matcher = Matcher(KEY, [Suggestion("t", 0, 0.0, fingerprint(suggested, key=KEY))])
    return any(found.whole for found in matcher.compare(text, frozenset()).found)


def blocks(answer: str) -> list[str]:
    return [block.text for block in code_blocks(answer)]


def test_no_change_of_a_token_goes_unseen():
    """Each token left out, replaced or followed by another one: the code is not verbatim any more."""
    words = tokens(CODE)
    for at in range(len(words)):
        assert not whole(CODE, " ".join([*words[:at], *words[at + 1 :]])), at
        assert not whole(CODE, " ".join([*words[:at], "another", *words[at + 1 :]])), at
        if at:
            assert not whole(CODE, " ".join([*words[:at], "another", *words[at:]])), at
    assert whole(CODE, "before it\n" + " ".join(words) + "\nafter it")


@pytest.mark.parametrize("seed", range(5))
def test_no_change_of_a_token_in_sampled_code_goes_unseen(seed):
    """Of long code only a part of the hashes is kept."""
    words = tokens(LONG)
    assert len(fingerprint(LONG).hashes) / 8 < len(words) / 2
    assert whole(LONG, LONG)
    for at in random.Random(seed).sample(range(1, len(words)), 8):
        assert not whole(LONG, " ".join([*words[:at], *words[at + 1 :]])), at
        assert not whole(LONG, " ".join([*words[:at], "another", *words[at + 1 :]])), at
        assert not whole(LONG, " ".join([*words[:at], "another", *words[at:]])), at


def test_pieces_in_another_order_are_not_verbatim():
    """All of it is there, though not in one piece."""
    first, second = CODE[:90], CODE[90:]
    assert not whole(CODE, f"{second}\n{first}")
    assert not whole(CODE, f"{first}\nx = 1\n{second}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f('a', 'b')", 'f( "a","b" )'),
        ("f(1,\n  2,\n)", "f(1, 2)"),
        ("let a = [1, 2,];", "let a = [1, 2]"),
        ("if (a) {\n\treturn b;\n}", "if (a) { return b }"),
    ],
)
def test_layout_quotes_semicolons_and_trailing_commas_do_not_count(one, other):
    assert tokens(one) == tokens(other)


def test_other_things_count():
    """Case, commas between values, operators."""
    assert len({tuple(tokens(text)) for text in ("a + b", "A + b", "a - b", "a, b", "a b", "ab")}) == 6


def test_every_shared_run_of_eight_tokens_is_found():
    """The guarantee of winnowing, on random token sequences with a shared run."""
    rng = random.Random(7)
    for _ in range(200):
        run = [str(rng.randrange(50)) for _ in range(GRAM + WINDOW - 1)]
        sides = [[f"{side}{rng.randrange(99)}" for _ in range(rng.randrange(30))] for side in "abcd"]
        hasher = GramHasher(KEY)
        one = winnow(hasher.grams([*sides[0], *run, *sides[1]]))
        other = hasher.grams([*sides[2], *run, *sides[3]])
        assert one & set(other)


def test_a_fingerprint_holds_no_word_and_needs_its_key():
    """Two keys have nothing in common; one key makes the same of the same code."""
    one, same, other = (fingerprint(CODE, "Python", key=key) for key in (KEY, KEY, b"another key"))
    assert one == same
    assert one.language == "python"
    assert not unpack(one.hashes) & unpack(other.hashes)
    assert one.tokens == len(tokens(CODE))
    assert not re.search(rb"median|ordered|middle|sorted|values", one.hashes)
    assert fingerprint(CODE).key == fingerprint("x").key


def test_short_and_long_code():
    """Under eight tokens there is nothing to recognise; what is very long is cut."""
    assert fingerprint("import os").hashes == b""
    assert fingerprint("").tokens == 0
    assert unpack(fingerprint("a b c d e f g h").hashes)
    assert fingerprint("a " * (MAX_TOKENS + 9)).tokens == MAX_TOKENS


def test_hashes_are_packed_in_order_and_torn_ones_refused():
    assert unpack(pack([3, 1, 2**61])) == {1, 3, 2**61}
    assert pack([3, 1]) == pack([1, 3])
    with pytest.raises(ValueError, match="8 bytes"):
        unpack(b"123")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("no code, only `a span`", []),
        ("```python\na = 1\n```", ["a = 1"]),
        ("~~~\na\n~~~\ntext\n```js\nb\n```", ["a", "b"]),
        ("```python\ncut off", ["cut off"]),
        ("```python", []),
        ("````md\n```python\na\n```\n````", []),
        ("````\n```python\na\n```\n````", ["```python\na\n```"]),
        ("1. do\n   ```py\n   if a:\n       b\n   ```", ["if a:\n    b"]),
        ("```inline``` and ```py\na\n```", []),
        ("```bash\npip install x\n```", []),
        ("```bash\n#!/bin/bash\nls\n```", ["#!/bin/bash\nls"]),
        ("```text\nhello\n```", []),
        ("```console\n$ ls\n```", []),
        ("```{.python}\na\n```", ["a"]),
        ("[PYTHON]\na\n[/PYTHON]\n[TESTS]\nb\n[/TESTS]", ["a"]),
    ],
)
def test_the_code_blocks_of_an_answer(answer, found):
    """Fences of either kind, nested, indented, unclosed; commands, output and text are no suggestions."""
    assert blocks(answer) == found


@pytest.mark.parametrize(
    ("answer", "is_code"),
    [
        (CODE, True),
        ("import os\n\nclass A:\n    x: int = 3\n\n    def f(self) -> int:\n        return self.x\n", True),
        ("func Add(a int, b int) int {\n\treturn a + b\n}\n", True),
        ('#include <stdio.h>\nint main(void) {\n    puts("hi");\n}', True),
        ("const f = async (a) => {\n  await g(a)\n  return a\n}", True),
        ("pub fn add(a: i32) -> i32 {\n    a + 1\n}\nlet b = 2;", True),
        ("Use sorted() with a key.\nIt returns a new list.\nThe old one stays.", False),
        ("To sort a list:\n\n1. Take the list.\n2. Call sort().\n3. Done.", False),
        ("x = 1", False),
        ("", False),
        ("\n\n", False),
        ("Dear Sir (or Madam),\n\nthank you for the letter; it was a pleasure.\nYours", False),
    ],
)
def test_an_answer_without_a_fence_is_code_if_it_is_nothing_else(answer, is_code):
    """Some models are told to give code only."""
    assert blocks(answer) == ([answer] if is_code else [])


def test_of_a_diff_each_hunk_is_a_suggestion_its_new_side():
    """Removed lines and headers are left out, context stays."""
    diff = (
        "diff --git a/a.py b/a.py\nindex 1..2 100644\n--- a/a.py\n+++ b/a.py\n"
        "@@ -1,2 +1,2 @@\n keep\n-old\n+new\n@@ -9 +9 @@\n-x\n+y\n\\ No newline at end of file\n"
    )
    assert blocks(f"```diff\n{diff}```") == ["keep\nnew", "y"]
    assert blocks("```diff\n-gone\n```") == []


def test_the_number_of_blocks_is_bounded():
    assert len(blocks("```\na\n```\n" * 100)) == MAX_BLOCKS


def test_suggestions_are_the_blocks_of_some_length():
    """One fingerprint for each, in order, with the language that the answer names."""
    answer = f"Try this:\n```python\n{CODE}```\nand\n```\nx\n```\nor\n```js\n{CODE}x\n```"
    assert [each.language for each in suggestions_in(answer, key=KEY)] == ["python", "js"]
    assert suggestions_in("no code") == ()


def test_what_was_said_before_is_no_suggestion():
    """An answer that quotes the question's code suggests nothing; one that changes it suggests the change."""
    answer = f"```python\n{CODE}```"
    question = f"What is wrong here?\n{CODE}"
    assert suggestions_in(answer, [question, "Well?"], key=KEY) == ()
    assert len(suggestions_in(answer, ["Well?"], key=KEY)) == 1
    changed = f"```python\n{CODE.replace('sorted(values)', 'sorted(filter(None, values))')}```"
    [suggestion] = suggestions_in(changed, [question], key=KEY)
    assert 0 < len(suggestion.known) < len(suggestion.hashes)
    assert unpack(suggestion.known) < unpack(suggestion.hashes)


def test_the_newest_of_a_long_conversation_is_looked_at():
    """What lies far back is not."""
    answer = f"```python\n{CODE}```"
    assert suggestions_in(answer, ["x = 1\n" * 50_000, CODE], key=KEY) == ()
    assert len(suggestions_in(answer, [CODE, "x = 1\n" * 50_000], key=KEY)) == 1

"""What routing reads of a body: the model, and what the answer takes."""

import json
from typing import Any

import pytest

from nexus.core.request import Surface
from nexus.server.body import BodyError, read_body

CHAT, COMPLETION, EMBEDDING = Surface.CHAT, Surface.COMPLETION, Surface.EMBEDDING


def tokens(surface: Surface, **fields: Any) -> int:
    """The estimate for a body with these fields."""
    return read_body(surface, json.dumps({"model": "m", **fields}).encode()).needs.input_tokens


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("x" * 40, 11),
        (["x" * 40, "y" * 8], 14),
        ([1, 2, 3], 3),
        ([[1, 2, 3], [4]], 4),
        ([None, {}], 0),
        (None, 0),
    ],
)
def test_a_prompt_is_text_or_tokens_or_several_of_either(prompt: Any, count: int):
    assert tokens(COMPLETION, prompt=prompt) == count


@pytest.mark.parametrize(
    ("given", "count"),
    [("x" * 40, 11), (["x" * 40, "y" * 80], 21), ([1, 2, 3], 3), ([[1, 2], [3]], 2), ([], 0)],
)
def test_of_several_inputs_the_longest_counts(given: Any, count: int):
    """Each is embedded on its own."""
    assert tokens(EMBEDDING, input=given) == count


def test_the_text_parts_of_messages_count_and_an_image_asks_for_eyes():
    parts = [{"type": "text", "text": "x" * 40}, {"type": "image_url", "image_url": {"url": "u"}}, "?"]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}, {"content": "y" * 8}]}
    needs = read_body(CHAT, json.dumps(body).encode()).needs
    assert (needs.input_tokens, needs.vision) == (10 + 2 + 2 * 4, True)


@pytest.mark.parametrize("field", ["prompt", "input"])
@pytest.mark.parametrize("depth", [100, 900, 5_000, 200_000])
def test_no_depth_of_a_list_is_too_much(field: str, depth: int):
    """Either it is refused or what is in it does not count; the process goes on."""
    body = b'{"model": "m", "%s": %s%s}' % (field.encode(), b"[" * depth, b"]" * depth)
    try:
        needs = read_body(COMPLETION if field == "prompt" else EMBEDDING, body).needs
    except BodyError as error:
        assert error.message == "The body is nested too deeply."  # noqa: PT017 - it may, but need not
    else:
        assert needs.input_tokens == 1

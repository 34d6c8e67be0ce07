"""Keys of the beginnings of a prompt."""

import json

import pytest

from nexus.core.request import Surface
from nexus.server.hints import Hints
from nexus.server.inference import make_request
from nexus.server.prefixes import prefix_keys


def chat(system: str, question: str, **more: object) -> bytes:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return json.dumps({"model": "m", **more, "messages": messages}).encode()


def test_prompts_that_begin_alike_share_the_keys_of_what_they_share() -> None:
    """Whatever stands before the messages makes no difference."""
    one = prefix_keys(chat("s" * 3000, "What is it?" * 300))
    other = prefix_keys(chat("s" * 3000, "Who was it?" * 300, temperature=0.5))
    assert len(one) == len(other) == 3
    assert one[:2] == other[:2]
    assert one[2] != other[2]


@pytest.mark.parametrize(("size", "count"), [(100, 0), (1100, 1), (5000, 3), (40_000, 6), (400_000, 6)])
def test_there_are_as_many_as_the_prompt_is_long(size: int, count: int) -> None:
    assert len(prefix_keys(json.dumps({"model": "m", "prompt": "x" * size}).encode())) == count


def test_a_body_without_the_usual_fields_is_taken_from_its_start() -> None:
    assert len(prefix_keys(b"x" * 1024)) == 1


@pytest.mark.parametrize("hints", [Hints(), Hints(has_own=True, session="s")])
def test_requests_carry_them(hints: Hints) -> None:
    body = chat("s" * 3000, "?")
    request = make_request(Surface.CHAT, hints, body, trace_id="t", received_at=0.0, client="c")
    assert request.prefixes == prefix_keys(body)
    assert request.client == "c"

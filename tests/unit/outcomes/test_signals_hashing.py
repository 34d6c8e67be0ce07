"""Answers and conversations are known again by keyed hashes."""

import pytest

from nexus.outcomes.signals.hashing import (
    SKETCH_WORDS,
    AnswerHasher,
    hash_answer,
    hash_conversation,
    hashes_of,
    new_key,
    sketch,
)
from nexus.outcomes.signals.messages import (
    MAX_CHARS,
    MAX_MESSAGES,
    ChatMessage,
    ToolCall,
    ToolFunction,
    decode_messages,
)

KEY = b"k" * 32


def digest(*pieces: str, key: bytes = KEY) -> bytes:
    hasher = AnswerHasher(key)
    for piece in pieces:
        hasher.add(piece)
    return hasher.digest()


def user(text: str) -> ChatMessage:
    return ChatMessage("user", text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage("assistant", text)


def test_pieces_do_not_matter():
    """The same answer in other pieces has the same hash."""
    assert digest("def f():\n  return 1\n") == digest("def", " f()", ":\n ", "", " return", " 1\n")


def test_white_space_does_not_matter_and_text_does():
    """Clients trim answers; another word is another answer."""
    assert digest("  a\n b ") == digest("ab")
    assert digest("ab") != digest("ac")


def test_another_key_is_another_hash():
    """Nothing can be matched without the process's key, and each process has its own."""
    assert digest("hello") != digest("hello", key=b"x" * 32)
    assert new_key() != new_key()


@pytest.mark.parametrize(
    "pieces",
    [
        ("<think>so, what</think>the answer",),
        ("<thi", "nk>so, ", "what</thi", "nk>the ", "answer"),
        (" \n<think>", "</think>", "the answer"),
        tuple("<think>long " + "thought " * 20 + "</think> the answer"),
    ],
)
def test_thinking_aloud_does_not_count(pieces):
    """A leading think block is left out, because clients strip it from the history."""
    assert digest(*pieces) == digest("the answer")


@pytest.mark.parametrize("text", ["<", "<th", "<thing>", "a<think>b</think>"])
def test_what_only_looks_like_thinking_counts(text):
    """Only a whole opening tag at the very beginning starts a think block."""
    assert digest(text) == digest(*text)
    assert digest(text) != digest("")


def test_an_answer_that_only_thinks_or_says_nothing_has_no_hash():
    """There is nothing to know it by."""
    assert digest() == b""
    assert digest(" \n") == b""
    assert digest("<think>never closed") == b""


def test_length_counts_what_was_hashed():
    """White space and thoughts are not part of it."""
    hasher = AnswerHasher(KEY)
    hasher.add("<think>hm</think> a b")
    hasher.add("<")
    assert hasher.length == 3


def test_tool_calls_are_part_of_an_answer():
    """An answer without content is known by its tool calls."""
    call = ToolCall("call_1", ToolFunction("search"))
    hasher = AnswerHasher(KEY)
    hasher.add("<t")
    hasher.add_tool_call("call_1", "search")
    found, length = hash_answer(KEY, ChatMessage("assistant", "<t", [call]))
    assert found == hasher.digest()
    assert length == 2
    other = ChatMessage("assistant", "<t", [ToolCall("call_2", ToolFunction("search"))])
    assert hash_answer(KEY, other)[0] != found
    assert hash_answer(KEY, ChatMessage("assistant", None, [call]))[0] != b""


def test_tool_calls_may_lack_what_they_should_have():
    """Servers leave out ids and names, or send null; the rest of the request is read all the same."""
    body = b'{"messages":[{"role":"assistant","tool_calls":[{"id":null,"function":null},{"function":{}}]}]}'
    (message,) = decode_messages(body)
    hasher = AnswerHasher(KEY)
    hasher.add_tool_call("", "")
    hasher.add_tool_call("", "")
    assert hash_answer(KEY, message) == (hasher.digest(), 0)


def test_surrogates_are_hashed():
    """Text that is not well-formed Unicode is no reason to stop."""
    assert digest("\ud83d") != digest("x")


def test_a_conversation_knows_its_parts():
    """The hash before an answer is that of the request it answered."""
    first = hash_conversation(KEY, [user("q")])
    second = hash_conversation(KEY, [user("q"), assistant("a"), user("r")])
    assert first is not None
    assert second is not None
    assert second.before_answer == first.whole
    assert (first.turns, second.turns) == (0, 1)
    assert first.before_answer is None
    edited = hash_conversation(KEY, [user("q"), assistant("a"), user("s")])
    assert edited is not None
    assert edited.before_question == second.before_question
    assert edited.whole != second.whole


def test_where_messages_end_is_part_of_the_hash():
    """Moving text from one message to the next makes another conversation."""
    one = hash_conversation(KEY, [user("ab"), user("c")])
    other = hash_conversation(KEY, [user("a"), user("bc")])
    assert one is not None
    assert other is not None
    assert one.whole != other.whole


def test_a_conversation_that_is_too_long_is_not_read():
    """The work is bounded in messages and in characters."""
    assert hash_conversation(KEY, []) is None
    assert hash_conversation(KEY, [user("x")] * (MAX_MESSAGES + 1)) is None
    assert hash_conversation(KEY, [user("x" * MAX_CHARS), user("x")]) is None


def test_only_later_turns_have_a_sketch():
    """A first question cannot be told from somebody else's."""
    first = hash_conversation(KEY, [user("how do I sort")])
    later = hash_conversation(KEY, [user("q"), assistant("a"), user("how do I sort")])
    assert first is not None
    assert later is not None
    assert first.question == b""
    assert later.question == sketch(KEY, "How do I sort?")


def test_sketches_are_of_the_words_that_tell():
    """Case, order, endings and stop words do not matter; the number of hashes is bounded."""
    assert sketch(KEY, "sort a list of numbers") == sketch(KEY, "Numbers: a list to SORT")
    assert not hashes_of(sketch(KEY, "sort a list")) & hashes_of(sketch(KEY, "drop columns"))
    assert sketch(KEY, "sort") != sketch(b"x" * 32, "sort")
    assert len(hashes_of(sketch(KEY, " ".join(f"{n}word" for n in range(100, 180))))) == SKETCH_WORDS


def test_text_is_found_in_parts():
    """Content may be text, a list of typed parts, or missing."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, "odd", {"type": "text", "text": "b"}]
    assert ChatMessage("user", parts).text() == "a\nb"
    assert ChatMessage("user", None).text() == ""
    assert ChatMessage("user", 3).text() == ""


def test_bodies_are_decoded():
    """What is no chat request has no messages."""
    body = b'{"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c",'
    body += b'"type":"function","function":{"name":"f","arguments":"{}"}}]},'
    body += b'{"role":"tool","tool_call_id":"c","content":"ok"}]}'
    first, second = decode_messages(body)
    assert first.tool_calls == [ToolCall("c", ToolFunction("f"))]
    assert second.text() == "ok"
    for other in (
        b"",
        b"[]",
        b'{"messages":3}',
        b'{"model":"m"}',
        b"[" * 100_000,
        b'{"messages":[{"role":"\xff"}]}',
    ):
        assert decode_messages(other) == []

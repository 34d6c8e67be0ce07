"""The good answers of the scripted upstream have the form that OpenAI's clients parse."""

import base64
import json
import struct
from typing import Any

import pytest

from nexus.testing.answers import DONE, Answer, model_lists
from nexus.testing.wire import Behaviour, Body, Framing, Head, Pause, ReceivedRequest, on_the_wire


def asked(path: str = "/v1/chat/completions", **body: Any) -> ReceivedRequest:
    return ReceivedRequest("POST", path, "", {}, json.dumps({"model": "m", **body}).encode(), 1)


def body_of(behaviour: Behaviour, request: ReceivedRequest) -> bytes:
    return b"".join(step.data for step in behaviour.steps(request) if isinstance(step, Body))


def events_of(behaviour: Behaviour, request: ReceivedRequest) -> list[dict[str, Any]]:
    lines = body_of(behaviour, request).split(b"\n\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def test_chat_answer_has_the_text_and_its_length():
    """A whole chat answer announces its length and carries message, finish reason and usage."""
    head, body, _ = Answer(text="Hello there").steps(asked())
    assert isinstance(head, Head)
    assert isinstance(body, Body)
    assert head.length == len(body.data)
    answer = json.loads(body.data)
    assert answer["model"] == "m"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hello there"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def test_stream_has_one_event_per_word_and_ends_with_done():
    """A streamed chat is a role event, the words, a finish reason and [DONE], in chunked framing."""
    request = asked(stream=True)
    head = Answer().steps(request)[0]
    assert isinstance(head, Head)
    assert head.framing is Framing.CHUNKED
    events = events_of(Answer(tokens=3), request)
    assert [event["choices"][0]["delta"].get("content") for event in events] == [
        "",
        "word0 ",
        "word1 ",
        "word2 ",
        None,
    ]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert body_of(Answer(), request).endswith(DONE)


@pytest.mark.parametrize(
    ("usage", "include", "sent"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_stream_usage_is_sent_when_asked_for_or_forced(usage, include, sent):
    """Without a setting of its own the answer obeys `stream_options.include_usage`."""
    request = asked(stream=True, stream_options={"include_usage": include})
    assert any("usage" in event for event in events_of(Answer(usage=usage), request)) is sent


def test_usage_of_a_whole_answer_can_be_left_out():
    """`usage=False` is a server that counts nothing."""
    assert "usage" not in json.loads(body_of(Answer(usage=False), asked()))


def test_delays_stand_before_the_first_and_between_later_words():
    """The pauses of a stream are those asked for; a whole answer waits for their sum."""
    slow = Answer(tokens=3, first_token_delay=2.0, token_delay=0.5)
    pauses = [step.seconds for step in slow.steps(asked(stream=True)) if isinstance(step, Pause)]
    assert pauses == [2.0, 0.5, 0.5]
    assert slow.steps(asked())[0] == Pause(3.0)


@pytest.mark.parametrize("stream", [True, False])
def test_legacy_completion_carries_text(stream):
    """The old endpoint has `text` where chat has messages."""
    request = asked("/v1/completions", stream=stream)
    if stream:
        parts = [event["choices"][0]["text"] for event in events_of(Answer(tokens=2), request)]
        assert parts == ["word0 ", "word1 ", ""]
    else:
        answer = json.loads(body_of(Answer(tokens=2), request))
        assert answer["choices"][0]["text"] == "word0 word1 "
        assert answer["object"] == "text_completion"


@pytest.mark.parametrize("stream", [True, False])
def test_tool_call_names_the_first_tool(stream):
    """With `tool_call` the answer calls the tool that was offered, and says so in the finish reason."""
    request = asked(stream=stream, tools=[{"type": "function", "function": {"name": "weather"}}])
    if stream:
        events = events_of(Answer(tool_call=True), request)
        assert events[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "weather"
        assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    else:
        choice = json.loads(body_of(Answer(tool_call=True), request))["choices"][0]
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
        assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2], [3]], 3)]
)
def test_embeddings_count_their_inputs(given, count):
    """A string and a list of tokens are one input, a list of either is many."""
    answer = json.loads(body_of(Answer(), asked("/v1/embeddings", input=given)))
    assert [row["index"] for row in answer["data"]] == list(range(count))


def test_base64_embedding_is_the_same_vector():
    """`encoding_format` base64 is little-endian 32-bit floats."""
    plain = json.loads(body_of(Answer(), asked("/v1/embeddings", input="abc")))["data"][0]["embedding"]
    packed = json.loads(body_of(Answer(), asked("/v1/embeddings", input="abc", encoding_format="base64")))
    assert struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"])) == pytest.approx(plain)


def test_own_headers_and_close_are_sent():
    """Headers are added to the answer's own; `close` announces the end of the connection."""
    head = Answer(headers=(("X-Mine", "1"),), close=True).steps(asked())[0]
    assert isinstance(head, Head)
    assert ("X-Mine", "1") in head.headers
    assert ("Connection", "close") in head.headers


@pytest.mark.parametrize(
    ("path", "key"),
    [("/v1/models", "data"), ("/api/tags", "models"), ("/health", "status"), ("/api/version", "version")],
)
def test_a_healthy_server_knows_its_own_paths(path, key):
    """Each kind of server's health and model paths are answered in that server's form."""
    told = model_lists(path, ("m", "n"))
    assert told is not None
    assert key in told


def test_an_unknown_path_is_not_answered():
    """Other paths are left to the caller to refuse."""
    assert model_lists("/nowhere", ("m",)) is None


def test_heads_may_set_their_own_framing_headers():
    """A behaviour can lie about length and encoding: what it says replaces what the framing would add."""
    raw = on_the_wire([Head(headers=(("Content-Length", "999"),), length=3), Body(b"abc")])
    assert b"Content-Length: 999" in raw[0].data  # type: ignore[union-attr]
    assert b"Content-Length: 3" not in raw[0].data  # type: ignore[union-attr]


def test_a_request_that_is_no_json_reads_as_empty():
    """Scripted servers never fail on what a client sends."""
    request = ReceivedRequest("POST", "/", "", {}, b"\xff{", 1)
    assert request.json == {}
    assert request.model == ""
    assert request.stream is False

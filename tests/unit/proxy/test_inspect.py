"""Judging whole answers."""

import pytest

from nexus.core.outcome import FailureKind
from nexus.core.request import Surface
from nexus.proxy.inspect import inspect_answer, upstream_error_text

GOOD = (
    b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":2}}'
)


def test_a_usual_answer_is_good_and_its_usage_is_read():
    """Content, a finish reason and usage."""
    finding = inspect_answer(Surface.CHAT, GOOD)
    assert finding.kind is None
    assert finding.usage is not None
    assert finding.usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>oops</html>", FailureKind.MALFORMED),
        (b'{"choices":[', FailureKind.MALFORMED),
        (b"", FailureKind.MALFORMED),
        (b"[1]", FailureKind.MALFORMED),
        (b'{"choices":3}', FailureKind.MALFORMED),
        (b'{"error":{"message":"no memory"}}', FailureKind.ERROR_BODY),
        (b'{"error":"no memory"}', FailureKind.ERROR_BODY),
        (b'{"choices":[]}', FailureKind.EMPTY),
        (b"{}", FailureKind.EMPTY),
        (b'{"choices":[{"message":{"content":""},"finish_reason":null}]}', FailureKind.EMPTY),
        (b'{"choices":[{"message":null}]}', FailureKind.EMPTY),
    ],
)
def test_what_is_no_answer_is_told_apart(body: bytes, kind: FailureKind):
    """HTML, broken JSON, an error object and emptiness are failures of the backend."""
    assert inspect_answer(Surface.CHAT, body).kind is kind


@pytest.mark.parametrize(
    "choice",
    [
        b'{"message":{"content":"x"}}',
        b'{"message":{"content":""},"finish_reason":"length"}',
        b'{"message":{"tool_calls":[{}]}}',
        b'{"message":{"reasoning_content":"x"}}',
        b'{"message":{"refusal":"x"}}',
        b'{"text":"x"}',
    ],
)
def test_each_kind_of_substance_is_an_answer(choice: bytes):
    """Content of any kind, or a finish reason, is an answer."""
    assert inspect_answer(Surface.CHAT, b'{"choices":[' + choice + b"]}").kind is None


def test_embeddings_need_data():
    """An embeddings answer has `data`, not `choices`."""
    assert inspect_answer(Surface.EMBEDDING, b'{"data":[{"embedding":[0.1]}]}').kind is None
    assert inspect_answer(Surface.EMBEDDING, b'{"data":[]}').kind is FailureKind.EMPTY


def test_a_null_error_is_no_error():
    """Some servers send `error: null` with good answers."""
    assert inspect_answer(Surface.CHAT, GOOD[:-1] + b',"error":null}').kind is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":"model is loading"}}', "model is loading"),
        (b'{"error":"busy"}', "busy"),
        (b'{"detail":"not here"}', "{'detail': 'not here'}"),
        (b"plain\n text", "plain text"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_the_text_of_an_upstream_error_is_found(body: bytes, text: str):
    """Whatever form the error has, a person gets its words."""
    assert upstream_error_text(body) == text


def test_a_long_upstream_error_is_cut():
    """At most 256 characters are kept."""
    text = upstream_error_text(b"x" * 1000)
    assert len(text) == 256
    assert text.endswith("…")

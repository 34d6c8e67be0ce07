"""A receipt becomes one line of JSON and comes back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task
from nexus.ledger.lines import capped, decode, encode, encode_all
from tests.unit.ledger.receipts import full_receipt, receipt

_TEXT = st.text(max_size=300)
_NUMBER = st.floats()
_RECEIPTS = st.builds(
    LedgerEntry,
    trace_id=_TEXT,
    model_id=_TEXT,
    task=st.sampled_from(Task),
    routing_reason=_TEXT,
    latency_ms=_NUMBER,
    input_tokens=st.integers(min_value=0),
    output_tokens=st.integers(min_value=0),
    attempts=st.integers(min_value=0),
    timestamp=_NUMBER,
    error=st.none() | _TEXT,
    quality=st.none() | _NUMBER,
    candidates=st.none() | st.lists(_TEXT, max_size=3).map(tuple),
    success=st.none() | st.booleans(),
)


def test_what_is_unknown_is_absent_and_the_counts_are_always_there():
    written = json.loads(encode(receipt(input_tokens=0, output_tokens=0, latency_ms=0.0)).json)
    assert set(written) == {
        *("trace_id", "model_id", "task", "routing_reason", "latency_ms"),
        *("input_tokens", "output_tokens", "attempts", "timestamp"),
    }


def test_every_field_is_written_under_its_name():
    written = json.loads(encode(full_receipt()).json)
    assert set(written) == set(LedgerEntry.__struct_fields__)
    assert written["candidates"] == ["llama3", "qwen"]


@settings(max_examples=100, deadline=None)
@given(_RECEIPTS)
def test_any_receipt_can_be_written_and_read_and_then_stays_the_same(entry: LedgerEntry):
    line = encode(entry)
    assert b"\n" not in line.json
    kept = decode(line.json)
    assert kept is not None
    assert (kept.trace_id, kept.timestamp) == (line.trace_id, line.timestamp)
    assert encode(kept) == line


@settings(max_examples=50, deadline=None)
@given(st.lists(_RECEIPTS, max_size=5))
def test_many_receipts_are_written_as_each_would_be(odd: list[LedgerEntry]):
    """Wherever in a batch there is something to cut or to mend, or nothing at all."""
    for entries in (odd, [receipt(number) for number in range(1100)], [*odd, receipt(), *odd]):
        found = list(encode_all(entries))
        each = [encode(entry) for entry in entries]
        assert [id_ for lines in found for id_ in lines.trace_ids] == [line.trace_id for line in each]
        assert [at for lines in found for at in lines.timestamps] == [line.timestamp for line in each]
        assert b"".join(lines.json for lines in found) == b"".join(line.json + b"\n" for line in each)


def test_an_error_is_masked_before_it_is_cut():
    """A secret that lies across the cut would lose the part by which it is known."""
    kept = decode(encode(receipt(error="x" * 240 + " password=verysecretindeed")).json)
    assert kept is not None
    assert kept.error is not None
    assert "verys" not in kept.error


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 3, ""), ("\U0001f980" * 4, 3, "\U0001f980\U0001f980…")],
)
def test_a_text_is_cut_between_characters(text: str, limit: int, expected: str):
    assert capped(text, limit) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b'{"trace_id":"\xff"}',
        b"{}",
        b"[]",
        b"null",
        b'{"trace_id":"t',
        encode(receipt()).json[:-1],
        encode(receipt()).json.replace(b'"code"', b'"juggle"'),
        encode(receipt()).json.replace(b'"latency_ms":812.5', b'"latency_ms":null'),
    ],
)
def test_what_is_no_receipt_is_none(line: bytes):
    assert decode(line) is None


def test_fields_of_a_later_version_are_ignored():
    assert decode(encode(receipt()).json[:-1] + b',"mood":{"a":1}}') == receipt()


def test_a_null_where_a_field_may_be_absent_is_read_as_absent():
    assert decode(encode(receipt()).json[:-1] + b',"quality":null}') == receipt()

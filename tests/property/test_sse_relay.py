"""Invariant: the stream monitor passes bytes unchanged, whatever the chunking."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from nexus.proxy.sse import SseMonitor, StreamFault

_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def _events(draw: st.DrawFn) -> bytes:
    end = draw(_ends)
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return b": comment" + end + end
    if kind == 1:
        return b"event: x" + end + b"id: 1" + end + end
    if kind == 2:
        return b"data: [DONE]" + end + end
    if kind == 3:
        return b'data: {"choices":' + end + b'data: [{"delta":{"content":"a"}}]}' + end + end
    content = draw(_text).encode().replace(b"\\", b"").replace(b'"', b"")
    content = bytes(byte for byte in content if byte >= 0x20)
    return b'data: {"choices":[{"delta":{"content":"' + content + b'"}}]}' + end + end


@st.composite
def _chunked(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    bounds = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(bounds) if a != b]


@given(st.data())
def test_valid_streams_pass_byte_for_byte_under_any_chunking(data: st.DataObject):
    """The concatenation of what passes is the concatenation of what came in."""
    stream = b"".join(data.draw(st.lists(_events(), max_size=12)))
    if data.draw(st.booleans()):
        stream = stream.rstrip(b"\r\n")
    chunks = data.draw(_chunked(stream))
    monitor = SseMonitor()
    passed = b"".join(monitor.feed(chunk) for chunk in chunks) + monitor.end()
    assert monitor.fault is StreamFault.NONE
    assert passed == stream


@given(st.data())
def test_what_is_seen_does_not_depend_on_the_chunking(data: st.DataObject):
    """Content counts, finish and [DONE] are the same for one chunk and for many."""
    stream = b"".join(data.draw(st.lists(_events(), max_size=8)))
    whole, split = SseMonitor(), SseMonitor()
    whole.feed(stream)
    whole.end()
    for chunk in data.draw(_chunked(stream)):
        split.feed(chunk)
    split.end()
    seen = [(m.started, m.content_events, m.finished, m.done, m.fault) for m in (whole, split)]
    assert seen[0] == seen[1]


@given(st.binary(max_size=300), st.data())
def test_any_bytes_at_all_neither_raise_nor_grow(stream: bytes, data: st.DataObject):
    """Garbage is passed, held or refused, never invented: what passes is a prefix of what came in."""
    monitor = SseMonitor()
    passed = b"".join(monitor.feed(chunk) for chunk in data.draw(_chunked(stream))) + monitor.end()
    assert stream.startswith(passed)

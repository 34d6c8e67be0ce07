"""Messages between supervisor and workers survive any cutting of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.app.workers.messages import (
    Answer,
    Ask,
    Batch,
    Failed,
    Found,
    Frames,
    FramingError,
    Gone,
    Lead,
    Message,
    Picture,
    Ready,
    Reload,
    Stop,
    Wanted,
    Welcome,
    encode,
)

ALL: list[Message] = [
    Welcome(1, "nexus.toml", {"--port": "1"}, "/", b"key", 8080),
    Found(),
    Wanted(2),
    Picture(2, b"all"),
    Batch(1, b"news"),
    Lead(),
    Gone(3),
    Ready(),
    Failed("no"),
    Ask(1, 7, b"?"),
    Answer(1, 7, b"!"),
    Reload(),
    Stop(),
]


@given(st.lists(st.integers(1, 40), max_size=60))
def test_messages_come_out_as_they_went_in_however_they_are_cut(sizes):
    stream = b"".join(encode(each) for each in ALL)
    frames = Frames()
    found: list[Message] = []
    for size in sizes:
        found += frames.feed(stream[:size])
        stream = stream[size:]
    found += frames.feed(stream)
    assert found == ALL


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x91\x63"], ids=str
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(FramingError):
        list(Frames().feed(data))

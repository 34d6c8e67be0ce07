"""The stream monitor: what passes, what is seen on the way, and what stops a stream."""

import pytest

from nexus.proxy import sse
from nexus.proxy.sse import SseMonitor, StreamFault

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def test_a_usual_stream_passes_whole_and_is_understood():
    """Every byte passes; start, content, finish and [DONE] are seen."""
    monitor = SseMonitor()
    stream = ROLE + WORD + WORD + STOP + DONE
    assert monitor.feed(stream) + monitor.end() == stream
    assert (monitor.started, monitor.content_events, monitor.finished, monitor.done) == (True, 2, True, True)
    assert monitor.fault is StreamFault.NONE


def test_an_event_is_held_back_until_its_blank_line():
    """Half an event does not pass; its other half releases it."""
    monitor = SseMonitor()
    assert monitor.feed(WORD[:10]) == b""
    assert not monitor.started
    assert monitor.feed(WORD[10:]) == WORD


def test_a_role_only_event_is_no_content():
    """The empty first delta does not count as the first token, nor as the start of an answer."""
    monitor = SseMonitor()
    assert monitor.feed(ROLE) == ROLE
    assert not monitor.started
    assert not monitor.content_seen


@pytest.mark.parametrize("event", [ROLE, WORD, STOP])
def test_an_answer_begins_after_its_role_with_whatever_comes_next(event: bytes):
    """A second event without content may be in a form of its own, so it is not held back."""
    monitor = SseMonitor()
    monitor.feed(ROLE)
    monitor.feed(event)
    assert monitor.started


@pytest.mark.parametrize(
    "delta",
    [
        b'{"content":"x"}',
        b'{"reasoning_content":"x"}',
        b'{"reasoning":"x"}',
        b'{"tool_calls":[{"index":0}]}',
        b'{"function_call":{"name":"f"}}',
        b'{"refusal":"no"}',
    ],
)
def test_each_kind_of_content_counts(delta: bytes):
    """Text, reasoning, tool calls and refusals are all a first token."""
    monitor = SseMonitor()
    monitor.feed(b'data: {"choices":[{"delta":' + delta + b"}]}\n\n")
    assert monitor.content_seen


def test_legacy_completion_text_counts_as_content():
    """`text` of a completion chunk is content."""
    monitor = SseMonitor()
    monitor.feed(b'data: {"choices":[{"text":"x"}]}\n\n')
    assert monitor.content_seen


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_all_line_ends_of_the_standard_work(end: bytes):
    """LF, CRLF, CR and mixtures end an event."""
    monitor = SseMonitor()
    event = b'data: {"choices":[{"delta":{"content":"x"}}]}' + end
    assert monitor.feed(event) + monitor.end() == event
    assert monitor.content_events == 1


def test_comments_and_unknown_lines_pass_without_starting_the_stream():
    """A keep-alive comment is relayed but is not an answer."""
    monitor = SseMonitor()
    noise = b": ping\n\nevent: x\nid: 7\n\nno field at all\n\n"
    assert monitor.feed(noise) == noise
    assert not monitor.started


def test_multi_line_data_is_joined():
    """Two data lines of one event are one JSON text."""
    monitor = SseMonitor()
    event = b'data: {"choices":\ndata: [{"delta":{"content":"x"}}]}\n\n'
    assert monitor.feed(event) == event
    assert monitor.content_events == 1


def test_usage_is_picked_up():
    """The usage chunk at the end is remembered."""
    monitor = SseMonitor()
    monitor.feed(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n')
    assert monitor.usage is not None
    assert (monitor.usage.prompt_tokens, monitor.usage.completion_tokens) == (3, 4)


def test_what_is_not_json_stops_the_stream_before_it():
    """Good events pass, the broken one and all after it do not."""
    monitor = SseMonitor()
    assert monitor.feed(WORD + b"data: {broken\n\n" + WORD) == WORD
    assert monitor.fault is StreamFault.MALFORMED
    assert "not JSON" in monitor.fault_message
    assert monitor.feed(WORD) == b""
    assert monitor.end() == b""


def test_what_is_not_json_stops_the_stream_with_other_line_ends_too():
    """The slow path stops at the same place."""
    monitor = SseMonitor()
    good = b'data: {"choices":[]}\r\n\r\n'
    assert monitor.feed(good + b"data: nope\r\n\r\n" + good) == good
    assert monitor.fault is StreamFault.MALFORMED


def test_an_error_event_is_noted_and_passes():
    """A backend's own error event reaches the client as it is."""
    monitor = SseMonitor()
    event = b'data: {"error":{"message":"out of memory"}}\n\n'
    assert monitor.feed(WORD + event) == WORD + event
    assert monitor.fault is StreamFault.ERROR_EVENT
    assert monitor.fault_message == "out of memory"


def test_an_error_event_alone_does_not_start_the_stream():
    """Nothing has been answered when the first event is an error."""
    monitor = SseMonitor()
    monitor.feed(b'data: {"error":"overloaded"}\n\n')
    assert not monitor.started
    assert monitor.fault_message == "overloaded"


def test_events_without_choices_do_not_start_the_stream():
    """Filter results and usage may come first; only a choice, or another kind of document, is an answer."""
    monitor = SseMonitor()
    event = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'
    assert monitor.feed(event) == event
    assert not monitor.started
    monitor.feed(WORD)
    assert monitor.started


@pytest.mark.parametrize("event", [b": wait", b'data: {"choices":[]}', b"data: [DONE]"])
def test_what_comes_before_the_first_answer_is_bounded(event):
    """Comments and empty events without end break the stream, but only while nothing has been answered."""
    flood = (event + b" " * (1024 * 1024) + b"\n\n") * 17
    monitor = SseMonitor()
    assert len(monitor.feed(flood)) < len(flood)
    assert monitor.fault is StreamFault.MALFORMED
    assert "before the first event" in monitor.fault_message
    answering = SseMonitor()
    assert answering.feed(WORD + flood) == WORD + flood
    assert answering.fault is StreamFault.NONE


def test_json_of_another_shape_passes():
    """A chunk whose fields have unexpected types is the upstream's business."""
    monitor = SseMonitor()
    event = b'data: {"choices":"none","usage":{"prompt_tokens":1.5}}\n\ndata: 7\n\n'
    assert monitor.feed(event) == event
    assert monitor.started
    assert monitor.fault is StreamFault.NONE


def test_an_error_in_a_chunk_of_another_shape_is_still_an_error():
    """The lenient path sees errors too."""
    monitor = SseMonitor()
    monitor.feed(b'data: {"choices":"none","error":{"code":1}}\n\n')
    assert monitor.fault is StreamFault.ERROR_EVENT


def test_json_of_another_shape_that_breaks_off_is_malformed():
    """A wrong type early does not hide broken JSON later."""
    monitor = SseMonitor()
    monitor.feed(b'data: {"choices":"none", oops\n\n')
    assert monitor.fault is StreamFault.MALFORMED


def test_the_last_event_may_lack_its_blank_line():
    """What is left at the end is checked and passes."""
    monitor = SseMonitor()
    monitor.feed(WORD)
    assert monitor.feed(b"data: [DONE]") == b""
    assert monitor.end() == b"data: [DONE]"
    assert monitor.done


def test_a_torn_last_event_does_not_pass():
    """Half a JSON text at the end is malformed."""
    monitor = SseMonitor()
    monitor.feed(WORD + b'data: {"cho')
    assert monitor.end() == b""
    assert monitor.fault is StreamFault.MALFORMED


def test_a_large_event_in_small_pieces_passes():
    """An event of a megabyte in pieces of a kilobyte passes unchanged."""
    event = b'data: {"choices":[{"delta":{"content":"' + b"x" * 1_000_000 + b'"}}]}\n\n'
    monitor = SseMonitor()
    passed = b"".join(monitor.feed(event[i : i + 1024]) for i in range(0, len(event), 1024))
    assert passed == event


def test_an_event_without_end_is_cut_at_the_bound(monkeypatch: pytest.MonkeyPatch):
    """Memory per stream is bounded."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    monitor = SseMonitor()
    for _ in range(3):
        monitor.feed(b"data: " + b"x" * 500)
    assert monitor.fault is StreamFault.MALFORMED
    assert "larger than 1000 bytes" in monitor.fault_message

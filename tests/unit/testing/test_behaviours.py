"""Each fault changes a good answer in exactly the way its name says."""

import json
from typing import Any

import pytest

from nexus.testing import (
    Answer,
    Behaviour,
    BrokenJson,
    Close,
    Cut,
    Delay,
    EmptyChoices,
    ErrorBody,
    Hang,
    Insert,
    NoDone,
    Page,
    Raw,
    Relay,
    Reset,
    Split,
    Status,
    Trickle,
    Where,
)
from nexus.testing.answers import DONE
from nexus.testing.plans import Chance, Circle, Script
from nexus.testing.wire import (
    Body,
    End,
    Forward,
    Framing,
    Hangup,
    Head,
    Pause,
    ReceivedRequest,
    Stall,
    Wire,
    on_the_wire,
)


def asked(*, stream: bool = False) -> ReceivedRequest:
    body = json.dumps({"model": "m", "stream": stream}).encode()
    return ReceivedRequest("POST", "/v1/chat/completions", "", {}, body, 1)


def bodies(behaviour: Behaviour, *, stream: bool = False) -> list[bytes]:
    return [step.data for step in behaviour.steps(asked(stream=stream)) if isinstance(step, Body)]


def status_of(behaviour: Behaviour) -> int:
    return next(step.status for step in behaviour.steps(asked()) if isinstance(step, Head))


@pytest.mark.parametrize(
    ("fault", "last"), [(Hang, Stall()), (Reset, Hangup(reset=True)), (Close, Hangup(reset=False))]
)
@pytest.mark.parametrize("where", list(Where))
def test_a_fault_happens_where_it_is_told_to(fault: Any, last: Any, where: Where):
    """Everything before the point is sent, nothing after it."""
    steps = list(fault(where=where, events=2).steps(asked(stream=True)))
    assert steps[-1] == last
    sent = steps[:-1]
    good = list(Answer().steps(asked(stream=True)))
    expected = {
        Where.BEFORE_HEAD: [],
        Where.AFTER_HEAD: good[:1],
        Where.IN_BODY: good[:3],
        Where.AFTER_BODY: good,
    }
    if where is Where.IN_HEAD:
        whole = on_the_wire(good[:1])[0]
        assert isinstance(sent[0], Wire)
        assert isinstance(whole, Wire)
        assert whole.data.startswith(sent[0].data)
        assert len(sent[0].data) < len(whole.data)
    else:
        assert sent == expected[where]


def test_half_of_a_whole_answer_is_sent_under_its_full_length():
    """A body in one piece breaks in its middle; the announced length stays."""
    head, half, _ = Reset(Where.IN_BODY).steps(asked())
    assert isinstance(head, Head)
    assert isinstance(half, Body)
    assert len(half.data) == head.length // 2


def test_a_fault_after_more_events_than_there_are_comes_at_the_end():
    """Counting past the end is the end."""
    assert list(Hang(Where.IN_BODY, events=99).steps(asked(stream=True)))[-2] == End()


def test_a_cut_stream_ends_properly_without_its_last_events():
    """HTTP is satisfied, the stream is not."""
    cut = Cut(events=2)
    assert bodies(cut, stream=True) == bodies(Answer(), stream=True)[:2]
    assert cut.steps(asked(stream=True))[-1] == End()


def test_no_done_leaves_out_only_done():
    """The finish reason is still there."""
    assert bodies(NoDone(), stream=True) == bodies(Answer(), stream=True)[:-1]


def test_delay_comes_first():
    """Nothing is sent before the delay is over, and everything after it; faults go around each other."""
    assert Delay(3.0).steps(asked())[0] == Pause(3.0)
    assert Reset(Where.AFTER_HEAD, inner=Delay(1.0)).steps(asked())[0] == Pause(1.0)


def test_trickle_keeps_the_bytes():
    """One byte at a time, each after its pause."""
    slow = Trickle(seconds=0.5, inner=Answer(text="x", usage=False))
    assert b"".join(bodies(slow)) == bodies(Answer(text="x", usage=False))[0]
    assert all(len(piece) == 1 for piece in bodies(slow))
    pauses = [step for step in slow.steps(asked()) if isinstance(step, Pause)]
    assert len(pauses) == len(bodies(slow))


def test_split_cuts_at_the_given_bytes():
    """The pieces are those between the positions; positions outside the body do not matter."""
    whole = b"".join(bodies(Answer(), stream=True))
    pieces = bodies(Split((5, 1, 0, 10_000_000)), stream=True)
    assert pieces == [whole[:1], whole[1:5], whole[5:]]


@pytest.mark.parametrize("after", [0, 2])
def test_insert_adds_bytes_at_a_place(after):
    """Everything else stays."""
    pieces = bodies(Insert(b": hello\n\n", after=after), stream=True)
    assert pieces.pop(after) == b": hello\n\n"
    assert pieces == bodies(Answer(), stream=True)


def test_status_has_an_envelope_unless_told_otherwise():
    """An error without a body of its own looks like OpenAI's."""
    assert status_of(Status(503)) == 503
    assert json.loads(bodies(Status(503))[0])["error"]["code"] == "503"
    assert bodies(Status(500, body=b"")) == [b""]


@pytest.mark.parametrize(("wait", "sent"), [(3, "3"), (0.5, "0.5"), ("Fri, 01 Jan 2027 00:00:00 GMT",) * 2])
def test_retry_after_is_seconds_or_a_date(wait, sent):
    """Both forms of HTTP."""
    head = Status(429, retry_after=wait).steps(asked())[0]
    assert isinstance(head, Head)
    assert ("Retry-After", sent) in head.headers


def test_page_is_not_json():
    """A proxy's login page, for example."""
    assert status_of(Page()) == 200
    assert bodies(Page())[0].startswith(b"<!doctype html>")


@pytest.mark.parametrize("stream", [True, False])
def test_broken_json_can_not_be_parsed(stream):
    """In a stream the event's payload is broken, not its frame."""
    text = bodies(BrokenJson(), stream=stream)[0].removeprefix(b"data: ")
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


def test_error_body_comes_with_status_200():
    """As JSON for a whole answer, as an event in a stream, first or after good ones."""
    assert status_of(ErrorBody()) == 200
    assert json.loads(bodies(ErrorBody("no"))[0])["error"]["message"] == "no"
    assert bodies(ErrorBody(), stream=True)[0].startswith(b'data: {"error"')
    late = bodies(ErrorBody(events=3), stream=True)
    assert late[:3] == bodies(Answer(), stream=True)[:3]
    assert late[3].startswith(b'data: {"error"')
    assert len(late) == 4


def test_empty_choices_is_an_answer_without_one():
    """In a stream it is followed by [DONE]."""
    assert json.loads(bodies(EmptyChoices())[0])["choices"] == []
    assert bodies(EmptyChoices(), stream=True)[-1] == DONE


def test_raw_writes_what_it_is_given():
    """Waits where it says so, and closes unless told not to."""
    assert list(Raw(((0, b"a"), (0.5, b"b"))).steps(asked())) == [
        Wire(b"a"),
        Pause(0.5),
        Wire(b"b"),
        Hangup(),
    ]
    assert list(Raw(((0, b"a"),), close=False).steps(asked())) == [Wire(b"a")]


def test_relay_names_its_server():
    """Without a port it is 80."""
    assert list(Relay("http://127.0.0.1:81/v1").steps(asked())) == [Forward("127.0.0.1", 81)]
    assert list(Relay("http://127.0.0.1").steps(asked())) == [Forward("127.0.0.1", 80)]


def test_framing_on_the_wire():
    """Chunked pieces carry their size, an empty one is no end; close framing ends with the connection."""
    chunked = on_the_wire([Head(framing=Framing.CHUNKED), Body(b"0123456789abcdef"), Body(b""), End()])
    assert chunked[1:] == (Wire(b"10\r\n0123456789abcdef\r\n"), Wire(b""), Wire(b"0\r\n\r\n"))
    closing = on_the_wire([Head(framing=Framing.CLOSE), Body(b"a"), End()])
    assert b"Connection: close" in closing[0].data  # type: ignore[union-attr]
    assert closing[1:] == (Wire(b"a"), Hangup())


def test_a_script_runs_once_and_a_circle_for_ever():
    """After the script its last word holds."""
    one: Behaviour = Status(500)
    two: Behaviour = Status(503)
    good: Behaviour = Answer()
    script = Script(one, two, then=good)
    assert [script.next() for _ in range(4)] == [one, two, good, good]
    circle = Circle(one, two)
    assert [circle.next() for _ in range(5)] == [one, two, one, two, one]
    with pytest.raises(ValueError, match="at least one"):
        Circle()


def test_chance_is_seeded_and_bounded():
    """The same seed fails the same requests, about as many as the ratio says."""
    bad, good = Status(500), Answer()

    def throws(seed: int) -> list[Behaviour]:
        chance = Chance(0.5, failure=bad, otherwise=good, seed=seed)
        return [chance.next() for _ in range(1000)]

    assert throws(1) == throws(1)
    assert throws(1) != throws(2)
    assert 400 < throws(1).count(bad) < 600
    with pytest.raises(ValueError, match="between 0 and 1"):
        Chance(1.5, failure=bad, otherwise=good, seed=0)

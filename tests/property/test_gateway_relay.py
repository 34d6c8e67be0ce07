"""Invariant: a stream through a real gateway is the backend's stream, byte for byte, however it is cut up."""

import http.client
import itertools
import json
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from nexus.testing import FaultyBackend, GatewayProcess, ReceivedRequest
from nexus.testing.wire import Body, End, Framing, Head, Pause, Step

CONFIG = """
[health_check]
interval_seconds = 600
[breaker]
enabled = false
[quality]
enabled = false
[[backends]]
name = "only"
url = "{url}"
models = ["m"]
"""
PIECE = {"id": "c", "object": "chat.completion.chunk", "model": "m"}


class Pieces(Struct, frozen=True):
    """Answers with these pieces of body, one write each; `pause` seconds before each keep them apart."""

    pieces: tuple[bytes, ...]
    framing: Framing
    pause: float

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:  # noqa: ARG002 - the same for every request
        """Head, pieces, end."""
        steps: list[Step] = [Head(200, (("Content-Type", "text/event-stream; charset=utf-8"),), self.framing)]
        if self.framing is Framing.LENGTH:
            steps[0] = Head(
                200, (("Content-Type", "text/event-stream"),), length=sum(len(piece) for piece in self.pieces)
            )
        for piece in self.pieces:
            steps += [Pause(self.pause), Body(piece)] if self.pause else [Body(piece)]
        return (*steps, End())


class Relay:
    """A client on one kept-alive connection to the gateway, and the backend behind it."""

    def __init__(self, gateway: GatewayProcess, backend: FaultyBackend) -> None:
        self._backend = backend
        self._client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)

    def stream(self, behaviour: Pieces) -> tuple[int, bytes]:
        """Status and body of a streamed chat that the backend answers like this."""
        self._backend.always(behaviour)
        body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}'
        self._client.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = self._client.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with FaultyBackend() as backend, GatewayProcess(CONFIG.format(url=backend.url)) as gateway:
        gateway.wait_ready()
        made = Relay(gateway, backend)
        yield made
        made.close()
        assert all(each["pending"] == 0 for each in gateway.get("/v1/stats")["backends"])


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def chunk(text: str, finish: str | None, *, escaped: bool) -> bytes:
    delta = {"content": text} if finish is None else {}
    return json.dumps(
        {**PIECE, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]},
        ensure_ascii=escaped,
        separators=(",", ":"),
    ).encode()


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """One event, or what may stand between events, with its blank line."""
    end = draw(line_ends)
    kind = draw(st.sampled_from(["chunk", "chunk", "chunk", "split", "comment", "fields", "usage", "odd"]))
    if kind == "comment":
        return b": " + draw(words).encode().translate(None, b"\r\n") + end + end
    if kind == "fields":
        return b"event: message" + end + b"id: 7" + end + b"retry: 10" + end + b"nonsense" + end + end
    if kind == "usage":
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        return b"data: " + json.dumps({**PIECE, "choices": [], "usage": usage}).encode() + end + end
    if kind == "odd":
        return (
            b"data:" + draw(st.sampled_from([b'{"type":"ping"}', b" 7", b" []", b' "\xc3\xa9"'])) + end + end
        )
    payload = chunk(draw(words), None, escaped=draw(st.booleans()))
    if kind == "split":
        # JSON may be broken over lines wherever it has a blank or a comma outside of texts.
        head, tail = payload.split(b',"choices":', 1)
        return b"data: " + head + end + b'data: ,"choices":' + end + b"data:" + tail + end + end
    return b"data: " + payload + end + end


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Any events, then a finish reason or `[DONE]` or both, with or without a last newline."""
    end = draw(line_ends)
    finish = b"data: " + chunk("", "stop", escaped=False) + end + end
    done = b"data: [DONE]" + end + end
    content = b"data: " + chunk("é", None, escaped=False) + end + end
    ending = draw(st.sampled_from([finish + done, finish, content + done]))
    stream = b"".join(draw(st.lists(events(), max_size=8))) + ending
    return stream.rstrip(b"\r\n") if draw(st.booleans()) else stream


@st.composite
def cut_up(draw: st.DrawFn) -> Pieces:
    """A stream in pieces cut anywhere: inside UTF-8 sequences, line ends and field names."""
    stream = draw(streams())
    cuts = draw(st.lists(st.integers(1, len(stream) - 1), max_size=12, unique=True))
    bounds = [0, *sorted(cuts), len(stream)]
    pieces = tuple(stream[start:stop] for start, stop in itertools.pairwise(bounds))
    framing = draw(st.sampled_from([Framing.CHUNKED, Framing.CHUNKED, Framing.LENGTH, Framing.CLOSE]))
    return Pieces(pieces, framing, draw(st.sampled_from([0.0, 0.0, 0.001])))


DONE = b"data: [DONE]\r\n\r\n"
ACCENT = b'data: {"choices":[{"delta":{"content":"\xc3\xa9\xf0\x9f\x98\x80"}}]}\r\n\r\n'


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(behaviour=cut_up())
@example(behaviour=Pieces(tuple(bytes([byte]) for byte in ACCENT + DONE), Framing.CHUNKED, 0.0))
@example(behaviour=Pieces((ACCENT[:-1], ACCENT[-1:] + DONE[:-3], DONE[-3:]), Framing.CHUNKED, 0.005))
@example(behaviour=Pieces((b": wait\n\n" * 500, ACCENT * 2000, DONE), Framing.CHUNKED, 0.0))
def test_a_stream_through_the_gateway_is_the_backends_stream(relay: Relay, behaviour: Pieces):
    """Nothing is added, dropped, reordered or encoded anew."""
    status, body = relay.stream(behaviour)
    assert status == 200
    assert body == b"".join(behaviour.pieces)


@st.composite
def damaged(draw: st.DrawFn) -> Pieces:
    """A stream in which some bytes were lost, added or changed, cut anywhere."""
    data = bytearray(draw(streams()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["insert", "delete", "cut", "change"]))
        if kind == "insert":
            data[at:at] = draw(
                st.sampled_from([b"\n", b"\r", b"\n\n", b"data:", b"\x00", b"\xff", b"{", b'"', b":"])
            )
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 9))]
        elif kind == "cut":
            del data[at:]
        else:
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
    stream = bytes(data)
    cuts = draw(st.lists(st.integers(0, len(stream)), max_size=8))
    pieces = (stream[a:b] for a, b in itertools.pairwise(sorted({0, len(stream), *cuts})))
    framing = draw(st.sampled_from([Framing.CHUNKED, Framing.LENGTH, Framing.CLOSE]))
    return Pieces(tuple(piece for piece in pieces if piece), framing, 0.0)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(behaviour=damaged())
def test_a_damaged_stream_is_passed_on_up_to_the_damage(relay: Relay, behaviour: Pieces):
    """It arrives as it is, or breaks off with one error event of ours; before its first event it is a 502."""
    relay.close()  # a stream that broke has ended its connection
    status, body = relay.stream(behaviour)
    sent = b"".join(behaviour.pieces)
    if status == 200 and body != sent:
        passed, mark, error = body.rpartition(b'data: {"error":{')
        assert mark
        assert json.loads(mark[6:] + error)["error"]["code"] == "upstream_error"
        assert error.endswith(b"\n\n")
        assert sent.startswith(passed.rstrip(b"\r\n"))
    elif status != 200:
        assert (status, json.loads(body)["error"]["code"]) == (502, "upstream_error")

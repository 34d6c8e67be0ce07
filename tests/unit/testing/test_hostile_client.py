"""The hostile client against a server that is known to behave, and one that does not."""

from collections.abc import Iterator

import pytest

from nexus.testing import (
    Answer,
    Cut,
    FaultyBackend,
    Hang,
    HostileClient,
    Moment,
    Raw,
    Where,
    allow_open_files,
    bad_bodies,
    chat_body,
    odd_bodies,
    parse_answers,
    request_bytes,
    smuggling_shapes,
)

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def server() -> Iterator[FaultyBackend]:
    with FaultyBackend() as running:
        yield running


@pytest.fixture
def client(server: FaultyBackend) -> HostileClient:
    return HostileClient(server.url, timeout=20)


# --- what is answered


def test_answers_are_told_apart_by_their_framing():
    """Lengths, chunks, no body, interim answers, and a body that ends with the connection."""
    stream = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + (OK + b"Content-Length: 2\r\nX-A: b\r\n\r\nhi")
        + (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x=y\r\nyou\r\n0\r\n\r\n")
        + b"HTTP/1.1 204 No Content\r\n\r\n"
        + (b"HTTP/1.1 400 Bad Request\r\n\r\nall the rest\r\n\r\n")
    )
    found = parse_answers(stream)
    assert [(each.status, each.body) for each in found] == [
        (200, b"hi"),
        (200, b"hiyou"),
        (204, b""),
        (400, b"all the rest\r\n\r\n"),
    ]
    assert found[0].headers == {"content-length": "2", "x-a": "b"}
    assert all(each.whole for each in found)


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (OK + b"Content-Length: 9\r\n\r\nhi", b"hi"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n5\r\nyo", b"hiyo"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", b"hi"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", b"hi"),
    ],
)
def test_half_an_answer_is_not_whole(sent: bytes, body: bytes):
    (found,) = parse_answers(sent)
    assert (found.body, found.whole) == (body, False)


def test_half_a_head_is_no_answer_and_another_protocol_an_error():
    assert parse_answers(OK) == ()
    with pytest.raises(ValueError, match=r"not an HTTP/1\.1 answer: 'SSH-2\.0'"):
        parse_answers(b"SSH-2.0\r\n\r\n")


# --- what is done


def test_a_request_gets_its_answer(server: FaultyBackend, client: HostileClient):
    answer = client.ask()
    assert (answer.status, answer.whole) == (200, True)
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert client.ask(chat_body("other")).json["model"] == "other"
    assert [request.model for request in server.posts] == ["m", "other"]


def test_requests_sent_ahead_are_answered_in_order(client: HostileClient):
    answers = client.pipeline(chat_body("a"), chat_body("b"), chat_body("c"))
    assert [each.json["model"] for each in answers] == ["a", "b", "c"]


def test_what_is_answered_too_much_is_seen(server: FaultyBackend, client: HostileClient):
    """A second answer to one request, which no client would notice."""
    one = OK + b"Content-Length: 1\r\n\r\nx"
    server.always(Raw(((0.0, one + one),)))
    assert len(client.exchange(client.request)) == 2


def test_a_server_that_says_nothing_is_a_time_out(server: FaultyBackend):
    server.always(Hang())
    with pytest.raises(TimeoutError):
        HostileClient(server.url, timeout=0.05).ask()


def test_a_server_that_is_not_there_is_an_error(server: FaultyBackend, client: HostileClient):
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        client.ask()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("moment", list(Moment))
def test_leaving_is_noticed_and_only_a_whole_request_is_one(
    server: FaultyBackend, client: HostileClient, moment: Moment, reset: bool
):
    server.always(Answer(tokens=2) if moment is Moment.AFTER_ANSWER else Hang(Where.IN_BODY))
    seen = client.leave(moment, reset=reset)
    server.wait_until(lambda each: each.accepted_connections > 0 and each.open_connections == 0, timeout=20)
    asked = moment in {Moment.AFTER_REQUEST, Moment.IN_ANSWER, Moment.AFTER_ANSWER}
    # A reset may take the request with it before it was read.
    assert len(server.posts) == asked or (reset and moment is Moment.AFTER_REQUEST)
    assert len(seen) == 1 if moment is Moment.IN_ANSWER else bool(seen) == (moment is Moment.AFTER_ANSWER)


def test_a_slow_sender_is_a_sender_all_the_same(server: FaultyBackend, client: HostileClient):
    (answer,) = client.send_slowly(client.request, pause=0.0, at_once=20, size=50)
    assert answer.status == 200
    assert server.posts[0].body == client.body


def test_a_slow_sender_stops_where_the_server_has_had_enough(server: FaultyBackend, client: HostileClient):
    """The bytes after the nonsense are never sent: that would take a minute."""
    assert client.send_slowly(b"\x00" + b"x" * 60, pause=1.0, at_once=1) == ()
    assert server.posts == []


def test_a_wrong_length_is_announced(server: FaultyBackend, client: HostileClient):
    client.lie_about_length(-3)  # the rest is no HTTP, so the server ends the connection
    assert server.posts[0].body == client.body[:-3]


def test_a_flood_ends_at_its_limit(server: FaultyBackend):
    """The server takes what there is and answers nothing, as the body has no end."""
    with pytest.raises(TimeoutError):
        HostileClient(server.url, timeout=0.1).flood(200_000, piece=50_000)
    assert server.posts == []


def test_a_flood_ends_where_the_server_ends_it(server: FaultyBackend):
    """What is no chunk to the server makes it close; how much it took is told."""
    hungry = HostileClient(server.url, path="/ HTTP/1.1\r\nbroken", timeout=20)
    sent, answers = hungry.flood(10**9)
    assert sent < 10**9
    assert answers == ()


def test_an_answer_can_be_taken_byte_by_byte(server: FaultyBackend, client: HostileClient):
    server.always(Answer(text="x" * 100_000))
    with client.read_slowly() as reader:
        assert reader.take(5) == b"HTTP/"
        assert reader.seen == b"HTTP/"
        (answer,) = reader.take_all()
    assert answer.json["choices"][0]["message"]["content"] == "x" * 100_000


def test_an_answer_that_breaks_off_is_taken_as_far_as_it_goes(server: FaultyBackend, client: HostileClient):
    server.always(Raw(((0.0, OK + b"Content-Length: 9\r\n\r\nhi"),)))
    with client.read_slowly() as reader:
        (answer,) = reader.take_all()
    assert (answer.body, answer.whole) == (b"hi", False)


def test_a_crowd_is_there_and_goes(server: FaultyBackend, client: HostileClient):
    with client.crowd(20) as crowd:
        server.wait_until(lambda each: each.open_connections == 20)
        assert (crowd.count, crowd.still_open()) == (20, 20)
        server.reset_all()
        while crowd.still_open():  # the time limit of the test bounds it
            pass
    assert crowd.still_open() == 0


def test_a_limit_of_open_files_is_never_lowered():
    now = allow_open_files(1)
    assert allow_open_files(now) == now
    assert HostileClient("http://127.0.0.1:1").crowd(2**40).count < 2**40


# --- what is sent


def test_bodies_and_shapes_have_names_of_their_own_and_hide_another_model(client: HostileClient):
    assert client.request == request_bytes(chat_body())
    assert not bad_bodies().keys() & odd_bodies().keys()
    shapes = smuggling_shapes(model="mine", path="/x")
    assert len({shape.name for shape in shapes}) == len(shapes) > 40
    assert all(b"smuggled" not in shape.data for shape in shapes if shape.valid)
    assert sum(b"smuggled" in shape.data for shape in shapes) > 30


def test_a_stream_that_is_cut_in_good_order_is_whole_to_http(server: FaultyBackend, client: HostileClient):
    server.always(Cut())
    answer = client.ask(chat_body(stream=True))
    assert answer.whole
    assert b"[DONE]" not in answer.body

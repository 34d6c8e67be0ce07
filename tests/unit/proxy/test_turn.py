"""The order of work in one turn of the event loop."""

import asyncio
import logging
from functools import partial

import pytest
import uvloop

from nexus.proxy.turn import Turn


async def _turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_answers_come_before_requests_then_writes_and_the_books_at_last():
    """Whatever the order in which they were read."""
    done = []

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())
        turn.then(lambda: done.append("books"))
        turn.write(lambda: done.append("write"))
        turn.asked(lambda: done.append("request"))
        turn.answered(lambda: done.append("answer"))
        assert done == [], "not before everything is read"
        await _turns()

    uvloop.run(work())
    assert done == ["answer", "request", "write", "books"]


def test_what_a_request_writes_is_sent_in_the_same_turn():
    sent = []

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())
        turn.asked(lambda: turn.write(lambda: sent.append(1)))
        await _turns(1)
        assert sent == [1]

    uvloop.run(work())


def test_the_books_wait_until_the_loop_has_sent_what_was_written():
    """A real transport: its peer has the bytes before the step runs."""

    async def work() -> bytes:
        loop = asyncio.get_running_loop()
        got: list[bytes] = []
        seen: asyncio.Future[bytes] = loop.create_future()

        class Peer(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                got.append(data)

        server = await loop.create_server(Peer, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        turn = Turn(loop)

        def keep_books() -> None:
            # Nothing is left in the transport: the operating system has it.
            assert transport.get_write_buffer_size() == 0
            seen.set_result(b"sent")

        turn.write(lambda: transport.write(b"x" * 1000))
        turn.then(keep_books)
        result = await seen
        transport.close()
        server.close()
        return result

    assert uvloop.run(work()) == b"sent"


def test_a_step_that_fails_keeps_nothing_else_from_being_done(caplog: pytest.LogCaptureFixture):
    done = []

    def broken() -> None:
        raise RuntimeError("no such thing")

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())
        for add in (turn.answered, turn.asked, turn.write):
            add(broken)
            add(lambda: done.append(1))
        await _turns()

    with caplog.at_level(logging.ERROR, "nexus.proxy"):
        uvloop.run(work())
    assert done == [1, 1, 1]
    assert [record.exc_text is not None for record in caplog.records] == [True] * 3


@pytest.mark.parametrize("first", ["answered", "asked", "write"])
def test_what_is_added_while_the_work_is_done_is_not_forgotten(first: str):
    done = []

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())
        for second in ("answered", "asked", "write", "then"):
            getattr(turn, first)(lambda second=second: getattr(turn, second)(lambda: done.append(second)))
            await _turns()

    uvloop.run(work())
    assert done == ["answered", "asked", "write", "then"]


def test_what_comes_while_the_books_wait_is_taken_up_after_one_more_look_at_the_sockets():
    """So that more of it is done at once: an answer that comes later still goes first."""
    done = []

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())
        turn.then(lambda: done.append("books"))
        await _turns(1)
        turn.asked(lambda: done.append("request"))
        await _turns(1)
        assert done == ["books"]
        turn.answered(lambda: done.append("answer"))
        await _turns(1)

    uvloop.run(work())
    assert done == ["books", "answer", "request"]


def test_a_piece_of_a_stream_does_not_wait_for_that_and_takes_the_others_along():
    done = []

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())
        turn.then(lambda: done.append("books"))
        await _turns(1)
        turn.asked(lambda: done.append("request"))
        turn.write(lambda: done.append("piece"))
        await _turns(1)

    uvloop.run(work())
    assert done == ["books", "request", "piece"]


def test_books_that_fail_hold_up_no_request(caplog: pytest.LogCaptureFixture):
    done = []

    def broken() -> None:
        raise RuntimeError("no such thing")

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())
        turn.then(broken)
        turn.then(lambda: done.append("books"))
        await _turns(1)
        turn.asked(lambda: done.append("request"))
        await _turns(2)

    with caplog.at_level(logging.ERROR, "nexus.proxy"):
        uvloop.run(work())
    assert done == ["books", "request"]
    assert [record.getMessage() for record in caplog.records] == ["going on with a request failed"]


def test_the_steps_of_several_requests_are_done_kind_by_kind():
    """What a step leads to waits for its like, but never for the next turn."""
    done = []

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())

        def chain(name: str, did: str, *kinds: str) -> None:
            done.append(did + name)
            if kinds:
                getattr(turn, kinds[0])(lambda: chain(name, *kinds))

        for name in "12":
            turn.asked(partial(chain, name, "asked", "decide", "send", "write"))
            turn.answered(partial(chain, name, "answered", "deliver"))
        await _turns(1)

    uvloop.run(work())
    assert " ".join(done) == (
        "answered1 answered2 deliver1 deliver2 asked1 asked2 decide1 decide2 send1 send2 write1 write2"
    )


@pytest.mark.parametrize("kind", ["deliver", "decide", "send"])
def test_a_step_whose_like_is_done_already_is_done_at_once(kind: str):
    """Nothing is left lying: outside of a turn, and after its kind within one."""
    done = []

    async def work() -> None:
        turn = Turn(asyncio.get_running_loop())

        def late() -> None:
            getattr(turn, kind)(lambda: done.append(kind))

        late()
        for before in (turn.deliver, turn.decide, turn.send, turn.write, turn.then):
            turn.answered(partial(before, late))
            turn.asked(partial(before, late))
            await _turns(3)

    uvloop.run(work())
    assert done == [kind] * 11

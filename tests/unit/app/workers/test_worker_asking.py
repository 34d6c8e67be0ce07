"""Questions to other workers: answers are gathered, and nobody waits for ever."""

import asyncio
import logging

import msgspec
import pytest

from nexus.app.workers.asking import Asker, Question
from nexus.app.workers.messages import Answer, Ask, Message


class Desk:
    """An asker and what it sends."""

    def __init__(self, index: int = 1, seconds: float = 30.0) -> None:
        self.sent: list[Message] = []
        self.asker = Asker(index, self.sent.append, seconds)

    def only(self) -> Message:
        assert len(self.sent) == 1
        return self.sent.pop()


async def test_answers_are_gathered_until_the_end():
    one, two = Desk(1), Desk(2)
    two.asker.answer("name", lambda body: b"two knows " + body)
    asking = asyncio.ensure_future(one.asker.ask("name", b"x"))
    await asyncio.sleep(0)
    question = one.only()
    assert isinstance(question, Ask)
    two.asker.take_question(question)
    answer = two.only()
    assert isinstance(answer, Answer)
    one.asker.take_answer(answer)
    one.asker.take_answer(Answer(1, answer.number, b"three too"))
    one.asker.take_answer(Answer(1, answer.number, b""))
    assert await asking == [b"two knows x", b"three too"]
    one.asker.take_answer(answer)


async def test_a_silent_worker_is_waited_for_only_so_long(caplog):
    desk = Desk(seconds=0.01)
    assert await desk.asker.ask("name", b"x") == []
    assert "did not answer" in caplog.text


@pytest.mark.parametrize("topic", ["unheard of", "broken"])
def test_who_can_not_answer_says_so(topic, caplog):
    def broken(body: bytes) -> bytes:
        raise RuntimeError(body)

    desk = Desk(2)
    desk.asker.answer("broken", broken)
    with caplog.at_level(logging.ERROR):
        desk.asker.take_question(Ask(1, 7, msgspec.msgpack.encode(Question(topic, b"x"))))
    assert desk.only() == Answer(1, 7, b"")
    assert ("could not be answered" in caplog.text) == (topic == "broken")

"""Questions to the other workers, for what only the one that handled a request can know."""

import asyncio
import logging
from collections.abc import Callable

import msgspec
from msgspec import Struct

from nexus.app.workers.messages import Answer, Ask, Message

_log = logging.getLogger("nexus.app.workers")
_ANSWER_SECONDS = 1.0


class Question(Struct, frozen=True, array_like=True):
    """What is asked."""

    topic: str
    body: bytes


class _Open:
    """A question that waits for its end."""

    __slots__ = ("answers", "ended")

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.ended = asyncio.Event()


class Asker:
    """Asks the other workers and answers them; see `nexus.server.elsewhere`.

    A worker that does not answer within `seconds` is taken to know nothing.
    """

    def __init__(self, index: int, send: Callable[[Message], None], seconds: float = _ANSWER_SECONDS) -> None:
        self._index = index
        self._send = send
        self._seconds = seconds
        self._count = 0
        self._open: dict[int, _Open] = {}
        self._known: dict[str, Callable[[bytes], bytes]] = {}

    async def ask(self, topic: str, body: bytes) -> list[bytes]:
        """What the others know of it: one answer of each that knows something, in no order."""
        self._count += 1
        number, waiting = self._count, _Open()
        self._open[number] = waiting
        self._send(Ask(self._index, number, msgspec.msgpack.encode(Question(topic, body))))
        try:
            async with asyncio.timeout(self._seconds):
                await waiting.ended.wait()
        except TimeoutError:
            _log.warning("another worker did not answer a question about %r in time", topic)
        finally:
            del self._open[number]
        return waiting.answers

    def answer(self, topic: str, known: Callable[[bytes], bytes]) -> None:
        """Let `known` answer questions on a topic; it gives nothing where it knows nothing."""
        self._known[topic] = known

    def take_answer(self, answer: Answer) -> None:
        """Another worker's answer, or (empty) the word that all have answered. Late ones are ignored."""
        waiting = self._open.get(answer.number)
        if waiting is None:
            return
        if answer.body:
            waiting.answers.append(answer.body)
        else:
            waiting.ended.set()

    def take_question(self, ask: Ask) -> None:
        """Answer another worker."""
        question = msgspec.msgpack.decode(ask.body, type=Question)
        known = self._known.get(question.topic)
        body = b""
        if known is not None:
            try:
                body = known(question.body)
            except Exception:  # noqa: BLE001  # reason: the one who asks must get an answer, whatever is wrong here
                _log.exception("a question about %r could not be answered", question.topic)
        self._send(Answer(ask.sender, ask.number, body))

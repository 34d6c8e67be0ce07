"""Passes messages between workers, so that each of them hears of everything exactly once.

All messages go through here in one order. A worker that begins gets the picture of a worker that knows all,
then what the others have said since that picture was asked for: what came before is in it. What the painter
says itself until its picture arrives is in it too.
"""

from collections.abc import Callable

from nexus.app.workers.messages import (
    Answer,
    Ask,
    Batch,
    Found,
    Gone,
    Lead,
    Message,
    Picture,
    Wanted,
)


class _Member:
    """One worker. `painter` is whose picture it waits for; `informed`: it knows what all others know."""

    __slots__ = ("held", "informed", "painter", "send")

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.send = send
        self.informed = False
        self.painter = 0
        self.held: list[Message] = []


class Hub:
    """The order in which workers hear of each other. No I/O: `send` of each worker does that.

    `leader` is the worker that looks after what only one may, 0 while there is none.
    """

    def __init__(self) -> None:
        self.leader = 0
        self._members: dict[int, _Member] = {}
        self._asked: dict[tuple[int, int], set[int]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def join(self, index: int, send: Callable[[Message], None]) -> None:
        """A worker begins; it gets a picture, or is told that it is the first."""
        member = self._members[index] = _Member(send)
        self._inform(index, member)

    def leave(self, index: int) -> None:
        """A worker has ended; unknown ones are ignored."""
        if self._members.pop(index, None) is None:
            return
        self._tell_others(index, Gone(index))
        for key in [each for each, waiting in self._asked.items() if each[0] == index or index in waiting]:
            self._settle(key, index)
        for other, member in list(self._members.items()):
            if not member.informed and member.painter == index:
                self._inform(other, member)
        if self.leader == index:
            self._lead_anew()

    def batch(self, sender: int, body: bytes) -> None:
        """Pass on what a worker says of itself."""
        self._tell_others(sender, Batch(sender, body))

    def picture(self, sender: int, target: int, body: bytes) -> None:
        """Pass on a picture, and what the others said meanwhile. One that nobody waits for is dropped."""
        member = self._members.get(target)
        if member is None or member.informed or member.painter != sender:
            return
        member.informed = True
        member.send(Picture(target, body))
        held, member.held = member.held, []
        for message in held:
            member.send(message)

    def ask(self, sender: int, number: int, body: bytes) -> None:
        """Put a question to all others."""
        others = {index for index, each in self._members.items() if index != sender and each.informed}
        if not others:
            self._members[sender].send(Answer(sender, number, b""))
            return
        self._asked[(sender, number)] = others
        for index in others:
            self._members[index].send(Ask(sender, number, body))

    def answer(self, sender: int, asker: int, number: int, body: bytes) -> None:
        """Pass on an answer that says something; an empty one follows once all have answered."""
        key = (asker, number)
        if sender not in self._asked.get(key, ()):
            return
        if body:
            self._members[asker].send(Answer(asker, number, body))
        self._settle(key, sender)

    def tell_all(self, message: Message) -> None:
        """Say the same to every worker."""
        for member in self._members.values():
            member.send(message)

    def _settle(self, key: tuple[int, int], without: int) -> None:
        asker, number = key
        waiting = self._asked[key]
        waiting.discard(without)
        member = self._members.get(asker)
        if member is None:
            del self._asked[key]
        elif not waiting:
            del self._asked[key]
            member.send(Answer(asker, number, b""))

    def _inform(self, index: int, member: _Member) -> None:
        member.held.clear()
        painter = next((other for other, each in self._members.items() if each.informed), 0)
        if painter:
            member.painter = painter
            self._members[painter].send(Wanted(index))
            return
        member.informed = True
        self.leader = index
        member.send(Found())

    def _tell_others(self, sender: int, message: Message) -> None:
        for index, member in self._members.items():
            if index == sender:
                continue
            if member.informed:
                member.send(message)
            elif member.painter != sender:
                member.held.append(message)

    def _lead_anew(self) -> None:
        self.leader = next((index for index, each in self._members.items() if each.informed), 0)
        if self.leader:
            self._members[self.leader].send(Lead())

"""The hub tells every worker everything exactly once, whenever it begins and whoever ends meanwhile."""

import random

import pytest

from nexus.app.workers.hub import Hub
from nexus.app.workers.messages import Answer, Ask, Batch, Found, Gone, Lead, Message, Picture, Wanted


class Inbox:
    """A worker's end: what it was sent, in order."""

    def __init__(self, hub: Hub, index: int) -> None:
        self.got: list[Message] = []
        hub.join(index, self.got.append)

    def take(self) -> list[Message]:
        got = list(self.got)
        self.got.clear()
        return got


def test_the_first_worker_is_told_so_and_leads():
    hub = Hub()
    one = Inbox(hub, 1)
    assert one.take() == [Found()]
    assert hub.leader == 1
    assert len(hub) == 1


def test_a_worker_that_begins_hears_what_is_not_in_its_picture():
    """What others say after the picture was asked for comes after it; what the painter says is in it."""
    hub = Hub()
    one, two = Inbox(hub, 1), Inbox(hub, 2)
    assert one.take() == [Found(), Wanted(2)]
    hub.picture(1, 2, b"first")
    assert two.take() == [Picture(2, b"first")]
    three = Inbox(hub, 3)
    assert one.take() == [Wanted(3)]
    hub.batch(2, b"after the question")
    hub.batch(1, b"by the painter")
    assert three.take() == []
    hub.picture(1, 3, b"second")
    hub.batch(1, b"later")
    assert three.take() == [Picture(3, b"second"), Batch(2, b"after the question"), Batch(1, b"later")]
    assert two.take() == [Batch(1, b"by the painter"), Batch(1, b"later")]


def test_a_picture_nobody_waits_for_is_dropped():
    hub = Hub()
    one = Inbox(hub, 1)
    hub.picture(1, 9, b"for nobody")
    hub.picture(1, 1, b"for itself")
    assert one.take() == [Found()]


def test_when_the_painter_ends_another_one_is_asked():
    hub = Hub()
    one, two = Inbox(hub, 1), Inbox(hub, 2)
    hub.picture(1, 2, b"")
    three = Inbox(hub, 3)
    hub.batch(2, b"held")
    one.take(), two.take()
    hub.leave(1)
    assert two.take() == [Gone(1), Wanted(3), Lead()]
    assert hub.leader == 2
    hub.picture(1, 3, b"too late")
    hub.picture(2, 3, b"new")
    assert three.take() == [Picture(3, b"new")], "what was held is in the new picture"


def test_when_the_only_painter_ends_the_next_worker_is_the_first():
    hub = Hub()
    Inbox(hub, 1)
    two, three = Inbox(hub, 2), Inbox(hub, 3)
    hub.leave(1)
    assert two.take() == [Found(), Wanted(3)]
    assert three.take() == []
    assert hub.leader == 2
    hub.leave(2)
    hub.leave(2)
    assert three.take() == [Found()]
    hub.leave(3)
    assert hub.leader == 0


def test_answers_that_say_something_are_passed_on_and_then_their_end():
    hub = Hub()
    boxes = [Inbox(hub, index) for index in (1, 2, 3)]
    hub.picture(1, 2, b"")
    hub.picture(1, 3, b"")
    for box in boxes:
        box.take()
    hub.ask(1, 5, b"who?")
    assert boxes[1].take() == boxes[2].take() == [Ask(1, 5, b"who?")]
    hub.answer(2, 1, 5, b"")
    assert boxes[0].take() == []
    hub.answer(3, 1, 5, b"me")
    hub.answer(3, 1, 5, b"me again")
    assert boxes[0].take() == [Answer(1, 5, b"me"), Answer(1, 5, b"")]


@pytest.mark.parametrize("ending", [2, 1])
def test_a_question_ends_with_its_asker_and_does_not_wait_for_the_dead(ending):
    hub = Hub()
    one, two = Inbox(hub, 1), Inbox(hub, 2)
    hub.ask(1, 1, b"alone?")
    assert one.take()[-1] == Answer(1, 1, b"")
    hub.picture(1, 2, b"")
    hub.ask(1, 2, b"who?")
    one.take(), two.take()
    hub.leave(ending)
    assert one.take() == ([Gone(2), Answer(1, 2, b"")] if ending == 2 else [])
    hub.answer(2, 1, 2, b"late")
    assert one.take() == []


def test_all_are_told():
    hub = Hub()
    boxes = [Inbox(hub, index) for index in (1, 2)]
    hub.tell_all(Lead())
    assert [box.take()[-1] for box in boxes] == [Lead(), Lead()]


class Counter:
    """A worker that adds up numbers: its own and those it hears of. `said` notes all that is ever said."""

    def __init__(self, hub: Hub, index: int, said: list[int]) -> None:
        self.hub = hub
        self.index = index
        self.said = said
        self.total: int | None = None
        self.unsaid = 0
        self.inbox: list[Message] = []
        hub.join(index, self.inbox.append)

    def read(self) -> None:
        match self.inbox.pop(0):
            case Found():
                self.total = 0
            case Picture(body=body):
                self.total = int(body)
            case Wanted(target=target):
                self.say()
                self.hub.picture(self.index, target, str(self.total).encode())
            case Batch(body=body):
                assert self.total is not None
                self.total += int(body)

    def say(self) -> None:
        if self.total is not None and self.unsaid:
            self.total += self.unsaid
            self.said.append(self.unsaid)
            self.hub.batch(self.index, str(self.unsaid).encode())
            self.unsaid = 0

    def act(self, rng: random.Random) -> None:
        if rng.random() < 0.6:
            self.unsaid += rng.randrange(1, 9)
        if rng.random() < 0.5:
            self.say()
        while self.inbox and rng.random() < 0.7:
            self.read()


@pytest.mark.parametrize("seed", range(40))
def test_every_number_is_added_exactly_once_everywhere(seed):
    """Workers begin, count, speak, listen and die in any order; those alive at the end agree."""
    rng = random.Random(seed)
    hub = Hub()
    said: list[int] = []
    workers: dict[int, Counter] = {}
    for index in range(1, 60):
        if rng.random() < 0.3 or not workers:
            workers[index] = Counter(hub, index, said)
        for worker in list(workers.values()):
            worker.act(rng)
        if len(workers) > 2 and rng.random() < 0.15:
            del workers[dead := rng.choice(sorted(workers))]
            hub.leave(dead)
    while any(worker.inbox for worker in workers.values()):
        for worker in workers.values():
            while worker.inbox:
                worker.read()
    assert {worker.total for worker in workers.values()} == {sum(said)}

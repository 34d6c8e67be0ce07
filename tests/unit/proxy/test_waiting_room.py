"""The queue, in virtual time: who is called, in which order, and what is told of it."""

from nexus.core.request import Needs, Priority, Request, Surface
from nexus.proxy.waiting_room import WaitingRoom
from nexus.testing import ManualClock


class Somebody:
    """Waits, and takes a place when called (unless `takes` is off)."""

    def __init__(self, room: "Room", name: str, priority: Priority = Priority.NORMAL) -> None:
        self.request = Request(name, Surface.CHAT, "m", Needs(), 0.0, priority=priority)
        self.takes = True
        self.asked = 0
        self.away: list[float] = []
        self._room = room
        self._name = name

    def called(self) -> bool:
        self.asked += 1
        if self.takes:
            self._room.queue.leave(self, "a")
            self._room.served.append(self._name)
        return self.takes

    def turned_away(self, waited: float) -> None:
        self.away.append(waited)


class Room:
    """A waiting room on a manual clock."""

    def __init__(self, max_size: int = 100) -> None:
        self.clock = ManualClock()
        self.left: list[tuple[float, str | None]] = []
        self.served: list[str] = []
        self.queue = WaitingRoom(
            max_size=max_size,
            max_wait_seconds=30.0,
            clock=self.clock,
            on_leave=lambda seconds, backend: self.left.append((seconds, backend)),
        )

    def add(self, name: str, *, high: bool = False, backends: str = "a") -> Somebody:
        waiter = Somebody(self, name, Priority.HIGH if high else Priority.NORMAL)
        assert self.queue.enter(waiter, backends.split())
        return waiter


def test_first_come_first_served_and_high_priority_before_normal():
    room = Room()
    room.add("n1")
    room.add("n2")
    room.add("h1", high=True)
    room.add("h2", high=True)
    for _ in range(5):
        room.queue.freed("a")
    assert room.served == ["h1", "h2", "n1", "n2"]
    assert room.queue.depth == 0


def test_one_free_place_serves_one():
    room = Room()
    room.add("first")
    room.add("second")
    room.queue.freed("a")
    assert room.served == ["first"]
    assert room.queue.depth == 1


def test_who_waits_for_other_backends_is_not_asked():
    room = Room()
    other = room.add("other", backends="b c")
    room.add("mine", backends="a b")
    room.queue.freed("a")
    assert room.served == ["mine"]
    assert other.asked == 0


def test_who_can_not_use_the_place_does_not_block_those_behind():
    """Its constraints may exclude the backend that has become free."""
    room = Room()
    picky = room.add("picky")
    picky.takes = False
    room.add("next")
    room.queue.freed("a")
    assert room.served == ["next"]
    assert picky.asked == 1


def test_a_free_place_asks_a_bounded_number():
    room = Room()
    waiters = [room.add(str(number)) for number in range(50)]
    for waiter in waiters:
        waiter.takes = False
    room.queue.freed("a")
    assert sum(waiter.asked for waiter in waiters) == 32


def test_a_full_queue_takes_nobody():
    room = Room(max_size=1)
    room.add("first")
    assert not room.queue.enter(Somebody(room, "second"), ["a"])
    assert not Room(max_size=0).queue.enter(Somebody(room, "third"), ["a"])


def test_waits_are_reported_with_the_backend_or_none():
    room = Room()
    gone = room.add("gone")
    room.add("served")
    room.clock.advance(2.0)
    assert room.queue.leave(gone) == 2.0
    room.clock.advance(1.0)
    room.queue.freed("a")
    assert room.left == [(2.0, None), (3.0, "a")]
    assert room.queue.leave(gone) == 0.0, "leaving twice is leaving once"


def test_closing_turns_everybody_away():
    room = Room()
    one, two = room.add("one"), room.add("two", high=True)
    room.clock.advance(1.5)
    room.queue.close()
    assert (one.away, two.away) == ([1.5], [1.5])
    assert room.queue.depth == 0
    assert not room.queue.enter(Somebody(room, "late"), ["a"])


def test_a_sweep_asks_everybody_in_order():
    room = Room()
    room.queue.sweep()
    room.add("n")
    room.add("h", high=True)
    room.queue.sweep()
    assert room.served == ["h", "n"]


def test_the_estimate_follows_the_pace_of_late():
    room = Room()
    assert room.queue.estimate() == 1.0, "nobody waits: soon"
    for number in range(4):
        room.add(str(number))
    for _ in range(3):
        room.clock.advance(3.0)
        room.queue.freed("a")
    assert room.queue.estimate() == 6.0, "two times three seconds"
    room.clock.advance(20.0)
    assert room.queue.estimate() == 40.0, "nothing has moved for 20 seconds"
    room.clock.advance(10_000.0)
    assert room.queue.estimate() == 600.0

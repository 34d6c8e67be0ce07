"""A live feed of events for whoever watches: the demo's screen, a dashboard."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
_CAPACITY = 256


class FeedClosedError(Exception):
    """The subscription has ended and everything in it has been taken."""


class Subscription(Generic[T]):
    """One watcher's queue. A watcher that is too slow loses the oldest events; `dropped` counts them.

    A context manager: leaving it ends the subscription. One task may wait in `get` at a time.
    """

    def __init__(self, feed: "LiveFeed[T]", capacity: int) -> None:
        self.dropped = 0
        self._feed = feed
        self._events: deque[T] = deque(maxlen=capacity)
        self._arrived = asyncio.Event()
        self._closed = False

    def drain(self) -> list[T]:
        """Take everything that has come so far, without waiting."""
        events = list(self._events)
        self._events.clear()
        self._arrived.clear()
        return events

    async def get(self) -> T:
        """The next event, awaited if there is none; FeedClosedError after the end."""
        while not self._events:
            if self._closed:
                raise FeedClosedError("this subscription has ended")
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    def close(self) -> None:
        """End the subscription. What is queued can still be taken; a waiting `get` ends."""
        self._feed.unsubscribe(self)
        self._closed = True
        self._arrived.set()

    def offer(self, event: T) -> None:
        """Queue an event; called by the feed."""
        if len(self._events) == self._events.maxlen:
            self.dropped += 1
        self._events.append(event)
        self._arrived.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LiveFeed(Generic[T]):
    """Passes events to its subscriptions; without any, `publish` costs next to nothing.

    It belongs to one event loop: publish and subscribe on that loop.
    """

    def __init__(self) -> None:
        self._subscriptions: tuple[Subscription[T], ...] = ()

    @property
    def watched(self) -> bool:
        """Whether anybody is subscribed; saves making an event nobody sees."""
        return bool(self._subscriptions)

    def subscribe(self, capacity: int = _CAPACITY) -> Subscription[T]:
        """A new subscription that keeps at most `capacity` events (at least 1) for its watcher."""
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        subscription = Subscription(self, capacity)
        self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription[T]) -> None:
        """Stop passing events to it; nothing happens if it is not subscribed."""
        self._subscriptions = tuple(each for each in self._subscriptions if each is not subscription)

    def publish(self, event: T) -> None:
        """Pass an event to every subscription."""
        for subscription in self._subscriptions:
            subscription.offer(event)

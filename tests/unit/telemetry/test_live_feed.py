"""Watchers see events as they happen, and never hold up who publishes them."""

import asyncio

import pytest

from nexus.telemetry.feed import FeedClosedError, LiveFeed


def test_without_watchers_nothing_happens():
    """Events of the past are not kept."""
    feed: LiveFeed[int] = LiveFeed()
    feed.publish(1)
    watched = [feed.watched]
    with feed.subscribe() as watcher:
        watched.append(feed.watched)
        assert watcher.drain() == []
    assert watched == [False, True]


def test_every_watcher_gets_every_event():
    """From its subscription on, until it ends."""
    feed: LiveFeed[int] = LiveFeed()
    with feed.subscribe() as first:
        feed.publish(1)
        with feed.subscribe() as second:
            feed.publish(2)
        feed.publish(3)
        assert first.drain() == [1, 2, 3]
        assert second.drain() == [2]
        assert first.drain() == []
    assert not feed.watched


def test_a_slow_watcher_loses_the_oldest():
    """And learns how many."""
    feed: LiveFeed[int] = LiveFeed()
    slow, quick = feed.subscribe(capacity=2), feed.subscribe()
    for number in range(5):
        feed.publish(number)
    assert (slow.drain(), slow.dropped) == ([3, 4], 3)
    assert (quick.drain(), quick.dropped) == ([0, 1, 2, 3, 4], 0)


async def test_a_watcher_can_wait():
    """For one event at a time."""
    feed: LiveFeed[int] = LiveFeed()
    watcher = feed.subscribe()
    waiting = asyncio.create_task(watcher.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.publish(1)
    feed.publish(2)
    assert await waiting == 1
    assert await watcher.get() == 2


async def test_the_end_wakes_who_waits():
    """What is queued can still be taken."""
    feed: LiveFeed[int] = LiveFeed()
    watcher = feed.subscribe()
    waiting = asyncio.create_task(watcher.get())
    await asyncio.sleep(0)
    watcher.close()
    with pytest.raises(FeedClosedError):
        await waiting
    last = feed.subscribe()
    feed.publish(7)
    last.close()
    feed.publish(8)
    assert await last.get() == 7
    with pytest.raises(FeedClosedError):
        await last.get()


def test_a_watcher_may_leave_twice():
    """And while an event is passed around."""
    feed: LiveFeed[int] = LiveFeed()
    watcher = feed.subscribe()
    watcher.close()
    watcher.close()
    assert not feed.watched
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        feed.subscribe(capacity=0)

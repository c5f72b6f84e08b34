"""How many tasks live: counted now and then, by one query at a time."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import StoreUnavailable
from nodelink_server.core.levels import Levels
from nodelink_server.core.ports import LiveCounts
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.clock import LoopClock


class SlowStore(MemoryStore):
    """A database that takes its time to count, and notes how often it is asked."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Disk())
        self.asked = 0
        self.most_at_once = 0
        self.fails = False
        self._seconds = seconds
        self._counting = 0

    async def counts(self) -> LiveCounts:
        """How many live tasks there are."""
        self.asked += 1
        self._counting += 1
        self.most_at_once = max(self.most_at_once, self._counting)
        await asyncio.sleep(self._seconds)
        self._counting -= 1
        if self.fails:
            raise StoreUnavailable("the database is away")
        return LiveCounts(by_status={("pending", "default"): self.asked}, queued={})


async def read(levels: Levels) -> int:
    return (await levels.read()).by_status["pending", "default"]


async def test_what_is_counted_in_no_time_is_at_most_a_second_old() -> None:
    store = SlowStore(0)
    levels = Levels(store=store, clock=LoopClock())

    assert await read(levels) == 1
    await asyncio.sleep(0.9)
    assert await read(levels) == 1
    await asyncio.sleep(0.2)
    assert await read(levels) == 2


async def test_counting_takes_no_more_than_a_tenth_of_the_time() -> None:
    store = SlowStore(3)
    levels = Levels(store=store, clock=LoopClock())

    assert await read(levels) == 1
    await asyncio.sleep(29)
    assert await read(levels) == 1
    await asyncio.sleep(1.1)
    assert await read(levels) == 2


async def test_whoever_comes_while_they_are_counted_waits_for_that() -> None:
    store = SlowStore(5)
    levels = Levels(store=store, clock=LoopClock())

    found = await asyncio.gather(*[read(levels) for _ in range(50)])

    assert (found, store.asked, store.most_at_once) == ([1] * 50, 1, 1)


async def test_a_count_that_fails_or_is_given_up_is_made_by_the_next() -> None:
    store = SlowStore(5)
    levels = Levels(store=store, clock=LoopClock())
    store.fails = True
    with pytest.raises(StoreUnavailable):
        await levels.read()
    store.fails = False

    first, second = asyncio.ensure_future(read(levels)), asyncio.ensure_future(read(levels))
    await asyncio.sleep(1)
    first.cancel()

    assert await second == 3

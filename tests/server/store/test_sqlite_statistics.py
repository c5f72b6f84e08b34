"""Statistics of a real server in a real file: they outlive it, whether it ends well or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from nodelink_server.core.manager import TaskManager
from nodelink_server.core.statistics import HOUR_MS, MINUTE_MS, Grouping, StatsKey, StatsQuery, StatsRange
from nodelink_server.store import statistics
from nodelink_server.store.connections import writing_engine
from nodelink_server.store.schema import TASKS
from nodelink_server.store.sql import open_store
from nodelink_server.store.upgrade import bring_up
from tests.server.store.test_sqlite_plans import Watched
from tests.support.clock import LoopClock
from tests.support.core_parts import eventually, make_submission


class Killed(Exception):
    """The server is no more."""


@asynccontextmanager
async def server(path: Path) -> AsyncIterator[TaskManager]:
    """A server's core over a file. Left with an exception, it does nothing any more."""
    clock, ids = LoopClock(), count(1)
    async with open_store(f"sqlite:///{path}/nodelink.db", ids=lambda: "cluster") as store:
        manager = TaskManager(store=store, clock=clock, new_id=lambda: f"{clock.monotonic()}-{next(ids)}")
        await manager.restore()
        async with manager.running():
            yield manager


async def submit(manager: TaskManager, count: int) -> None:
    await manager.submit([make_submission(pool="p") for _ in range(count)])


async def created(manager: TaskManager) -> int:
    stats = await manager.stats(StatsQuery(by=Grouping.POOL))
    return sum(group.created for bucket in stats.buckets for group in bucket.groups if group.key == "p")


async def test_a_server_that_ends_well_loses_no_count(tmp_path: Path) -> None:
    for start in range(3):
        async with server(tmp_path) as manager:
            assert await created(manager) == 5 * start
            await submit(manager, 5)
            assert await created(manager) == 5 * start + 5


async def test_a_server_that_is_killed_keeps_every_count_that_was_committed(tmp_path: Path) -> None:
    async def live_and_die() -> None:
        async with server(tmp_path) as manager:
            await submit(manager, 5)
            await eventually(lambda: not manager.rooms.accounts.unwritten())
            raise Killed

    with pytest.raises(ExceptionGroup):
        await live_and_die()
    async with server(tmp_path) as manager:
        assert await created(manager) == 5


def test_statistics_are_ranges_of_their_key(tmp_path: Path) -> None:
    engine = writing_engine(tmp_path / "tasks.db")
    with engine.begin() as connection:
        bring_up(connection, TASKS)
        watched = Watched(connection)
        statistics.grouped(connection, StatsRange(since=0, until=HOUR_MS, step_ms=MINUTE_MS))
        statistics.merge(connection, before=HOUR_MS, series=5)
        statistics.forget(connection, before=HOUR_MS)
        for statement in (statistics._FIND, statistics._FORGET):
            connection.execute(statement, statistics._named(HOUR_MS, StatsKey(0, 0, "", "", "")))
    engine.dispose()

    plans = [line for statement, plan in watched.plans for line in plan if "statistics" in statement]
    assert list(watched.bad()) == []
    assert len(plans) == 7
    assert all("USING PRIMARY KEY (span_ms=? AND start" in line for line in plans)

"""Rows of statistics, over every store: written, added up, made coarser, forgotten."""

from __future__ import annotations

import random

import pytest

from nodelink.errors import InvalidTask
from nodelink_server.core.ports import Batch, Store
from nodelink_server.core.statistics import (
    HOUR_MS,
    MINUTE_MS,
    MOST_GROUPS,
    Counts,
    Grouping,
    StatsKey,
    StatsRange,
    StatsRow,
)
from nodelink_server.store.gathering import gather
from tests.server.store.conftest import Database

HOUR = 1_700_000_000_000 // HOUR_MS * HOUR_MS
FOR_EVER = 10**15
Found = dict[tuple[int, str], Counts]


def row(minute: int, *, created: int = 1, series: int = 1, type: str = "echo", agent: str = "") -> StatsRow:
    """So many tasks in the n-th minute."""
    counts = Counts()
    counts.created = created
    return StatsRow(StatsKey(HOUR + minute * MINUTE_MS, series, type, "default", agent), counts)


async def write(store: Store, *rows: StatsRow) -> None:
    await store.apply(Batch(now=0, control_ms=0, statistics=rows))


async def read(
    store: Store,
    *,
    since: int = HOUR - 10 * HOUR_MS,
    until: int = HOUR + 100 * HOUR_MS,
    step_ms: int = 200 * HOUR_MS,
    by: Grouping | None = None,
    without: frozenset[StatsKey] = frozenset(),
) -> Found:
    return dict(await store.statistics(StatsRange(since=since, until=until, step_ms=step_ms, by=by, without=without)))


async def coarsen(store: Store, *, before: int = FOR_EVER, series: int = 9, forget: int = 0, limit: int = 500) -> int:
    return await store.coarsen(before=before, series=series, forget_before=forget, limit=limit)


def created(found: Found) -> dict[tuple[int, str], int]:
    """How many tasks were created, by (minutes from the hour, group)."""
    return {((start - HOUR) // MINUTE_MS, group): counts.created for (start, group), counts in found.items()}


def numbers(counts: Counts) -> tuple[object, ...]:
    histograms = [(histogram.counts, round(histogram.sum, 3)) for histogram in (counts.queue, counts.run, counts.total)]
    return (counts.created, counts.assigned, counts.returned, counts.finished, *histograms)


def busy(chance: random.Random) -> Counts:
    """Counts of everything that can be counted."""
    counts = Counts()
    counts.created, counts.assigned, counts.returned = (chance.randrange(9) for _ in range(3))
    counts.finished = {"completed": chance.randrange(1, 9), chance.choice(["failed", "timeout"]): 1}
    for histogram in (counts.queue, counts.run, counts.total):
        for _ in range(chance.randrange(5)):
            histogram.observe(round(10 ** chance.uniform(-4, 5), 3))
    return counts


async def test_every_number_comes_back(store: Store) -> None:
    counts = busy(random.Random(1))
    await write(store, StatsRow(row(0).key, counts))

    [(_, found)] = (await read(store)).items()

    assert numbers(found) == numbers(counts)


async def test_writing_a_row_again_replaces_it(store: Store) -> None:
    await write(store, row(0, created=2))
    await write(store, row(0, created=5), row(0, created=1, series=2))

    assert list(created(await read(store)).values()) == [6]


async def test_rows_are_told_apart_by_what_is_asked_for(store: Store) -> None:
    await write(store, row(0, created=2, agent="a1"), row(0, created=3, type="shell", agent="a1"), row(1, created=4))

    def by_group(found: Found) -> dict[str, int]:
        return {group: counts.created for (_, group), counts in found.items()}

    assert by_group(await read(store, by=Grouping.AGENT)) == {"a1": 5, "": 4}
    assert by_group(await read(store, by=Grouping.TYPE)) == {"echo": 6, "shell": 3}
    assert by_group(await read(store, by=Grouping.POOL)) == {"default": 9}
    assert by_group(await read(store)) == {"": 9}


async def test_rows_fall_into_the_buckets_in_which_they_begin(store: Store) -> None:
    await write(store, *[row(minute, created=1) for minute in range(10)])

    found = await read(store, since=HOUR + MINUTE_MS, until=HOUR + 9 * MINUTE_MS, step_ms=3 * MINUTE_MS)

    assert created(found) == {(1, ""): 3, (4, ""): 3, (7, ""): 2}


async def test_rows_can_be_left_out(store: Store) -> None:
    await write(store, row(0, created=2), row(1, created=3))

    assert list(created(await read(store, without=frozenset({row(0).key}))).values()) == [3]


def test_an_answer_that_would_be_too_large_is_refused() -> None:
    rows = [row(minute) for minute in range(MOST_GROUPS + 1)]
    wanted = StatsRange(since=HOUR, until=FOR_EVER, step_ms=MINUTE_MS)

    def add(_counts: Counts, _more: Counts) -> None:
        """Nothing: how many groups there are is what matters."""

    assert len(gather(rows[:-1], wanted, add)) == MOST_GROUPS
    with pytest.raises(InvalidTask, match="step"):
        gather(rows, wanted, add)


async def test_coarser_rows_keep_every_number(store: Store) -> None:
    chance = random.Random(2)
    keys = [
        row(minute, series=series, type=type, agent=agent).key
        for minute in range(0, 180, 7)
        for series in (1, 2)
        for type in ("echo", "shell")
        for agent in ("", "a1", "a2")
    ]
    await write(store, *[StatsRow(key, busy(chance)) for key in keys])
    before = {by: await read(store, since=HOUR, step_ms=HOUR_MS, by=by) for by in (None, *Grouping)}

    assert await coarsen(store) == len(keys)

    for by, expected in before.items():
        found = await read(store, since=HOUR, step_ms=HOUR_MS, by=by)
        assert {k: numbers(c) for k, c in found.items()} == {k: numbers(c) for k, c in expected.items()}
    assert await coarsen(store) == 0


async def test_an_hour_that_is_made_coarser_in_parts_is_whole(store: Store) -> None:
    await write(store, *[row(minute, created=minute + 1) for minute in range(60)])

    assert await coarsen(store, before=HOUR + 20 * MINUTE_MS) == 20
    assert await coarsen(store) == 40

    assert created(await read(store, since=HOUR, step_ms=MINUTE_MS)) == {(0, ""): 60 * 61 // 2}


async def test_the_bucket_with_the_beginning_of_an_hour_gets_all_of_it(store: Store) -> None:
    await write(store, *[row(minute) for minute in (0, 30, 60, 90)])
    await coarsen(store, before=HOUR + HOUR_MS)

    found = await read(store, since=HOUR - 10 * MINUTE_MS, step_ms=20 * MINUTE_MS)

    assert created(found) == {(-10, ""): 2, (50, ""): 1, (90, ""): 1}


async def test_rows_that_may_still_grow_stay_as_they_are(store: Store) -> None:
    await write(store, row(0, series=1), row(0, series=2), row(5, series=1))

    assert await coarsen(store, before=HOUR + 5 * MINUTE_MS, series=1) == 1

    assert created(await read(store, since=HOUR, step_ms=MINUTE_MS)) == {(0, ""): 2, (5, ""): 1}


async def test_rows_are_made_coarser_in_small_steps(store: Store) -> None:
    await write(store, *[row(minute, type=f"t{number}") for minute in range(40) for number in range(10)])

    steps = [await coarsen(store, limit=100) for _ in range(5)]

    assert steps == [100, 100, 100, 100, 0]
    assert sum(created(await read(store)).values()) == 400


async def test_what_is_too_old_is_forgotten_minutes_and_hours_alike(store: Store) -> None:
    await write(store, row(0), row(59), row(60), row(70), row(200))
    await coarsen(store, before=HOUR + 2 * HOUR_MS)

    assert await coarsen(store, before=0, forget=HOUR + HOUR_MS) == 1
    assert created(await read(store, since=HOUR, step_ms=MINUTE_MS)) == {(60, ""): 2, (200, ""): 1}

    assert await coarsen(store, before=0, forget=HOUR + 201 * MINUTE_MS) == 2
    assert await read(store) == {}


async def test_rows_outlive_the_store(database: Database) -> None:
    async with database.open() as store:
        await store.boot(0)
        await write(store, row(0, created=7), row(60, created=1))
        await coarsen(store, before=HOUR + HOUR_MS)
    async with database.open() as store:
        assert created(await read(store, since=HOUR, step_ms=HOUR_MS)) == {(0, ""): 7, (60, ""): 1}

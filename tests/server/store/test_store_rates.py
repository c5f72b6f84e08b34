"""Rates, over every store: a start takes a place for a time, and whatever becomes of it, the place is taken so long."""

from __future__ import annotations

from dataclasses import replace

from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Change, RateUse, Store
from nodelink_server.core.task import Task, rate_key
from tests.server.store.conftest import Database
from tests.server.store.lives import (
    AGENT,
    NOW,
    accept,
    freeing,
    give_back,
    grant,
    live,
    put,
    settle,
    step,
    waiting,
)

RATE = rate_key("mail")
FIRST, SECOND = Hold(RATE, 0), Hold(RATE, 1)
LICENCE = Hold("licence")


def use(place: Hold = FIRST, *, since: int = 0, until: int = 100) -> RateUse:
    """A place under a rate, for some time."""
    return RateUse(place.key, place.place, since, until)


async def using(store: Store, task_id: str, *uses: RateUse) -> Task:
    """A granted task that has taken these places under rates."""
    return await step(store, grant(await live(store, waiting(task_id)), uses=uses))


async def is_taken(store: Store, task_id: str, *uses: RateUse) -> bool:
    """Try to grant a new task. Whether it was refused for want of a place."""
    receipt = await put(store, grant(await live(store, waiting(task_id)), uses=uses))
    assert bool(receipt.revisions[0]) is not bool(receipt.locked)
    return bool(receipt.locked)


async def used(store: Store) -> dict[Hold, int]:
    return dict((await store.boot(NOW)).rates)


async def until_moment(store: Store, control: int) -> None:
    """Let the database know that it is later."""
    await put(store, now=NOW + control)


async def test_a_place_is_taken_until_its_time_is_over(store: Store) -> None:
    await using(store, "t1", use(since=0, until=100))

    assert await is_taken(store, "t2", use(since=0, until=100))
    assert await is_taken(store, "t3", use(since=99, until=199))
    assert not await is_taken(store, "t4", use(since=100, until=200))
    assert await is_taken(store, "t5", use(since=199, until=299))


async def test_each_place_and_each_rate_is_taken_by_itself(store: Store) -> None:
    await using(store, "t1", use(FIRST))

    assert not await is_taken(store, "t2", use(SECOND))
    assert not await is_taken(store, "t3", use(Hold(rate_key("paper"), 0)))
    assert await used(store) == {FIRST: 100, SECOND: 100, Hold(rate_key("paper"), 0): 100}


async def test_who_started_need_not_be_there_any_more(store: Store) -> None:
    """Not even the task itself starts again within the time."""
    task = await step(store, give_back(await using(store, "t1", use())))
    ended = await using(store, "t2", use(SECOND))
    await step(store, settle(ended, begun=False))

    receipt = await put(store, grant(task, fence=101, uses=[use(since=50, until=150)]))

    assert receipt.locked == {0}
    assert await used(store) == {FIRST: 100, SECOND: 100}


async def test_a_new_task_may_start_in_the_commit_that_accepts_it(store: Store) -> None:
    def started(task_id: str) -> Change:
        task = moves.granted(waiting(task_id), agent_id=AGENT, session=1, fence=1, now=NOW)
        return replace(accept(task), uses=(use(),))

    receipt = await put(store, started("t1"), started("t2"))

    assert ([revision > 0 for revision in receipt.revisions], set(receipt.locked)) == ([True, False], {1})
    assert await store.find(["t2"]) == []


async def test_of_several_that_start_in_one_batch_each_needs_a_place_and_neighbours_are_not_harmed(
    store: Store,
) -> None:
    tasks = [await live(store, waiting(f"t{number}")) for number in range(4)]
    first, second, third, fourth = tasks

    receipt = await put(
        store,
        grant(first, uses=[use(FIRST)]),
        grant(second, uses=[use(FIRST)]),
        grant(third, uses=[use(SECOND)]),
        grant(fourth, uses=[use(SECOND, since=100, until=200)]),
        accept(waiting("t5")),
    )

    assert [revision > 0 for revision in receipt.revisions] == [True, False, True, True, True]
    assert (receipt.locked, receipt.replays) == (frozenset({1}), {})
    assert await store.find(["t1"]) == [second]
    assert await used(store) == {FIRST: 100, SECOND: 200}


async def test_a_start_takes_places_of_limits_and_rates_together_or_none(store: Store) -> None:
    holder = await step(store, grant(await live(store, waiting("t1")), takes=[LICENCE]))
    second = await live(store, waiting("t2"))

    receipt = await put(store, grant(second, takes=[LICENCE], uses=[use()]))

    assert receipt.locked == {0}
    assert await used(store) == {}

    await using(store, "t3", use())
    receipt = await put(store, freeing(settle(holder, begun=False)), grant(second, takes=[LICENCE], uses=[use()]))

    assert ([revision > 0 for revision in receipt.revisions], set(receipt.locked)) == ([True, False], {1})
    assert (await store.boot(NOW)).holds == {}


async def test_a_stale_start_takes_no_place(store: Store) -> None:
    task = await live(store, waiting("t1"))
    await step(store, grant(task))

    receipt = await put(store, grant(task, fence=101, uses=[use()]))

    assert (list(receipt.revisions), receipt.locked) == ([0], frozenset())
    assert await used(store) == {}


async def test_a_start_may_take_places_of_several_rates(store: Store) -> None:
    paper = Hold(rate_key("paper"), 3)
    await using(store, "t1", use(FIRST, until=100), use(paper, until=50))

    assert await is_taken(store, "t2", use(FIRST, since=60, until=160), use(paper, since=60, until=110))
    assert await used(store) == {FIRST: 100, paper: 50}
    assert not await is_taken(store, "t3", use(SECOND, since=60, until=160), use(paper, since=60, until=110))


async def test_what_is_taken_still_is_known_after_a_restart(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        await using(store, "t1", use(FIRST, until=100))
        await using(store, "t2", use(SECOND, until=101))
        await until_moment(store, 100)

    async with database.open() as store:
        assert await used(store) == {SECOND: 101}


async def test_a_sweep_forgets_what_is_free_again_and_nothing_else(store: Store) -> None:
    await using(store, "t1", use(FIRST, until=100))
    await using(store, "t2", use(SECOND, until=101))
    await until_moment(store, 100)

    await store.sweep(finished_before=0, events_before=0, keys_before=0, sessions_before=0, limit=10)

    assert await used(store) == {SECOND: 101}
    assert await is_taken(store, "t3", use(SECOND, since=100, until=200))
    assert not await is_taken(store, "t4", use(FIRST, since=100, until=200))

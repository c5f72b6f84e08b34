"""Places, over every store: limits have several, tasks take several at once, and people set limits by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodelink.task import TaskStatus
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Change, Store
from nodelink_server.core.task import Task
from tests.server.store.conftest import Database
from tests.server.store.lives import (
    AGENT,
    NOW,
    accept,
    doubt,
    exclusive,
    fail,
    freeing,
    give_back,
    grant,
    live,
    lose,
    put,
    run_again,
    settle,
    start,
    step,
    waiting,
)

FIRST, SECOND, THIRD = Hold("licence", 0), Hold("licence", 1), Hold("licence", 2)
LOCK = Hold("database")


async def granted(store: Store, task_id: str, *holds: Hold) -> Task:
    """A granted task that has these places."""
    return await step(store, grant(await live(store, waiting(task_id)), takes=holds))


async def holders(store: Store) -> dict[Hold, str]:
    return dict((await store.boot(NOW)).holds)


async def test_each_place_of_a_key_has_a_holder_of_its_own(store: Store) -> None:
    for task_id, place in (("t1", FIRST), ("t2", SECOND), ("t3", LOCK)):
        await granted(store, task_id, place)

    assert await holders(store) == {FIRST: "t1", SECOND: "t2", LOCK: "t3"}


async def test_a_task_may_take_places_of_several_keys_and_frees_them_together(store: Store) -> None:
    task = await granted(store, "t1", LOCK, SECOND, Hold("\x1frunning", 7))
    await granted(store, "t2", FIRST)
    assert await holders(store) == {LOCK: "t1", SECOND: "t1", Hold("\x1frunning", 7): "t1", FIRST: "t2"}

    await step(store, freeing(settle(task, begun=False)))

    assert await holders(store) == {FIRST: "t2"}


async def test_places_are_known_after_a_restart(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        await granted(store, "t1", LOCK, SECOND)

    async with database.open() as store:
        boot = await store.boot(NOW)

    assert boot.holds == {LOCK: "t1", SECOND: "t1"}
    assert [task.attempt.holds for task in boot.granted if task.attempt is not None] == [(LOCK, SECOND)]


async def test_an_attempt_knows_its_places_until_it_is_left_behind(store: Store) -> None:
    task = await granted(store, "t1", LOCK, THIRD)
    for move in (start, doubt):
        task = await step(store, move(task))
        record = await store.read("t1")
        assert record is not None
        assert record.task.attempt is not None
        assert record.task.attempt.holds == (LOCK, THIRD)

    task = await step(store, freeing(run_again(task)))

    record = await store.read("t1")
    assert record is not None
    assert record.task.attempt is None
    assert [one.attempt.holds for one in record.earlier] == [()]
    assert await holders(store) == {}


async def test_one_that_ended_still_says_which_places_it_had(store: Store) -> None:
    task = await granted(store, "t1", SECOND)

    await step(store, freeing(settle(task, begun=False)))

    record = await store.read("t1")
    assert record is not None
    assert record.task.attempt is not None
    assert record.task.attempt.holds == (SECOND,)


async def test_a_new_task_may_take_places_in_the_commit_that_accepts_it(store: Store) -> None:
    def granted_at_once(task_id: str, *holds: Hold) -> Change:
        task = moves.granted(waiting(task_id), agent_id=AGENT, session=1, fence=1, now=NOW, holds=holds)
        return replace(accept(task), takes=holds)

    changes = [granted_at_once("t1", FIRST, LOCK), granted_at_once("t2", SECOND), granted_at_once("t3", SECOND)]

    receipt = await put(store, *changes)

    assert [revision > 0 for revision in receipt.revisions] == [True, True, False]
    assert receipt.locked == {2}
    assert await holders(store) == {FIRST: "t1", LOCK: "t1", SECOND: "t2"}
    assert await store.find(["t1"]) == [changes[0].task]


@pytest.mark.parametrize("taken", [FIRST, LOCK])
async def test_one_place_that_is_taken_is_enough_to_be_refused_and_harms_no_neighbour(
    store: Store, taken: Hold
) -> None:
    await granted(store, "t1", taken)
    second, third = await live(store, waiting("t2")), await live(store, waiting("t3"))

    receipt = await put(store, grant(second, takes=[FIRST, LOCK]), grant(third, takes=[THIRD]), accept(waiting("t4")))

    assert [revision > 0 for revision in receipt.revisions] == [False, True, True]
    assert (receipt.locked, receipt.replays) == (frozenset({0}), {})
    assert {event.task_id for event in receipt.events} == {"t3", "t4"}
    assert await store.find(["t2"]) == [second]
    assert await holders(store) == {taken: "t1", THIRD: "t3"}


async def test_who_is_refused_leaves_the_places_that_were_free_to_those_behind_it(store: Store) -> None:
    await granted(store, "t1", LOCK)
    second, third = await live(store, waiting("t2")), await live(store, waiting("t3"))

    receipt = await put(store, grant(second, takes=[LOCK, FIRST]), grant(third, takes=[FIRST]))

    assert ([revision > 0 for revision in receipt.revisions], set(receipt.locked)) == ([False, True], {0})
    assert await holders(store) == {LOCK: "t1", FIRST: "t3"}


async def test_places_are_handed_over_within_a_batch(store: Store) -> None:
    first, second = await granted(store, "t1", FIRST, LOCK), await granted(store, "t2", SECOND)
    third, fourth = await live(store, waiting("t3")), await live(store, waiting("t4"))

    receipt = await put(
        store,
        freeing(settle(first, begun=False)),
        grant(third, takes=[LOCK]),
        freeing(give_back(second)),
        grant(fourth, takes=[SECOND, FIRST]),
    )

    assert (all(receipt.revisions), receipt.locked) == (True, frozenset())
    assert await holders(store) == {LOCK: "t3", SECOND: "t4", FIRST: "t4"}


async def test_what_is_freed_later_in_a_batch_was_taken_too_early_place_by_place(store: Store) -> None:
    first, second = await granted(store, "t1", FIRST, LOCK), await granted(store, "t2", SECOND)
    third, fourth, fifth = [await live(store, waiting(task_id)) for task_id in ("t3", "t4", "t5")]

    receipt = await put(
        store,
        freeing(settle(second, begun=False)),
        grant(third, takes=[SECOND, FIRST]),
        freeing(settle(first, begun=False)),
        grant(fourth, takes=[FIRST, SECOND]),
        grant(fifth, takes=[LOCK]),
    )

    assert [revision > 0 for revision in receipt.revisions] == [True, False, True, True, True]
    assert receipt.locked == {1}
    assert await holders(store) == {FIRST: "t4", SECOND: "t4", LOCK: "t5"}


async def test_of_those_that_want_some_of_the_same_places_in_one_batch_the_first_gets_all(store: Store) -> None:
    first, second, third = [await live(store, waiting(task_id)) for task_id in ("t1", "t2", "t3")]

    receipt = await put(
        store, grant(first, takes=[FIRST, LOCK]), grant(second, takes=[SECOND, LOCK]), grant(third, takes=[SECOND])
    )

    assert ([revision > 0 for revision in receipt.revisions], set(receipt.locked)) == ([True, False, True], {1})
    assert await holders(store) == {FIRST: "t1", LOCK: "t1", SECOND: "t3"}


async def test_a_place_goes_round_within_a_batch(store: Store) -> None:
    """Two tasks change places: each takes what the other has freed before."""
    first, second = await granted(store, "t1", FIRST), await granted(store, "t2", SECOND)
    waiting_first, waiting_second = await live(store, waiting("t3")), await live(store, waiting("t4"))

    receipt = await put(
        store,
        freeing(lose(first)),
        freeing(fail(second, begun=False)),
        grant(waiting_first, takes=[SECOND]),
        grant(waiting_second, takes=[FIRST]),
    )

    assert all(receipt.revisions)
    assert await holders(store) == {FIRST: "t4", SECOND: "t3"}


async def test_only_what_is_its_own_is_freed(store: Store) -> None:
    first, second = await granted(store, "t1", FIRST), await granted(store, "t2", SECOND)

    await put(store, replace(settle(first, begun=False), frees=(FIRST, SECOND, THIRD)))

    assert await holders(store) == {SECOND: "t2"}
    await step(store, freeing(settle(second, begun=False)))
    assert await holders(store) == {}


async def test_a_task_with_many_places_and_many_tasks_with_one(store: Store) -> None:
    wide = [Hold("wide", place) for place in range(300)]
    await granted(store, "wide", *wide)
    tasks = [await live(store, waiting(f"t{number}")) for number in range(300)]
    await put(store, *[grant(task, takes=[Hold("many", place)]) for place, task in enumerate(tasks)])
    assert len(await holders(store)) == 600

    found = await store.find([task.id for task in tasks[1:]])
    receipt = await put(store, *[freeing(settle(task, begun=False)) for task in found])

    assert all(receipt.revisions)
    assert await holders(store) == {**dict.fromkeys(wide, "wide"), Hold("many", 0): "t0"}


async def test_a_stale_change_neither_takes_nor_frees_any_place(store: Store) -> None:
    first, second = await granted(store, "t1", FIRST, LOCK), await live(store, waiting("t2"))
    await step(store, grant(second))

    receipt = await put(
        store, replace(freeing(settle(first, begun=False)), expected=1), grant(second, takes=[FIRST, SECOND])
    )

    assert (list(receipt.revisions), receipt.locked) == ([0, 0], frozenset())
    assert await holders(store) == {FIRST: "t1", LOCK: "t1"}


async def test_the_places_of_a_task_that_is_gone_are_free(store: Store) -> None:
    """Whoever forgets to free them."""
    task = await granted(store, "t1", FIRST, LOCK)
    await step(store, settle(task, begun=False))
    assert await holders(store) == {FIRST: "t1", LOCK: "t1"}

    await store.sweep(finished_before=NOW + 99, events_before=0, keys_before=0, sessions_before=0, limit=10)

    assert await holders(store) == {}


async def test_a_task_with_a_lock_is_read_back_with_its_place_in_every_status(store: Store) -> None:
    task = await step(store, grant(await live(store, exclusive("t1", lock="database")), takes=[LOCK]))

    boot = await store.boot(NOW)

    assert [(one.status, one.attempt) for one in boot.granted] == [(TaskStatus.SENT, task.attempt)]


async def test_limits_are_set_changed_and_removed_by_name(store: Store) -> None:
    await store.set_limit("running", 5, NOW)
    await store.set_limit("pool:gpu", 0, NOW + 1)
    await store.set_limit("key:ключ", 2**40, NOW + 2)
    assert (await store.boot(NOW)).limits == {"running": 5, "pool:gpu": 0, "key:ключ": 2**40}

    await store.set_limit("running", 7, NOW + 3)
    await store.set_limit("pool:gpu", None, NOW + 4)
    await store.set_limit("nobody's", None, NOW + 5)

    assert (await store.boot(NOW)).limits == {"running": 7, "key:ключ": 2**40}


async def test_limits_are_known_after_a_restart(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        assert (await store.boot(NOW)).limits == {}
        await store.set_limit("type:deploy", 3, NOW)

    async with database.open() as store:
        assert (await store.boot(NOW)).limits == {"type:deploy": 3}


async def test_a_limit_refuses_nothing_by_itself(store: Store) -> None:
    """Who counts is the core: the database only says whose a place is."""
    await store.set_limit("key:licence", 1, NOW)

    await granted(store, "t1", FIRST)
    await granted(store, "t2", SECOND)

    assert await holders(store) == {FIRST: "t1", SECOND: "t2"}

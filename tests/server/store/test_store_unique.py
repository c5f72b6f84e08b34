"""Unique keys, over every store: of the live tasks at most one has a key, whatever comes in one batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Change, EventName, IdempotencyKey, Receipt, Replay, Store
from nodelink_server.core.task import Task
from tests.server.store.conftest import Database
from tests.server.store.lives import (
    AGENT,
    NOW,
    accept,
    after,
    cancel,
    fail,
    grant,
    live,
    new,
    put,
    ready_again,
    settle,
    start,
    step,
    stop,
    waiting,
)

KEY = "nightly"


def unique(task_id: str, *, key: str = KEY) -> Change:
    """A new task that waits, and is to be the only live one with its key."""
    return accept(waiting(task_id, unique_key=key))


def give_up(task: Task) -> Change:
    """A live task whose key is to be another's."""
    return after(task, moves.key_given_up(task))


async def running(store: Store, task_id: str) -> Task:
    """A task with the key, and with an agent."""
    return await step(store, start(await step(store, grant(await live(store, waiting(task_id, unique_key=KEY))))))


async def cancelling(store: Store, task_id: str) -> Task:
    """The same, which is to stop."""
    return await step(store, stop(await running(store, task_id)))


async def idle(store: Store, task_id: str) -> Task:
    """A task with the key that waits."""
    return await live(store, waiting(task_id, unique_key=KEY))


async def owner(store: Store) -> str:
    """Who has the key: the task with which a new one clashes."""
    receipt = await put(store, unique("probe"))
    return receipt.clashes[0]


def taken(receipt: Receipt) -> list[bool]:
    return [revision > 0 for revision in receipt.revisions]


async def test_of_the_live_tasks_one_has_a_key_and_its_neighbours_are_not_harmed(store: Store) -> None:
    await put(store, unique("t1"))

    receipt = await put(store, accept(waiting("t2")), unique("t3"), unique("t4", key="weekly"))

    assert taken(receipt) == [True, False, True]
    assert (receipt.clashes, receipt.replays, receipt.locked) == ({1: "t1"}, {}, frozenset())
    assert {event.task_id for event in receipt.events} == {"t2", "t4"}
    assert await store.find(["t3"]) == []


async def test_of_those_in_one_batch_the_first_gets_the_key(store: Store) -> None:
    receipt = await put(store, unique("t1"), unique("t2"), unique("t3"))

    assert taken(receipt) == [True, False, False]
    assert receipt.clashes == {1: "t1", 2: "t1"}


async def test_a_key_is_held_while_its_task_waits_runs_is_tried_again_and_is_being_stopped(store: Store) -> None:
    task = await live(store, moves.scheduled(new("t1", unique_key=KEY, delay_ms=5), due_at=NOW + 5))
    assert await owner(store) == "t1"

    for make in (ready_again, grant, start, fail, ready_again, grant, stop):
        task = await step(store, make(task))
        assert await owner(store) == "t1", task.status

    await step(store, settle(task))
    assert taken(await put(store, unique("t2"))) == [True]


async def test_a_key_is_held_over_a_restart(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        await running(store, "t1")
    async with database.open() as store:
        await store.boot(NOW)
        assert await owner(store) == "t1"


@pytest.mark.parametrize("begin, end", [(idle, cancel), (running, settle), (cancelling, settle)])
async def test_a_key_whose_task_ends_in_a_batch_can_be_claimed_later_in_it(
    store: Store, begin: Callable[[Store, str], Awaitable[Task]], end: Callable[[Task], Change]
) -> None:
    first = await begin(store, "t1")

    receipt = await put(store, end(first), unique("t2"))

    assert (taken(receipt), receipt.clashes) == ([True, True], {})
    assert await owner(store) == "t2"


@pytest.mark.parametrize("begin, end", [(idle, cancel), (running, settle), (running, give_up)])
async def test_a_key_whose_task_yields_it_later_in_a_batch_was_claimed_too_early(
    store: Store, begin: Callable[[Store, str], Awaitable[Task]], end: Callable[[Task], Change]
) -> None:
    first = await begin(store, "t1")

    receipt = await put(store, unique("t2"), end(first))

    assert (taken(receipt), receipt.clashes) == ([False, True], {0: "t1"})
    assert taken(await put(store, unique("t3"))) == [True]


async def test_a_task_that_gives_its_key_up_lives_on_without_it(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        first = await running(store, "t1")
        receipt = await put(store, give_up(first), unique("t2"))
        assert taken(receipt) == [True, True]
    async with database.open() as store:
        boot = await store.boot(NOW)
        [first] = boot.granted
        assert (first.unique_key, first.spec.unique_key, first.given_up_key) == ("", KEY, True)
        [second] = await store.find(["t2"])
        assert (second.unique_key, second.given_up_key) == (KEY, False)

        await step(store, settle(first))
        assert await owner(store) == "t2"


async def test_what_has_given_its_key_up_can_end_in_the_batch_in_which_the_next_one_claims_it(store: Store) -> None:
    first = await running(store, "t1")
    second = unique("t2")
    await put(store, give_up(first), second)
    await step(store, cancel(second.task))
    [first] = await store.find(["t1"])

    receipt = await put(store, unique("t3"), settle(first), unique("t4"))

    assert (taken(receipt), receipt.clashes) == ([True, True, False], {2: "t3"})
    assert await owner(store) == "t3"


async def test_a_stale_end_frees_no_key(store: Store) -> None:
    first = await running(store, "t1")

    receipt = await put(store, replace(settle(first), expected=first.revision - 1), unique("t2"))

    assert (taken(receipt), receipt.clashes) == ([False, False], {1: "t1"})


async def test_a_stale_wish_gives_up_no_key(store: Store) -> None:
    first = await running(store, "t1")

    receipt = await put(store, replace(give_up(first), expected=first.revision - 1), unique("t2"))

    assert (taken(receipt), receipt.clashes) == ([False, False], {1: "t1"})
    assert (await store.find(["t1"]))[0].unique_key == KEY


async def test_what_has_ended_before_it_comes_in_needs_no_key(store: Store) -> None:
    skipped = moves.skipped(new("t2", unique_key=KEY), now=NOW)
    over = Change(task=skipped, expected=0, events=(EventName.TASK_CREATED, EventName.TASK_SKIPPED))
    await put(store, unique("t1"))

    assert taken(await put(store, over)) == [True]

    [found] = await store.find(["t2"])
    assert (found.spec.unique_key, found.unique_key, found.given_up_key) == (KEY, "", False)
    assert await owner(store) == "t1"


async def test_what_was_accepted_before_is_answered_so_whoever_has_its_key(store: Store) -> None:
    named = IdempotencyKey(caller="local", key="k", digest=b"body")
    await put(store, accept(waiting("t1", unique_key=KEY), idempotency=named))

    receipt = await put(store, accept(waiting("t2", unique_key=KEY), idempotency=named))

    assert (receipt.replays, receipt.clashes) == ({0: Replay("t1", True)}, {})


async def test_who_does_not_get_its_key_does_not_claim_an_idempotency_key(store: Store) -> None:
    named = IdempotencyKey(caller="local", key="k", digest=b"body")
    await put(store, unique("t1"))

    receipt = await put(
        store,
        accept(waiting("t2", unique_key=KEY), idempotency=named),
        accept(waiting("t3"), idempotency=named),
    )

    assert (taken(receipt), receipt.clashes, receipt.replays) == ([False, True], {0: "t1"}, {})


async def test_who_yields_for_the_sake_of_what_was_accepted_before_does_not_yield(store: Store) -> None:
    """Or a task would have made place for another that does not come in."""
    first = await running(store, "t1")
    named = IdempotencyKey(caller="local", key="k", digest=b"body")
    other = IdempotencyKey(caller="local", key="k", digest=b"other")

    receipt = await put(
        store,
        accept(waiting("t2"), idempotency=named),
        replace(give_up(first), idempotency=other),
        accept(waiting("t3", unique_key=KEY), idempotency=other),
    )

    assert (taken(receipt), receipt.clashes) == ([True, False, False], {})
    assert receipt.replays == {1: Replay("t2", False), 2: Replay("t2", False)}
    assert await owner(store) == "t1"


async def test_who_yields_for_the_sake_of_another_does_not_have_its_idempotency_key(store: Store) -> None:
    first = await running(store, "t1")
    named = IdempotencyKey(caller="local", key="k", digest=b"body")

    receipt = await put(
        store,
        replace(give_up(first), idempotency=named),
        accept(waiting("t2", unique_key=KEY), idempotency=named),
    )

    assert (taken(receipt), receipt.replays) == ([True, True], {})
    assert (await put(store, accept(waiting("t3"), idempotency=named))).replays == {0: Replay("t2", True)}


async def test_who_has_neither_its_key_nor_its_place_lacks_the_key(store: Store) -> None:
    await step(store, grant(await idle(store, "t1"), takes=(Hold("lock"),)))
    second = moves.granted(waiting("t2", unique_key=KEY), agent_id=AGENT, session=1, fence=1, now=NOW)

    receipt = await put(store, replace(accept(second), takes=(Hold("lock"),)))

    assert (receipt.clashes, receipt.locked) == ({0: "t1"}, frozenset())


async def test_many_keys_are_handed_on_in_one_batch(store: Store) -> None:
    first = [waiting(f"a{number}", unique_key=f"k{number}") for number in range(150)]
    await put(store, *map(accept, first))
    second = [unique(f"b{number}", key=f"k{number}") for number in range(150)]

    receipt = await put(store, *map(cancel, first), *second)
    assert (all(receipt.revisions), receipt.clashes) == (True, {})

    receipt = await put(store, *[unique(f"c{number}", key=f"k{number}") for number in range(150)])
    assert receipt.clashes == {number: f"b{number}" for number in range(150)}


async def test_a_key_is_free_when_its_task_has_left_the_database(store: Store) -> None:
    await step(store, settle(await running(store, "t1")))
    await store.sweep(finished_before=NOW + 99, events_before=0, keys_before=0, sessions_before=0, limit=10)

    assert taken(await put(store, unique("t2"))) == [True]

"""Locks, over every store: one task holds a lock, from the commit that takes it to the commit that frees it."""

from __future__ import annotations

from dataclasses import replace

from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Change, IdempotencyKey, Replay, Store
from nodelink_server.core.task import Task
from tests.server.store.conftest import Database
from tests.server.store.lives import (
    AGENT,
    NOW,
    accept,
    agent,
    cancel,
    doubt,
    exclusive,
    give_back,
    grant,
    live,
    new,
    put,
    run_again,
    settle,
    step,
    waiting,
)

LOCK = "database"
PLACE = Hold(LOCK)


def free(change: Change) -> Change:
    """The same, at whose end the lock is free."""
    return replace(change, frees=(PLACE,))


def take(change: Change) -> Change:
    """The same, which takes the lock."""
    return replace(change, takes=(PLACE,))


async def holding(store: Store, task_id: str) -> Task:
    """A granted task that holds the lock."""
    return await step(store, grant(await live(store, exclusive(task_id, lock=LOCK)), takes=[PLACE]))


async def holders(store: Store) -> dict[Hold, str]:
    return dict((await store.boot(NOW)).holds)


async def test_a_lock_is_held_from_the_commit_that_takes_it_to_the_one_that_frees_it(store: Store) -> None:
    task = await holding(store, "t1")
    assert await holders(store) == {PLACE: "t1"}

    await step(store, free(settle(task, begun=False)))

    assert await holders(store) == {}


async def test_locks_are_known_after_a_restart(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        await holding(store, "t1")
        other = await live(store, exclusive("t2"))
        await step(store, grant(other, takes=[Hold(other.lock)]))

    async with database.open() as store:
        assert await holders(store) == {PLACE: "t1", Hold("task:t2"): "t2"}


async def test_what_another_task_holds_is_not_taken_and_its_neighbours_are_not_harmed(store: Store) -> None:
    await holding(store, "t1")
    second, third = await live(store, exclusive("t2", lock=LOCK)), await live(store, waiting("t3"))

    receipt = await put(store, grant(third), grant(second, takes=[PLACE]), accept(waiting("t4")))

    assert [revision > 0 for revision in receipt.revisions] == [True, False, True]
    assert (receipt.locked, receipt.replays) == (frozenset({1}), {})
    assert {event.task_id for event in receipt.events} == {"t3", "t4"}
    assert await store.find(["t2"]) == [second]
    assert await holders(store) == {PLACE: "t1"}


async def test_a_new_task_may_take_its_lock_in_the_commit_that_accepts_it(store: Store) -> None:
    first, second = (
        moves.granted(exclusive(task_id, lock=LOCK), agent_id=AGENT, session=1, fence=1, now=NOW)
        for task_id in ("t1", "t2")
    )

    receipts = [await put(store, take(accept(task))) for task in (first, second)]

    assert [receipt.locked for receipt in receipts] == [frozenset(), frozenset({0})]
    assert await store.find(["t2"]) == []
    assert await holders(store) == {PLACE: "t1"}


async def test_a_task_may_take_what_it_holds(store: Store) -> None:
    task = await holding(store, "t1")

    receipt = await put(store, take(give_back(task)))

    assert (receipt.revisions[0] > 0, receipt.locked) == (True, frozenset())
    assert await holders(store) == {PLACE: "t1"}


async def test_of_two_that_take_a_lock_in_one_batch_the_first_gets_it(store: Store) -> None:
    tasks = [await live(store, exclusive(f"t{number}", lock=LOCK)) for number in range(3)]

    receipt = await put(store, *[grant(task, takes=[PLACE]) for task in tasks])

    assert [revision > 0 for revision in receipt.revisions] == [True, False, False]
    assert receipt.locked == {1, 2}
    assert await holders(store) == {PLACE: "t0"}


async def test_a_lock_that_is_freed_in_a_batch_can_be_taken_later_in_it(store: Store) -> None:
    first, second = await holding(store, "t1"), await live(store, exclusive("t2", lock=LOCK))

    receipt = await put(store, free(settle(first, begun=False)), grant(second, takes=[PLACE]))

    assert (all(receipt.revisions), receipt.locked) == (True, frozenset())
    assert await holders(store) == {PLACE: "t2"}


async def test_a_lock_that_is_freed_later_in_a_batch_was_taken_too_early(store: Store) -> None:
    first, second = await holding(store, "t1"), await live(store, exclusive("t2", lock=LOCK))

    receipt = await put(store, grant(second, takes=[PLACE]), free(settle(first, begun=False)))

    assert ([revision > 0 for revision in receipt.revisions], set(receipt.locked)) == ([False, True], {0})
    assert await holders(store) == {}


async def test_what_another_task_holds_is_not_freed(store: Store) -> None:
    await holding(store, "t1")
    second = await live(store, exclusive("t2", lock=LOCK))

    receipt = await put(store, free(cancel(second)))

    assert receipt.revisions[0] > 0
    assert await holders(store) == {PLACE: "t1"}


async def test_what_one_batch_takes_the_same_batch_does_not_free_for_another(store: Store) -> None:
    first, second = await live(store, exclusive("t1", lock=LOCK)), await live(store, exclusive("t2", lock=LOCK))

    receipt = await put(store, grant(first, takes=[PLACE]), free(cancel(second)))

    assert all(receipt.revisions)
    assert await holders(store) == {PLACE: "t1"}


async def test_a_stale_change_neither_takes_nor_frees(store: Store) -> None:
    first, second = await holding(store, "t1"), await live(store, exclusive("t2"))
    await step(store, grant(second))

    receipt = await put(
        store, free(replace(settle(first, begun=False), expected=1)), grant(second, takes=[Hold("another")])
    )

    assert (list(receipt.revisions), receipt.locked) == ([0, 0], frozenset())
    assert await holders(store) == {PLACE: "t1"}


async def test_a_stale_change_that_asks_for_a_taken_lock_is_only_stale(store: Store) -> None:
    await holding(store, "t1")
    second = await live(store, exclusive("t2", lock=LOCK))
    await step(store, cancel(second))

    receipt = await put(store, grant(second, takes=[PLACE]))

    assert (list(receipt.revisions), receipt.locked) == ([0], frozenset())


async def test_a_task_that_is_run_again_leaves_its_lock_to_who_comes_next(store: Store) -> None:
    task = await step(store, doubt(await holding(store, "t1")))
    other = await live(store, exclusive("t2", lock=LOCK))
    assert await holders(store) == {PLACE: "t1"}

    receipt = await put(store, free(run_again(task)), grant(other, takes=[PLACE]))

    assert all(receipt.revisions)
    assert await holders(store) == {PLACE: "t2"}


async def test_who_finds_no_lock_does_not_claim_a_key(store: Store) -> None:
    await holding(store, "t1")
    named = IdempotencyKey(caller="local", key="k", digest=b"body")
    second = moves.granted(exclusive("t2", lock=LOCK), agent_id=AGENT, session=1, fence=1, now=NOW)

    receipt = await put(
        store,
        take(accept(second, idempotency=named)),
        accept(waiting("t3"), idempotency=named),
        accept(waiting("t4"), idempotency=named),
    )

    assert [revision > 0 for revision in receipt.revisions] == [False, True, False]
    assert (set(receipt.locked), receipt.replays) == ({0}, {2: Replay("t3", True)})


async def test_what_was_accepted_before_is_answered_so_whoever_holds_the_lock(store: Store) -> None:
    await holding(store, "t1")
    named = IdempotencyKey(caller="local", key="k", digest=b"body")
    await put(store, accept(waiting("t2"), idempotency=named))

    receipt = await put(store, take(accept(waiting("t3"), idempotency=named)))

    assert (receipt.locked, receipt.replays) == (frozenset(), {0: Replay("t2", True)})


async def test_many_locks_are_taken_and_freed_in_one_batch(store: Store) -> None:
    tasks = [await live(store, exclusive(f"t{number}")) for number in range(150)]
    await put(store, *[grant(task, takes=[Hold(task.lock)]) for task in tasks])
    assert await holders(store) == {Hold(f"task:t{number}"): f"t{number}" for number in range(150)}
    granted = await store.find([f"t{number}" for number in range(149)])

    await put(store, *[replace(settle(task, begun=False), frees=(Hold(task.lock),)) for task in granted])

    assert await holders(store) == {Hold("task:t149"): "t149"}


async def test_a_lock_goes_with_its_task(store: Store) -> None:
    """Whoever forgets to free it: a task that is gone holds nothing."""
    await step(store, settle(await holding(store, "t1"), begun=False))
    assert await holders(store) == {PLACE: "t1"}

    await store.sweep(finished_before=NOW + 99, events_before=0, keys_before=0, sessions_before=0, limit=10)

    assert await holders(store) == {}
    await holding(store, "t2")


async def test_a_lock_is_read_back_as_it_was_asked_for_and_as_it_counts(store: Store) -> None:
    named, own, none = exclusive("t1", lock=LOCK), exclusive("t2"), waiting("t3")
    for task in (named, own, none):
        await live(store, task)

    found = {task.id: task for task in await store.find(["t1", "t2", "t3"])}

    assert {task_id: (task.spec.lock, task.lock) for task_id, task in found.items()} == {
        "t1": (LOCK, LOCK),
        "t2": ("", "task:t2"),
        "t3": ("", ""),
    }


async def test_of_those_that_wait_for_a_lock_the_first_of_each_shape_is_found(store: Store) -> None:
    for place, (pool, type_, rank) in enumerate(
        [("p", "b", 3), ("p", "a", 2), ("p", "a", 1), ("q", "a", 5), ("p", "a", 1), ("q", "a", 9), ("o", "b", 9)]
    ):
        await live(store, waiting(f"t{place}", pool=pool, type=type_, rank=rank, lock=LOCK))
    await live(store, waiting("other", pool="p", type="a", rank=0, lock="another"))
    await live(store, waiting("none", pool="p", type="a", rank=0))
    await live(store, moves.scheduled(new("later", type="c", lock=LOCK), due_at=NOW + 5))
    await step(store, grant(await live(store, waiting("granted", type="d", lock=LOCK))))

    found = await store.waiting_on(LOCK, {}, 1)

    assert sorted(task.id for task in found) == ["t0", "t2", "t3", "t6"]
    assert [task for task in found if task.id == "t2"] == await store.find(["t2"])
    assert await store.waiting_on("nobody's", {}, 1) == []
    assert await store.waiting_on("", {}, 1) == []


async def test_the_payloads_of_those_that_wait_for_a_lock_come_if_they_are_small(store: Store) -> None:
    await live(store, waiting("small", type="a", payload=b"x" * 1024, lock=LOCK))
    await live(store, waiting("large", type="b", payload=b"x" * 1025, lock=LOCK))

    found = {task.id: task.payload for task in await store.waiting_on(LOCK, {}, 1)}

    assert found == {"small": b"x" * 1024, "large": None}


async def test_an_exclusive_task_that_names_no_lock_waits_for_its_own(store: Store) -> None:
    await live(store, exclusive("t1"))

    assert [task.id for task in await store.waiting_on("task:t1", {}, 1)] == ["t1"]


async def test_agents_are_kept_while_locks_are_refused(store: Store) -> None:
    await holding(store, "t1")
    second = await live(store, exclusive("t2", lock=LOCK))

    receipt = await put(store, grant(second, takes=[PLACE]), agents=[agent(session=3)])

    assert (set(receipt.locked), set(receipt.refused_agents)) == ({0}, set())
    assert [one.session for one in (await store.boot(NOW)).agents] == [3]

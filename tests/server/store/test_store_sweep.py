"""Forgetting, over every store."""

from __future__ import annotations

from nodelink.task import LogStream
from nodelink_server.core.ports import IdempotencyKey, LogEnds, LogRow, Store, TaskQuery
from nodelink_server.core.task import Task
from tests.server.store.lives import NOW, accept, cancel, give_back, grant, live, put, settle, step, waiting


async def ended(store: Store, task_id: str, *, at: int) -> Task:
    task = await step(store, give_back(await step(store, grant(await live(store, waiting(task_id))))))
    return await step(store, settle(await step(store, grant(task)), now=at, begun=False))


async def left(store: Store) -> set[str]:
    return {record.task.id for record in await store.list(TaskQuery(page_size=100))}


async def sweep(
    store: Store, *, finished: int = 0, events: int = 0, keys: int = 0, sessions: int = 0, limit: int = 100
) -> int:
    return await store.sweep(
        finished_before=finished, events_before=events, keys_before=keys, sessions_before=sessions, limit=limit
    )


async def test_tasks_that_finished_long_ago_are_deleted_with_all_that_hangs_on_them(store: Store) -> None:
    old, young = await ended(store, "old", at=NOW + 10), await ended(store, "young", at=NOW + 20)
    await live(store, waiting("alive"))
    await store.append_logs([LogRow(task.key, 1, LogStream.STDOUT, 0, 0, b"said") for task in (old, young)])

    assert await sweep(store, finished=NOW + 20) == 1

    assert await left(store) == {"young", "alive"}
    assert await store.read("old") is None
    assert await store.payloads([old.key, young.key]) == {young.key: b'{"a": 1}'}
    assert await store.log_ends(old.key, 1) == LogEnds()
    assert (await store.log_ends(young.key, 1)).stdout == 4
    record = await store.read("young")
    assert record is not None
    assert len(record.earlier) == 1


async def test_a_sweep_deletes_the_oldest_first_and_no_more_than_its_limit(store: Store) -> None:
    for number, at in enumerate([5, 3, 4]):
        await ended(store, f"t{number}", at=NOW + at)

    assert await sweep(store, finished=NOW + 99, limit=2) == 2
    assert await left(store) == {"t0"}
    assert await sweep(store, finished=NOW + 99, limit=2) == 1
    assert await sweep(store, finished=NOW + 99, limit=2) == 0


async def test_many_tasks_are_swept_at_once(store: Store) -> None:
    tasks = [waiting(f"t{number}") for number in range(350)]
    await put(store, *map(accept, tasks))
    await put(store, *[cancel(task) for task in tasks])

    assert await sweep(store, finished=NOW + 99, limit=320) == 320
    assert len(await left(store)) == 30


async def test_an_id_may_come_back_when_its_task_is_gone(store: Store) -> None:
    await ended(store, "t1", at=NOW + 1)
    await sweep(store, finished=NOW + 99)

    await ended(store, "t1", at=NOW + 2)

    record = await store.read("t1")
    assert record is not None
    assert len(record.earlier) == 1


def key() -> IdempotencyKey:
    return IdempotencyKey(caller="local", key="k", digest=b"body")


async def test_old_idempotency_keys_are_free_again_and_their_tasks_stay(store: Store) -> None:
    await put(store, accept(waiting("t1"), idempotency=key()))
    await sweep(store, keys=NOW)
    assert (await put(store, accept(waiting("t2"), idempotency=key()))).replays[0].task_id == "t1"

    await sweep(store, keys=NOW + 1)

    assert (await put(store, accept(waiting("t3"), idempotency=key()))).replays == {}
    assert await left(store) == {"t1", "t3"}


async def test_a_key_goes_with_its_task(store: Store) -> None:
    task = waiting("t1")
    await put(store, accept(task, idempotency=key()))
    await step(store, cancel(task))

    await sweep(store, finished=NOW + 99)

    assert (await put(store, accept(waiting("t2"), idempotency=key()))).replays == {}

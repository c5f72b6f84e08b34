"""What is read, over every store: queues in their order, lists and their filters, counts, the start of a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodelink.task import TaskStatus
from nodelink_server.core import task as moves
from nodelink_server.core.ports import Batch, Place, Shape, Store, TaskQuery
from tests.server.store.conftest import Database
from tests.server.store.lives import (
    NOW,
    accept,
    agent,
    cancel,
    doubt,
    exclusive,
    grant,
    live,
    new,
    put,
    settle,
    start,
    step,
    waiting,
)

ECHO = Shape("default", "echo")


async def test_waiting_tasks_come_by_rank_and_then_by_age(store: Store) -> None:
    await put(store, *[accept(waiting(f"t{rank}-{n}", rank=rank)) for n, rank in enumerate([3, -1, 3, 2])])

    tasks = await store.waiting(ECHO, None, 10)

    assert [task.id for task in tasks] == ["t-1-1", "t2-3", "t3-0", "t3-2"]


async def test_waiting_tasks_are_read_in_pages(store: Store) -> None:
    await put(store, *[accept(waiting(f"t{n}", rank=n // 3)) for n in range(9)])
    seen: list[str] = []
    place: Place | None = None

    while page := await store.waiting(ECHO, place, 2):
        assert len(page) <= 2
        seen += [task.id for task in page]
        place = Place(page[-1].rank, page[-1].key)

    assert seen == [f"t{n}" for n in range(9)]


async def test_only_pending_tasks_of_the_shape_wait(store: Store) -> None:
    await put(
        store,
        accept(waiting("here")),
        accept(waiting("elsewhere", pool="gpu")),
        accept(waiting("other", type="shell")),
        accept(moves.scheduled(new("later"), due_at=NOW + 5)),
    )
    await step(store, grant(await live(store, waiting("granted"))))
    await step(store, cancel(await live(store, waiting("cancelled"))))

    assert [task.id for task in await store.waiting(ECHO, None, 10)] == ["here"]
    assert [task.id for task in await store.waiting(Shape("gpu", "echo"), None, 10)] == ["elsewhere"]


async def test_small_payloads_come_with_waiting_tasks_and_large_ones_do_not(store: Store) -> None:
    small, large = waiting("small", payload=b"x" * 1024), waiting("large", payload=b"x" * 1025)
    await put(store, accept(small), accept(large))

    waits = {task.id: task.payload for task in await store.waiting(ECHO, None, 10)}
    found = {task.id: task.payload for task in await store.find(["small", "large", "none"])}

    assert waits == found == {"small": b"x" * 1024, "large": None}
    assert await store.payloads([small.key, large.key, 999]) == {small.key: b"x" * 1024, large.key: b"x" * 1025}


async def test_many_tasks_are_found_at_once(store: Store) -> None:
    await put(store, *[accept(waiting(f"t{n}")) for n in range(1200)])

    found = await store.find([f"t{n}" for n in range(0, 1200, 2)])

    assert {task.id for task in found} == {f"t{n}" for n in range(0, 1200, 2)}
    assert len(await store.payloads(range(1, 1201))) == 1200


async def test_scheduled_tasks_come_when_they_are_due(store: Store) -> None:
    await put(store, *[accept(moves.scheduled(new(f"t{n}"), due_at=NOW + at)) for n, at in enumerate([30, 10, 10])])
    await live(store, waiting("now"))

    due = await store.due(None, 10)

    assert [(task_id, place.value) for place, task_id in due] == [("t1", NOW + 10), ("t2", NOW + 10), ("t0", NOW + 30)]
    assert [task_id for _, task_id in await store.due(due[0][0], 1)] == ["t2"]


async def test_queue_deadlines_come_in_order(store: Store) -> None:
    await put(store, *[accept(waiting(f"t{n}", queue_deadline=at)) for n, at in enumerate([300, 100, None, 100])])
    await step(store, grant(await live(store, waiting("granted", queue_deadline=5))))

    expiring = await store.expiring(None, 10)

    assert [(task_id, place.value) for place, task_id in expiring] == [("t1", 100), ("t3", 100), ("t0", 300)]
    assert [task_id for _, task_id in await store.expiring(expiring[0][0], 1)] == ["t3"]


async def many(store: Store) -> None:
    """t0 pending, t1 sent to a, t2 in progress at b in pool gpu, t3 completed by a, t4 cancelled, t5 scheduled."""
    await live(store, waiting("t0", now=NOW))
    await step(store, grant(await live(store, waiting("t1", now=NOW + 1)), agent_id="a"))
    await step(
        store, start(await step(store, grant(await live(store, waiting("t2", now=NOW + 2, pool="gpu")), agent_id="b")))
    )
    await step(
        store,
        settle(await step(store, grant(await live(store, waiting("t3", now=NOW + 3)), agent_id="a")), begun=False),
    )
    await step(store, cancel(await live(store, waiting("t4", now=NOW + 4, type="shell"))))
    await live(store, moves.scheduled(new("t5", now=NOW + 5), due_at=NOW + 90))


S = TaskStatus


@pytest.mark.parametrize(
    "query, expected",
    [
        (TaskQuery(), "t5 t4 t3 t2 t1 t0"),
        (TaskQuery(page_size=2), "t5 t4"),
        (TaskQuery(before_key=3, page_size=2), "t1 t0"),
        (TaskQuery(statuses=frozenset({S.PENDING})), "t0"),
        (TaskQuery(statuses=frozenset({S.COMPLETED})), "t3"),
        (TaskQuery(statuses=frozenset({S.PENDING, S.COMPLETED, S.CANCELLED, S.SENT}), page_size=3), "t4 t3 t1"),
        (TaskQuery(statuses=frozenset({S.LOST})), ""),
        (TaskQuery(type="shell"), "t4"),
        (TaskQuery(pool="gpu"), "t2"),
        (TaskQuery(agent_id="a"), "t3 t1"),
        (TaskQuery(agent_id="a", statuses=frozenset({S.SENT, S.IN_PROGRESS})), "t1"),
        (TaskQuery(pool="default", type="echo", statuses=frozenset({S.COMPLETED})), "t3"),
        (TaskQuery(created_after=NOW + 3), "t5 t4 t3"),
        (TaskQuery(created_before=NOW + 2), "t1 t0"),
        (TaskQuery(created_after=NOW, created_before=NOW + 3, page_size=1), "t2"),
    ],
)
async def test_lists_take_every_filter_newest_first(store: Store, query: TaskQuery, expected: str) -> None:
    await many(store)

    assert " ".join(record.task.id for record in await store.list(query)) == expected


async def test_lists_are_read_in_pages_by_key(store: Store) -> None:
    await put(store, *[accept(waiting(f"t{n}")) for n in range(7)])
    seen: list[str] = []
    before = 0

    while page := await store.list(TaskQuery(page_size=3, before_key=before)):
        seen += [record.task.id for record in page]
        before = page[-1].task.key

    assert seen == [f"t{n}" for n in reversed(range(7))]


async def test_a_list_carries_whole_payloads_and_no_results(store: Store) -> None:
    task = await live(store, waiting("t1", payload=b"x" * 5000))
    await step(store, settle(await step(store, grant(task)), begun=False))

    (record,) = await store.list(TaskQuery())

    assert (record.payload, record.task.payload, record.finished) == (b"x" * 5000, None, None)


async def test_live_tasks_are_counted_by_status_and_pool(store: Store) -> None:
    await many(store)
    await live(store, waiting("t6"))

    assert dict((await store.counts()).by_status) == {
        ("pending", "default"): 2,
        ("sent", "default"): 1,
        ("in_progress", "gpu"): 1,
        ("scheduled", "default"): 1,
    }


async def test_each_start_raises_the_start_number(database: Database) -> None:
    for expected in (1, 2, 3):
        async with database.open() as store:
            assert (await store.boot(NOW)).start_number == expected


async def test_a_start_finds_what_was_left(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        await many(store)
        await live(store, waiting("t6", pool="gpu", type="shell"))
        await put(store, agents=[agent("a", session=4)])
        await store.apply(Batch(now=NOW, control_ms=4_321))
        revision = (await store.events(0, 100))[-1].revision

    async with database.open() as store:
        boot = await store.boot(NOW)

    assert (boot.cluster_id, boot.control_ms, boot.revision) == ("cluster", 4_321, revision)
    assert [(task.id, task.status) for task in sorted(boot.granted, key=lambda task: task.key)] == [
        ("t1", TaskStatus.SENT),
        ("t2", TaskStatus.IN_PROGRESS),
    ]
    assert all(task.payload is None for task in boot.granted)
    assert list(boot.agents) == [agent("a", session=4)]
    assert list(boot.shapes) == [Shape("default", "echo"), Shape("gpu", "shell")]


async def test_a_start_finds_tasks_in_doubt_among_those_that_agents_hold(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        doubted = await step(store, doubt(await step(store, grant(await live(store, exclusive("t1"))))))

    async with database.open() as store:
        boot = await store.boot(NOW)

    assert list(boot.granted) == [replace(doubted, payload=None)]


async def test_numbers_go_on_after_a_restart(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        first = await put(store, accept(waiting("t1")))
    async with database.open() as store:
        await store.boot(NOW)
        second = await put(store, accept(waiting("t2")))

    assert second.keys[0] > first.keys[0]
    assert second.events[0].revision == first.events[-1].revision + 1


async def test_keys_are_not_used_again_when_the_newest_tasks_are_deleted(database: Database) -> None:
    async with database.open() as store:
        await store.boot(NOW)
        gone = await step(store, cancel(await live(store, waiting("t1"))))
        await store.sweep(finished_before=NOW + 99, events_before=NOW + 99, keys_before=0, sessions_before=0, limit=9)
    async with database.open() as store:
        boot = await store.boot(NOW)
        kept = await live(store, waiting("t2"))

    assert boot.revision == gone.revision
    assert kept.key > gone.key
    assert kept.revision > gone.revision


async def test_a_task_is_the_same_in_every_reading(store: Store) -> None:
    task = await live(store, waiting("t1", rank=5, queue_deadline=70, metadata={"a": "b"}))

    (waits,), (found,) = await store.waiting(ECHO, None, 5), await store.find(["t1"])
    (listed,) = await store.list(TaskQuery())

    assert waits == found == task
    assert listed.task == replace(task, payload=None)

"""Tasks that have ended, read together, over every store; and what a task remembers of where it comes from."""

from __future__ import annotations

from dataclasses import replace

from nodelink.task import Finished, Outcome
from nodelink_server.core.ports import PAGE_BYTES, LiveCounts, Store
from tests.server.store.lives import (
    EXIT_7,
    accept,
    cancel,
    give_back,
    grant,
    live,
    new,
    put,
    settle,
    start,
    step,
    waiting,
)

LARGEST = 256 * 1024


async def test_those_that_have_ended_come_in_the_order_asked_as_if_each_were_read_whole(store: Store) -> None:
    await live(store, waiting("waits"))
    await step(store, cancel(await live(store, waiting("cancelled"))))
    again = await step(store, give_back(await step(store, grant(await live(store, waiting("twice"))))))
    await step(store, settle(await step(store, start(await step(store, grant(again)))), EXIT_7))
    await step(store, settle(await step(store, grant(await live(store, waiting("done")))), begun=False))

    asked = ["twice", "waits", "done", "nobody's", "cancelled"]
    found = await store.read_ended(asked)

    assert [end.task_id for end in found] == ["twice", "done", "cancelled"]
    whole = [await store.read(end.task_id) for end in found]
    assert found == [record.end for record in whole if record is not None]
    assert [(end.attempt, end.finished and end.finished.outcome) for end in found] == [
        (2, Outcome.FAILED),
        (1, Outcome.COMPLETED),
        (0, None),
    ]
    assert await store.read_ended([]) == []


async def test_it_is_known_of_many_at_once_whether_they_have_ended(store: Store) -> None:
    tasks = [waiting(f"t{number}") for number in range(700)]
    await put(store, *map(accept, tasks))
    await put(store, *map(cancel, tasks[::2]))

    found = await store.have_ended([*(task.id for task in tasks), "nobody's"])

    assert found == {task.id: number % 2 == 0 for number, task in enumerate(tasks)}
    assert await store.have_ended([]) == {}


async def test_many_are_read_at_once(store: Store) -> None:
    tasks = [waiting(f"t{number}") for number in range(700)]
    await put(store, *map(accept, tasks))
    await put(store, *map(cancel, tasks))

    found = await store.read_ended([f"t{number}" for number in range(699, -1, -1)])

    assert [end.task_id for end in found] == [f"t{number}" for number in range(699, -1, -1)]


async def test_no_more_is_loaded_than_makes_one_answer(store: Store) -> None:
    large = Finished(outcome=Outcome.COMPLETED, output=b"1" * (LARGEST - 5))
    for number in range(40):
        task = await live(store, waiting(f"t{number}"))
        await step(store, settle(await step(store, grant(task)), large, begun=False))

    found = await store.read_ended([f"t{number}" for number in range(40)])

    assert len(found) == PAGE_BYTES // LARGEST + 1


async def test_a_task_remembers_its_trace_and_what_it_repeats(store: Store) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    task = replace(waiting("t2"), traceparent=trace, retry_of="t1")
    await live(store, task)

    (found,), record = await store.find(["t2"]), await store.read("t2")

    assert (found.traceparent, found.retry_of) == (trace, "t1")
    assert record is not None
    assert (record.task.traceparent, record.task.retry_of) == (trace, "t1")


async def test_pending_tasks_are_counted_by_pool_and_band(store: Store) -> None:
    for number, priority in enumerate((1, 25, 26, 50, 75, 76, 100)):
        await live(store, waiting(f"t{number}", priority=priority))
    await live(store, waiting("gpu", pool="gpu", priority=51))
    await step(store, grant(await live(store, waiting("sent", priority=100))))
    await live(store, new("created", priority=1))

    counts = await store.counts()

    assert counts == LiveCounts(
        by_status={
            ("pending", "default"): 7,
            ("pending", "gpu"): 1,
            ("sent", "default"): 1,
            ("created", "default"): 1,
        },
        queued={
            ("default", "LOW"): 2,
            ("default", "NORMAL"): 2,
            ("default", "HIGH"): 1,
            ("default", "CRITICAL"): 2,
            ("gpu", "HIGH"): 1,
        },
    )

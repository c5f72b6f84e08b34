"""What is kept of a task beside its row, over every store: remarks, and results that came too late."""

from __future__ import annotations

from dataclasses import replace

from nodelink_server.core.needs import shape_of
from nodelink_server.core.ports import Batch, Evidence, Store, TaskQuery
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import LateResult, Remark, RemarkKind
from tests.server.store.lives import (
    AGENT,
    NOW,
    accept,
    after,
    cancel,
    doubt,
    exclusive,
    grant,
    live,
    prioritize,
    put,
    recover,
    resolve,
    run_again,
    settle,
    step,
    stop,
    waiting,
)


async def in_doubt(store: Store, task_id: str = "t1") -> Task:
    return await step(store, doubt(await step(store, grant(await live(store, exclusive(task_id))))))


async def remarks(store: Store, task_id: str = "t1") -> tuple[Remark, ...]:
    record = await store.read(task_id)
    assert record is not None
    return record.remarks


async def late_results(store: Store, task_id: str = "t1") -> tuple[LateResult, ...]:
    record = await store.read(task_id)
    assert record is not None
    return record.late_results


async def test_remarks_are_read_in_their_order_with_their_revisions(store: Store) -> None:
    task = await step(store, recover(await in_doubt(store)))
    task = await step(store, run_again(await step(store, doubt(task, at=NOW + 1))))

    assert await remarks(store) == (
        Remark(RemarkKind.UNKNOWN, NOW + 3, "the agent is silent", "", 1, AGENT, 4),
        Remark(RemarkKind.RECOVERED, NOW + 4, "", "", 1, AGENT, 5),
        Remark(RemarkKind.UNKNOWN, NOW + 1, "the agent is silent", "", 1, AGENT, 6),
        Remark(RemarkKind.RERUN, NOW + 5, "nothing was changed", "anna", 1, AGENT, 7),
    )
    assert task.revision == 7


async def test_a_remark_has_the_revision_of_the_last_event_of_its_change(store: Store) -> None:
    task = await step(store, grant(await live(store, exclusive("t1"))))
    task = await step(store, recover(await step(store, doubt(await step(store, stop(task))))))

    assert [remark.revision for remark in await remarks(store)] == [5, 7]
    assert task.revision == 7


async def test_a_change_without_events_may_have_a_remark(store: Store) -> None:
    task = await live(store, waiting("t1"))
    remark = Remark(RemarkKind.ABANDONED, NOW, "no use", "anna")

    await put(store, after(task, replace(task, rank=9), remark=remark))

    assert await remarks(store) == (remark._replace(revision=3),)
    assert [event.name for event in await store.history("t1")] == ["task.created", "task.pending"]


async def test_another_priority_is_kept_with_the_one_before(store: Store) -> None:
    task = await step(store, prioritize(await live(store, waiting("t1")), 90, rank=-7))

    [remark] = await remarks(store)
    found = await store.read("t1")

    assert remark == Remark(RemarkKind.REPRIORITIZED, NOW + 1, "from 50 to 90", "anna", revision=3, priority=50)
    assert found is not None
    assert (found.task.revision, found.task.spec.priority, found.task.rank) == (task.revision, 90, -7)
    assert [waits.id for waits in await store.waiting(shape_of(task), None, 9)] == ["t1"]


async def test_a_new_task_may_come_with_a_remark(store: Store) -> None:
    remark = Remark(RemarkKind.ABANDONED, NOW, "no use", "anna")

    await put(store, replace(accept(waiting("t1")), remark=remark))

    assert await remarks(store) == (remark._replace(revision=2),)


async def test_a_refused_change_leaves_no_remark(store: Store) -> None:
    task = await step(store, grant(await live(store, exclusive("t1"))))
    await step(store, settle(task, begun=False))

    receipt = await put(store, doubt(task), accept(waiting("t2")))

    assert [revision > 0 for revision in receipt.revisions] == [False, True]
    assert await remarks(store) == ()


async def test_a_person_resolves_a_doubt(store: Store) -> None:
    task = await in_doubt(store)

    await step(store, resolve(task, completed=False))

    record = await store.read("t1")
    assert record is not None
    assert (record.task.status, record.task.reason, record.task.message) == ("failed", "resolved", "I looked")
    assert record.remarks[-1] == Remark(RemarkKind.RESOLVED, NOW + 5, "I looked", "anna", 1, AGENT, 5)


async def test_late_results_are_read_in_order_of_their_arrival(store: Store) -> None:
    task = await live(store, waiting("t1"))
    told = [
        LateResult(2, 20, "b", NOW + 5, "failed", 7, "exit code 7"),
        LateResult(1, 10, AGENT, NOW + 5, "gone"),
        LateResult(3, 30, "c", NOW + 2, "completed", 0),
    ]

    await put(store, evidence=[Evidence(task.key, late) for late in told])

    assert await late_results(store) == (told[2], told[1], told[0])


async def test_of_one_execution_the_first_word_is_kept(store: Store) -> None:
    task = await live(store, waiting("t1"))
    first, again = LateResult(1, 10, AGENT, NOW, "gone"), LateResult(1, 10, AGENT, NOW + 9, "completed", 0, "done")
    other = LateResult(1, 11, AGENT, NOW + 1, "failed", 1)

    await put(store, evidence=[Evidence(task.key, first), Evidence(task.key, again)])
    await put(store, evidence=[Evidence(task.key, again), Evidence(task.key, other)])

    assert await late_results(store) == (first, other)


async def test_evidence_on_a_task_that_is_not_there_is_ignored(store: Store) -> None:
    task = await live(store, waiting("t1"))
    late = LateResult(1, 10, AGENT, NOW, "gone")

    receipt = await put(
        store, accept(waiting("t2")), evidence=[Evidence(task.key + 70, late), Evidence(task.key, late)]
    )

    assert receipt.revisions[0] > 0
    assert await late_results(store) == (late,)
    assert await late_results(store, "t2") == ()


async def test_evidence_is_kept_while_changes_are_refused(store: Store) -> None:
    task = await live(store, waiting("t1"))
    await step(store, grant(task))
    late = LateResult(1, 10, AGENT, NOW, "gone")

    receipt = await put(store, cancel(task), evidence=[Evidence(task.key, late)])

    assert list(receipt.revisions) == [0]
    assert await late_results(store) == (late,)


async def test_evidence_tells_nobody_anything(store: Store) -> None:
    task = await live(store, waiting("t1"))

    receipt = await put(store, evidence=[Evidence(task.key, LateResult(1, 1, AGENT, NOW, "gone"))])

    assert list(receipt.events) == []
    assert await store.find(["t1"]) == [task]


async def test_lists_leave_out_what_hangs_on_a_task(store: Store) -> None:
    task = await in_doubt(store)
    await put(store, evidence=[Evidence(task.key, LateResult(1, 1, AGENT, NOW, "gone"))])

    (record,) = await store.list(TaskQuery())

    assert (record.remarks, record.late_results) == ((), ())


async def test_what_hangs_on_a_task_goes_with_it(store: Store) -> None:
    task = await step(store, resolve(await in_doubt(store)))
    late = Evidence(task.key, LateResult(1, 1, AGENT, NOW, "gone"))
    await put(store, evidence=[late])

    await store.sweep(finished_before=NOW + 99, events_before=0, keys_before=0, sessions_before=0, limit=10)
    await put(store, evidence=[late])
    await live(store, waiting("t1"))

    assert (await remarks(store), await late_results(store)) == ((), ())


async def test_a_batch_of_nothing_but_evidence_is_a_commit(store: Store) -> None:
    task = await live(store, waiting("t1"))

    await store.apply(Batch(now=NOW, control_ms=77, evidence=[Evidence(task.key, LateResult(1, 1, AGENT, 1, "gone"))]))

    assert (await store.boot(NOW)).control_ms == 77
    assert len(await late_results(store)) == 1

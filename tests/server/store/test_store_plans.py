"""Plans, over every store: kept as they were made, with all that their tasks wait for."""

from __future__ import annotations

from nodelink.plan import PLAN_AND_APPLY
from nodelink.task import LogStream, TaskStatus
from nodelink.values import evolve
from nodelink_server.core.attempt import Hold
from nodelink_server.core.ports import Place, Shape, Store, TaskQuery
from nodelink_server.core.task import Task
from tests.server.store.lives import (
    NOW,
    PLAN,
    after,
    agent,
    approve,
    cancel,
    exclusive,
    give_back,
    grant,
    live,
    plan,
    put,
    settle,
    start,
    step,
    waiting,
)

TO_PLAN = Shape("default", PLAN_AND_APPLY)
TO_APPLY = Shape("default", PLAN_AND_APPLY, "", True)
S = TaskStatus


def change(task_id: str, *, rank: int = 0, **spec: object) -> Task:
    """A new task that plans, and applies what is approved."""
    task = exclusive(task_id)
    return evolve(task, spec=evolve(task.spec, type=PLAN_AND_APPLY, **spec), rank=rank)


async def planned(store: Store, task_id: str, *, rank: int = 0, deadline: int = 500, **spec: object) -> Task:
    """A task whose plan waits for an approval. It keeps its lock."""
    task = await live(store, change(task_id, rank=rank, **spec))
    task = await step(store, grant(task, takes=[Hold(task.lock), Hold("gate")]))
    task = await step(store, start(task))
    made = plan(task, deadline=deadline)
    return await step(store, evolve(made, frees=(Hold("gate"),)))


async def approved(store: Store, task_id: str, **how: int) -> Task:
    """A task that waits to apply its plan."""
    return await step(store, approve(await planned(store, task_id, **how)))


async def test_a_plan_is_kept_as_it_was_made(store: Store) -> None:
    task = await planned(store, "t1", approval_timeout_ms=5_000, approval_by_other=True)

    record = await store.read("t1")
    assert record is not None
    assert record.task.plan == task.plan
    assert record.task.plan is not None
    assert (record.task.plan.plan, record.task.plan.holds) == (PLAN, (Hold("task:t1"),))
    assert (record.task.status, record.task.spec) == (S.PLAN_COMPLETED, task.spec)
    [past] = record.earlier
    assert (past.state, past.plan and past.plan.plan, past.has_failed) == ("planned", PLAN, False)
    assert record.finished is not None
    assert past.failure is not None
    assert past.failure.log_totals == {LogStream.STDOUT: 4, LogStream.STDERR: 0}


async def test_an_approval_is_kept_with_its_plan(store: Store) -> None:
    await approved(store, "t1")

    [task] = await store.find(["t1"])
    assert task.plan is not None
    assert (task.plan.approved_by, task.plan.approved_at) == ("anna", NOW + 5)
    record = await store.read("t1")
    assert record is not None
    assert [(one.kind, one.by) for one in record.remarks] == [("approved", "anna")]


async def test_the_places_that_it_keeps_are_its_own_until_it_has_ended(store: Store) -> None:
    task = await approved(store, "t1")
    assert dict((await store.boot(NOW)).holds) == {Hold("task:t1"): "t1"}
    task = await step(store, evolve(grant(task, fence=200), takes=()))
    ended = settle(await step(store, start(task)))
    await step(store, evolve(ended, frees=task.holds or (Hold("task:t1"),)))

    assert not (await store.boot(NOW)).holds


async def test_what_waits_to_apply_is_a_queue_of_its_own(store: Store) -> None:
    await live(store, change("waits to plan"))
    second = await approved(store, "second", rank=2)
    first = await approved(store, "first", rank=1)
    await planned(store, "not approved")

    boot = await store.boot(NOW)
    assert list(boot.shapes) == [TO_PLAN, TO_APPLY]
    assert {task.id for task in boot.planned} == {"second", "first", "not approved"}
    assert [task.id for task in await store.waiting(TO_APPLY, None, 9)] == ["first", "second"]
    assert [task.id for task in await store.waiting(TO_APPLY, Place(1, first.key), 9)] == ["second"]
    assert [task.id for task in await store.waiting(TO_PLAN, None, 9)] == ["waits to plan"]
    assert await store.count_before(TO_APPLY, Place(2, second.key), 9) == 1


async def test_what_waits_for_an_approval_expires_among_what_waits_for_an_agent(store: Store) -> None:
    await planned(store, "second", deadline=200)
    await live(store, waiting("first", queue_deadline=100))
    third = await step(store, approve(await planned(store, "third"), queue_deadline=300))
    fourth = await planned(store, "ended", deadline=50)
    await step(store, cancel(fourth))
    task = await step(store, approve(await planned(store, "granted"), queue_deadline=60))
    await step(store, grant(task, fence=9))

    found = await store.expiring(None, 9)
    assert [task_id for _, task_id in found] == ["first", "second", "third"]
    assert [task_id for _, task_id in await store.expiring(found[0][0], 1)] == ["second"]
    assert found[-1][0] == Place(300, third.key)


async def test_tasks_with_plans_are_listed_by_themselves(store: Store) -> None:
    await planned(store, "t1", workspace="site")
    await live(store, waiting("t2"))
    await planned(store, "t3")
    await step(store, cancel(await planned(store, "t4")))

    async def listed(**query: object) -> list[str]:
        page = await store.list(TaskQuery(has_plan=True, **query))  # type: ignore[arg-type]  # names of fields
        return [record.task.id for record in page]

    assert await listed() == ["t4", "t3", "t1"]
    assert await listed(page_size=1) == ["t4"]
    assert await listed(workspace="site") == ["t1"]
    assert await listed(statuses=frozenset({S.CANCELLED})) == ["t4"]


async def test_its_history_is_what_was_told(store: Store) -> None:
    task = await live(store, change("t1"))
    task = await step(store, grant(task))
    task = await step(store, approve(await step(store, plan(task, begun=False))))
    task = await step(store, give_back(await step(store, grant(task, fence=200)), now=NOW + 9))
    task = await step(store, start(await step(store, grant(task, fence=300, now=NOW + 10))))
    await step(store, settle(task))

    told = [event for event in await store.events(0, 1_000) if event.task_id == "t1"]
    assert list(await store.history("t1")) == told
    names = [event.name.removeprefix("task.") for event in told]
    planning = ["created", "pending", "sent", "started", "plan_completed", "apply_pending"]
    assert names == [*planning, "sent", "apply_pending", "sent", "started", "completed"]
    assert told[4].data == {"plan_sha256": PLAN.sha256, "inputs_sha256": PLAN.inputs_sha256, "target": "site"}


async def test_a_plan_that_ended_its_task_is_kept_with_it(store: Store) -> None:
    task = await live(store, waiting("t1"))
    task = await step(store, start(await step(store, grant(task))))
    ended = settle(task)
    before = await planned(store, "t2")
    await step(store, evolve(ended, task=evolve(ended.task, plan=before.plan)))

    [found] = await store.find(["t1"])
    assert found.plan == before.plan


async def test_an_agent_says_how_many_plans_it_makes(store: Store) -> None:
    await put(store, agents=[agent("a", plan_limit=7), agent("b")])

    assert {one.id: one.plan_limit for one in (await store.boot(NOW)).agents} == {"a": 7, "b": 3}


async def test_a_plan_of_another_revision_is_not_approved(store: Store) -> None:
    task = await planned(store, "t1")
    late = approve(task)
    await step(store, after(task, evolve(task, rank=3)))

    assert (await put(store, late)).revisions == [0]

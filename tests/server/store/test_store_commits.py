"""What a commit does, over every store: acceptance, guards, idempotency, agents."""

from __future__ import annotations

from dataclasses import replace

from nodelink.task import Execution, Reason, TaskStatus
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Extension, Stop, Superseded
from nodelink_server.core.ports import Batch, Change, EventName, IdempotencyKey, Notice, Replay, Store
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import RemarkKind
from tests.server.store.lives import (
    AGENT,
    COMPLETED,
    EXIT_7,
    NOW,
    accept,
    after,
    agent,
    cancel,
    doubt,
    drain,
    exclusive,
    extend,
    give_back,
    grant,
    live,
    lose,
    new,
    put,
    settle,
    start,
    step,
    stop,
    waiting,
)

STOP = Stop(reason=Reason.CANCELLED_BY_CALLER, message="enough", grace_ms=500, asked_at=NOW + 4)


def named(key: str, digest: bytes = b"body", caller: str = "local") -> IdempotencyKey:
    return IdempotencyKey(caller=caller, key=key, digest=digest)


async def stored(store: Store, task_id: str) -> Task:
    record = await store.read(task_id)
    assert record is not None
    return record.task


async def test_an_accepted_task_is_read_back_as_it_was_given(store: Store) -> None:
    given = new(
        "t1",
        payload=b"x" * 3000,
        pool="gpu",
        priority=75,
        timeout_ms=1000,
        queue_timeout_ms=2000,
        scheduled_at=NOW + 9,
        delay_ms=0,
        execution=Execution.ONCE,
        metadata={"owner": 'an "odd" näme'},
        lock="a löck",
    )
    task = moves.scheduled(replace(given, caller="someone", message="soon"), due_at=NOW + 9)

    await put(store, accept(task), now=NOW + 5)

    record = await store.read("t1")
    assert record is not None
    assert record.task == replace(task, payload=None)
    assert (record.payload, record.updated_at, record.finished, record.earlier) == (b"x" * 3000, NOW + 5, None, ())


async def test_a_task_that_is_not_there_is_none(store: Store) -> None:
    assert await store.read("nobody") is None
    assert await store.find(["nobody"]) == []
    assert await store.history("nobody") == []


async def test_a_task_goes_through_its_life(store: Store) -> None:
    task = await live(store, waiting("t1", rank=4, queue_deadline=500))
    task = await step(store, grant(task))
    assert await stored(store, "t1") == replace(task, payload=None)
    task = await step(store, start(task))
    assert await stored(store, "t1") == replace(task, payload=None)
    task = await step(store, stop(task))
    assert await stored(store, "t1") == replace(task, payload=None)
    task = await step(store, settle(task, EXIT_7))

    record = await store.read("t1")
    assert record is not None
    assert record.task == task
    assert (record.task.status, record.finished) == (TaskStatus.FAILED, EXIT_7)


async def test_a_task_may_be_granted_in_the_commit_that_accepts_it(store: Store) -> None:
    task = moves.granted(waiting("t1"), agent_id=AGENT, session=3, fence=7, now=NOW)

    await put(store, accept(task))

    assert await stored(store, "t1") == replace(task, payload=None)
    assert await store.payloads([task.key]) == {task.key: b'{"a": 1}'}


async def test_the_lease_of_an_attempt_is_kept_with_it(store: Store) -> None:
    def leased(task: Task, lease_ms: int) -> Task:
        assert task.attempt is not None
        return replace(task, attempt=replace(task.attempt, lease_ms=lease_ms))

    task = leased(moves.granted(waiting("t1"), agent_id=AGENT, session=3, fence=7, now=NOW), 600_000)
    await put(store, accept(task))
    assert await stored(store, "t1") == replace(task, payload=None)
    task = await step(store, start(task))
    assert await stored(store, "t1") == replace(task, payload=None)
    task = await step(store, lose(task))
    again = grant(task, fence=8)
    task = await step(store, replace(again, task=leased(again.task, 30_000)))

    record = await store.read("t1")

    assert record is not None
    assert record.task == replace(task, payload=None)
    assert [one.attempt.lease_ms for one in record.earlier] == [600_000]


async def test_other_limits_are_kept_with_their_attempt_and_go_with_it(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    task = await step(store, extend(task, heartbeat_timeout_ms=1_000, heard=1))
    assert await stored(store, "t1") == replace(task, payload=None)
    task = await step(store, extend(task, run_until=10_000))
    kept = await stored(store, "t1")
    assert kept == replace(task, payload=None)
    assert kept.attempt is not None
    assert kept.attempt.extension == Extension(2, 10_000, 1_000, 1)
    [shown] = (await store.boot(NOW)).granted
    assert shown.attempt == kept.attempt

    await step(store, lose(task))

    record = await store.read("t1")
    assert record is not None
    assert record.task.attempt is None
    assert [past.attempt.extension for past in record.earlier] == [None]
    assert [remark.kind for remark in record.remarks] == [RemarkKind.EXTENDED] * 2


async def test_other_limits_may_come_in_the_commit_that_tells_of_a_start(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    begun = start(task).task
    change = replace(extend(begun), expected=task.revision, events=(EventName.TASK_STARTED,))
    task = await step(store, change)
    assert await stored(store, "t1") == replace(task, payload=None)


async def test_a_change_without_events_keeps_all_of_it(store: Store) -> None:
    task = await step(store, grant(await live(store, exclusive("t1"))))
    task = await step(store, after(task, moves.granted_again(task, session=9)))
    assert await stored(store, "t1") == replace(task, payload=None)
    task = await step(store, doubt(await step(store, start(task))))
    task = await step(store, after(task, moves.stop_wanted(task, stop=STOP)))
    assert await stored(store, "t1") == replace(task, payload=None)
    assert (await stored(store, "t1")).stop == STOP


async def test_the_agents_that_died_of_a_task_are_counted(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    left = Superseded(attempt=task.attempt, state="lost", ended_at=NOW) if task.attempt else None
    died = moves.replayed(task, queue_deadline=None, died=True)
    task = await step(store, after(task, died, EventName.TASK_PENDING, superseded=left))
    assert await stored(store, "t1") == replace(task, payload=None)

    task = await step(store, grant(task, fence=101))
    await step(store, after(task, moves.poisoned(task, now=NOW + 9), EventName.TASK_FAILED))

    found = await stored(store, "t1")
    assert (found.status, found.reason, found.deaths, found.losses) == (TaskStatus.FAILED, Reason.POISON, 2, 1)


async def test_a_new_task_may_tell_of_deaths(store: Store) -> None:
    task = replace(waiting("t1"), deaths=1)

    await put(store, accept(task))

    assert (await stored(store, "t1")).deaths == 1


async def test_a_task_may_have_ended_in_the_commit_that_accepts_it(store: Store) -> None:
    task = moves.expired(waiting("t1"), reason=Reason.QUEUE_TIMEOUT, message="no room", now=NOW)
    events = (EventName.TASK_CREATED, EventName.TASK_PENDING, EventName.TASK_TIMEOUT)

    await put(store, Change(task=replace(task, payload=b"1"), expected=0, events=events))

    assert await stored(store, "t1") == replace(task, key=1, revision=3)
    assert (await store.counts()).by_status == {}


async def test_keys_and_revisions_go_up_and_are_never_given_twice(store: Store) -> None:
    first = await put(store, accept(waiting("t1")), accept(waiting("t2")))
    second = await put(store, accept(waiting("t3")))

    assert list(first.revisions) == [2, 4]
    assert list(second.revisions) == [6]
    assert first.keys[0] < first.keys[1] < second.keys[0]


async def test_a_change_without_events_takes_a_revision_all_the_same(store: Store) -> None:
    task = await live(store, waiting("t1"))

    receipt = await put(store, after(task, replace(task, rank=9)))

    assert (list(receipt.revisions), list(receipt.events)) == ([3], [])
    assert (await stored(store, "t1")).rank == 9


async def test_a_stale_change_is_refused_and_its_neighbours_are_not(store: Store) -> None:
    stale, neighbour = await live(store, waiting("t1")), await live(store, waiting("t2"))
    await step(store, grant(stale))

    receipt = await put(store, cancel(neighbour), grant(stale, fence=200), accept(waiting("t3")))

    assert list(receipt.revisions) == [6, 0, 8]
    assert [event.task_id for event in receipt.events] == ["t2", "t3", "t3"]
    assert [event.revision for event in receipt.events] == [6, 7, 8]
    fence = (await stored(store, "t1")).attempt
    assert fence is not None
    assert fence.fence == 100


async def test_a_refused_result_leaves_no_trace(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    await step(store, lose(task))

    receipt = await put(store, settle(task, begun=False))

    record = await store.read("t1")
    assert record is not None
    assert (list(receipt.revisions), list(receipt.keys), list(receipt.events)) == ([0], [0], [])
    assert (record.task.status, record.finished) == (TaskStatus.PENDING, None)
    assert (await store.events(0, 100))[-1].revision == record.task.revision


async def test_a_refused_change_keeps_no_attempt(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    await step(store, start(task))

    receipt = await put(store, give_back(task))

    record = await store.read("t1")
    assert record is not None
    assert (list(receipt.revisions), record.earlier) == ([0], ())


async def test_of_two_changes_of_one_task_in_a_batch_the_first_counts(store: Store) -> None:
    task = await live(store, waiting("t1"))

    receipt = await put(store, grant(task, fence=1), cancel(task), accept(waiting("t2")))

    assert [revision > 0 for revision in receipt.revisions] == [True, False, True]
    assert (await stored(store, "t1")).status is TaskStatus.SENT


async def test_an_id_is_accepted_once(store: Store) -> None:
    await live(store, waiting("t1"))

    receipt = await put(store, accept(waiting("t1", type="other")), accept(waiting("t2")), accept(waiting("t2")))

    assert [revision > 0 for revision in receipt.revisions] == [False, True, False]
    assert (await stored(store, "t1")).spec.type == "echo"


async def test_a_change_of_a_task_that_is_not_there_is_refused(store: Store) -> None:
    ghost = replace(waiting("ghost"), key=77, revision=12)

    receipt = await put(store, grant(ghost), accept(waiting("t1")))

    assert list(receipt.revisions) == [0, 2]


async def test_a_large_batch_is_committed_whole(store: Store) -> None:
    tasks = [waiting(f"t{number}", rank=number) for number in range(301)]
    receipt = await put(store, *[accept(task) for task in tasks])
    assert list(receipt.revisions) == list(range(2, 604, 2))

    receipt = await put(store, *[grant(task) for task in tasks])

    assert list(receipt.revisions) == list(range(603, 904))
    found = {task.id: task for task in await store.find([task.id for task in tasks])}
    assert all(found[task.id].status is TaskStatus.SENT for task in tasks)


async def test_an_attempt_that_was_left_behind_is_kept_with_its_end(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1")), fence=1))
    task = await step(store, start(task))
    lost = lose(task, now=NOW + 5)
    task = await step(store, lost)
    task = await step(store, grant(task, agent_id="agent-b", fence=2, now=NOW + 6))
    returned = give_back(task, now=NOW + 7)
    await step(store, returned)

    record = await store.read("t1")

    assert record is not None
    assert record.earlier == (lost.superseded, returned.superseded)
    assert (record.task.grants, record.task.losses, record.task.attempt) == (2, 1, None)


async def test_an_attempt_that_was_stopped_by_a_drain_is_kept_with_what_it_printed(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    left = drain(task)
    await step(store, left)

    record = await store.read("t1")

    assert record is not None
    assert record.earlier == (left.superseded,)
    assert record.earlier[0].failure is not None
    assert record.earlier[0].failure.stdout_total == 4
    assert (record.task.failures, record.task.losses, record.task.attempt) == (0, 0, None)


async def test_the_same_request_under_a_key_is_the_same_task(store: Store) -> None:
    await put(store, accept(waiting("t1"), idempotency=named("k")))

    receipt = await put(store, accept(waiting("t2"), idempotency=named("k")), accept(waiting("t3")))

    assert [revision > 0 for revision in receipt.revisions] == [False, True]
    assert receipt.replays == {0: Replay("t1", True)}
    assert await store.read("t2") is None


async def test_another_request_under_a_key_is_told_apart(store: Store) -> None:
    await put(store, accept(waiting("t1"), idempotency=named("k")))

    receipt = await put(store, accept(waiting("t2"), idempotency=named("k", b"other")))

    assert receipt.replays == {0: Replay("t1", False)}


async def test_within_a_batch_the_first_takes_the_key(store: Store) -> None:
    receipt = await put(
        store,
        accept(waiting("t1"), idempotency=named("k")),
        accept(waiting("t2"), idempotency=named("k")),
        accept(waiting("t3"), idempotency=named("k", b"other")),
        accept(waiting("t4"), idempotency=named("l")),
    )

    assert [revision > 0 for revision in receipt.revisions] == [True, False, False, True]
    assert receipt.replays == {1: Replay("t1", True), 2: Replay("t1", False)}


async def test_a_key_belongs_to_its_caller(store: Store) -> None:
    await put(store, accept(waiting("t1"), idempotency=named("k")))
    theirs = replace(waiting("t2"), caller="them")

    receipt = await put(store, accept(theirs, idempotency=named("k", caller="them")))

    assert receipt.replays == {}
    assert receipt.revisions[0] > 0


async def test_a_key_survives_the_end_of_its_task(store: Store) -> None:
    task = waiting("t1")
    await put(store, accept(task, idempotency=named("k")))
    await step(store, settle(await step(store, grant(task)), begun=False))

    receipt = await put(store, accept(waiting("t2"), idempotency=named("k")))

    assert receipt.replays == {0: Replay("t1", True)}


async def test_an_agent_is_kept_and_a_newer_session_replaces_it(store: Store) -> None:
    await put(store, agents=[agent(session=1)])

    receipt = await put(store, agents=[agent(session=2, name="renamed", left=True)])

    assert receipt.refused_agents == frozenset()
    assert list((await store.boot(NOW)).agents) == [agent(session=2, name="renamed", left=True)]


async def test_an_agent_is_kept_from_work_until_it_is_not(store: Store) -> None:
    await put(store, agents=[agent(session=1, cordon="its starts fail")])
    assert [one.cordon for one in (await store.boot(NOW)).agents] == ["its starts fail"]

    await put(store, agents=[agent(session=1)])

    assert [one.cordon for one in (await store.boot(NOW)).agents] == [""]


async def test_what_an_agent_has_and_how_it_is_drained_is_kept(store: Store) -> None:
    having = agent(session=1, resources={"cpu": 4_000, "ключ": 1}, type_limits={"deploy": 1, "echo": 0})
    await put(store, agents=[having])
    assert list((await store.boot(NOW)).agents) == [having]

    drained = replace(having, resources={}, drained_at=NOW, drain_deadline=2**40, drain_note='a "new" disk')
    await put(store, agents=[drained, agent("agent-b")])
    kept = {record.id: record for record in (await store.boot(NOW)).agents}
    assert kept == {AGENT: drained, "agent-b": agent("agent-b")}
    assert (kept["agent-b"].drained_at, kept["agent-b"].drain_deadline) == (None, None)

    await put(store, agents=[having])
    assert {record.id: record for record in (await store.boot(NOW)).agents}[AGENT] == having


async def test_what_an_agent_knows_is_kept(store: Store) -> None:
    knowing = agent(session=1, features=frozenset({"extend", "another"}))
    await put(store, agents=[knowing])
    assert list((await store.boot(NOW)).agents) == [knowing]


async def test_an_older_session_of_an_agent_is_refused(store: Store) -> None:
    await put(store, agents=[agent(session=5)])

    receipt = await put(store, accept(waiting("t1")), agents=[agent("agent-b"), agent(session=4, name="late")])

    assert receipt.refused_agents == {1}
    assert receipt.revisions[0] > 0
    kept = {record.id: record for record in (await store.boot(NOW)).agents}
    assert (kept[AGENT].session, kept[AGENT].name) == (5, "an agent")


async def test_the_same_session_of_an_agent_updates_it(store: Store) -> None:
    await put(store, agents=[agent(session=5)])

    receipt = await put(store, agents=[agent(session=5, last_seen_at=NOW + 60, left=True)])

    assert receipt.refused_agents == frozenset()
    assert list((await store.boot(NOW)).agents) == [agent(session=5, last_seen_at=NOW + 60, left=True)]


async def test_a_notice_takes_a_revision_behind_the_changes(store: Store) -> None:
    notice = Notice(EventName.AGENT_CONNECTED, AGENT, "default", {"session": 3})

    receipt = await store.apply(Batch(now=NOW, control_ms=1, changes=[accept(waiting("t1"))], notices=[notice]))

    last = receipt.events[-1]
    assert (last.revision, last.name, last.agent_id, last.pool, last.data) == (
        3,
        "agent.connected",
        AGENT,
        "default",
        {"session": 3},
    )
    assert (await store.events(2, 10))[0] == last


async def test_a_result_is_read_back_whole(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    await step(store, settle(task, replace(COMPLETED, run_seconds=0.25), begun=False))

    record = await store.read("t1")

    assert record is not None
    assert record.finished == replace(COMPLETED, run_seconds=0.25)
    assert record.task.attempt is not None
    assert record.task.attempt.started_at == NOW + 3

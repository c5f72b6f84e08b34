"""Events, over every store: blocks, resuming, and the history of a task, which is made again from what was kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodelink.task import Outcome, Reason
from nodelink_server.core import task as moves
from nodelink_server.core.ports import Change, EventName, Store, TaskEvent
from nodelink_server.core.task import Superseded
from tests.server.store.lives import (
    AGENT,
    COMPLETED,
    EXIT_7,
    NOW,
    accept,
    after,
    cancel,
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


async def test_events_come_in_the_order_of_their_revisions(store: Store) -> None:
    first = await put(store, accept(waiting("t1")), accept(waiting("t2")))
    second = await put(store, accept(waiting("t3")))

    told = [*first.events, *second.events]

    assert [event.revision for event in told] == [1, 2, 3, 4, 5, 6]
    assert list(await store.events(0, 100)) == told


async def test_an_event_says_what_happened(store: Store) -> None:
    task = waiting("t1", priority=75, type="shell", pool="gpu")
    await put(store, accept(task))

    receipt = await put(store, grant(task))

    assert receipt.events[0] == TaskEvent(3, "task.sent", NOW + 1, "t1", AGENT, "sent", "", 75, "shell", "gpu", 1, None)


async def test_the_end_of_a_command_tells_its_exit_code(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))

    receipt = await put(store, settle(task, replace(EXIT_7, signal=9), begun=False))

    started, failed = receipt.events
    assert (started.name, started.status) == ("task.started", "in_progress")
    assert (failed.name, failed.status, failed.reason) == ("task.failed", "failed", "exit_code")
    assert failed.data == {"exit_code": 7, "signal": 9}


async def test_resuming_within_a_block_gives_the_rest_of_it(store: Store) -> None:
    receipt = await put(store, accept(waiting("t1")), accept(waiting("t2")))

    assert list(await store.events(3, 100)) == list(receipt.events[3:])


async def test_a_limit_ends_with_a_whole_block_and_gives_at_least_one(store: Store) -> None:
    first = await put(store, accept(waiting("t1")), accept(waiting("t2")))
    second = await put(store, accept(waiting("t3")))
    await put(store, accept(waiting("t4")))

    assert list(await store.events(0, 1)) == list(first.events)
    assert list(await store.events(0, 5)) == [*first.events, *second.events]


async def test_behind_the_last_event_there_is_none(store: Store) -> None:
    receipt = await put(store, accept(waiting("t1")))

    assert list(await store.events(receipt.events[-1].revision, 100)) == []


async def test_a_new_database_has_missed_nothing(store: Store) -> None:
    assert await store.oldest_revision() == 0
    await put(store, accept(waiting("t1")))
    assert await store.oldest_revision() == 0


async def completes(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    await step(store, settle(await step(store, start(task))))


async def completes_in_two_commits(store: Store) -> None:
    task = moves.granted(waiting("t1"), agent_id=AGENT, session=1, fence=1, now=NOW)
    await put(store, accept(task))
    await step(store, settle(task, EXIT_7, begun=False))


async def waits_for_its_time(store: Store) -> None:
    task = await live(store, moves.scheduled(new("t1"), due_at=NOW + 50))
    ready = moves.ready(task, rank=0, now=NOW + 60, queue_deadline=None)
    await step(store, after(task, ready, EventName.TASK_PENDING))


async def is_killed_by_a_signal(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    await step(store, settle(task, replace(EXIT_7, exit_code=None, signal=9), begun=False))


async def is_cancelled_while_it_waits(store: Store) -> None:
    await step(store, cancel(await live(store, waiting("t1"))))


async def is_stopped_while_it_runs(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    task = await step(store, stop(task))
    await step(store, settle(task, replace(COMPLETED, outcome=Outcome.CANCELLED)))


async def begins_while_it_is_being_stopped(store: Store) -> None:
    task = await step(store, stop(await step(store, grant(await live(store, waiting("t1"))))))
    task = await step(store, start(task))
    await step(store, settle(task))


async def ends_without_a_word_while_it_is_being_stopped(store: Store) -> None:
    task = await step(store, stop(await step(store, grant(await live(store, waiting("t1"))))))
    await step(store, settle(task, EXIT_7, begun=False))


async def is_stopped_in_the_commit_that_tells_of_its_start(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    running = start(task).task
    both = stop(replace(running, revision=task.revision))
    await step(store, replace(both, events=(EventName.TASK_STARTED, EventName.TASK_CANCELLING)))


async def is_lost_and_returned_and_run_again(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    task = await step(store, lose(task))
    task = await step(store, give_back(await step(store, grant(task, agent_id="b", now=NOW + 8)), now=NOW + 9))
    task = await step(store, start(await step(store, grant(task, agent_id="c", now=NOW + 10)), at=NOW + 11))
    await step(store, settle(task, now=NOW + 12))


async def is_returned_and_granted_in_one_commit(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    assert task.attempt is not None
    left = Superseded(attempt=task.attempt, state="lost", ended_at=NOW + 5)
    again = moves.granted(moves.replayed(task, queue_deadline=None), agent_id="b", session=1, fence=2, now=NOW + 6)
    events = (EventName.TASK_PENDING, EventName.TASK_SENT)
    await step(store, Change(task=again, expected=task.revision, events=events, superseded=left))


async def is_lost_for_good(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    await step(store, after(task, moves.lost(task, now=NOW + 5), EventName.TASK_LOST))


async def waits_too_long(store: Store) -> None:
    task = await live(store, waiting("t1", queue_deadline=5))
    gone = moves.expired(task, reason=Reason.QUEUE_TIMEOUT, message="no agent", now=NOW + 5)
    await step(store, after(task, gone, EventName.TASK_TIMEOUT))


LIVES = [
    completes,
    completes_in_two_commits,
    waits_for_its_time,
    is_killed_by_a_signal,
    is_cancelled_while_it_waits,
    is_stopped_while_it_runs,
    begins_while_it_is_being_stopped,
    ends_without_a_word_while_it_is_being_stopped,
    is_stopped_in_the_commit_that_tells_of_its_start,
    is_lost_and_returned_and_run_again,
    is_returned_and_granted_in_one_commit,
    is_lost_for_good,
    waits_too_long,
]


@pytest.mark.parametrize("lived", LIVES, ids=lambda lived: str(lived.__name__))
async def test_the_history_of_a_task_is_what_was_told_of_it(store: Store, lived: object) -> None:
    assert callable(lived)
    await put(store, accept(waiting("neighbour")))
    await lived(store)

    told = [event for event in await store.events(0, 1000) if event.task_id == "t1"]

    assert len(told) > 1
    assert list(await store.history("t1")) == told


async def test_the_history_of_a_task_outlives_its_events(store: Store) -> None:
    await completes(store)
    told = list(await store.events(0, 100))

    await store.sweep(finished_before=0, events_before=NOW + 100, keys_before=0, sessions_before=0, limit=10)

    assert list(await store.events(0, 100)) == []
    assert list(await store.history("t1")) == told


async def test_what_is_swept_is_not_mistaken_for_what_never_was(store: Store) -> None:
    await put(store, accept(waiting("t1")), now=NOW)
    await put(store, accept(waiting("t2")), now=NOW + 10)

    await store.sweep(finished_before=0, events_before=NOW + 10, keys_before=0, sessions_before=0, limit=10)

    assert await store.oldest_revision() == 2
    assert [event.revision for event in await store.events(0, 100)] == [3, 4]
    await store.sweep(finished_before=0, events_before=NOW + 50, keys_before=0, sessions_before=0, limit=10)
    assert await store.oldest_revision() == 4


async def test_the_task_of_a_stopped_start_keeps_its_status(store: Store) -> None:
    await begins_while_it_is_being_stopped(store)

    started = next(event for event in await store.events(0, 100) if event.name == "task.started")

    assert (started.status, started.reason) == ("cancelling", "cancelled_by_caller")

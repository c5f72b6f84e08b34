"""Events, over every store: blocks, resuming, and the history of a task, which is made again from what was kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodelink.task import Outcome, Reason
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Stop, Superseded
from nodelink_server.core.ports import Change, EventName, Store, TaskEvent
from nodelink_server.core.task import Task
from tests.server.store.lives import (
    AGENT,
    COMPLETED,
    EXIT_7,
    NOW,
    accept,
    after,
    cancel,
    doubt,
    drain,
    exclusive,
    extend,
    fail,
    give_back,
    grant,
    live,
    lose,
    new,
    prioritize,
    put,
    ready_again,
    recover,
    resolve,
    run_again,
    settle,
    skip,
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


async def is_drained_and_lost_and_drained_again(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    task = await step(store, drain(task))
    task = await step(store, lose(await step(store, grant(task, agent_id="b", now=NOW + 5)), now=NOW + 6))
    task = await step(store, drain(await step(store, grant(task, agent_id="c", now=NOW + 7)), now=NOW + 8))
    await step(store, settle(await step(store, grant(task, agent_id="d", now=NOW + 9)), begun=False))


async def is_drained_in_the_commit_that_tells_of_its_start(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    gone = drain(start(task).task)
    both = (EventName.TASK_STARTED, EventName.TASK_PENDING)
    await step(store, replace(gone, expected=task.revision, events=both))


async def gets_other_priorities_on_its_way(store: Store) -> None:
    task = await step(store, prioritize(await live(store, moves.scheduled(new("t1"), due_at=NOW + 5)), 10))
    task = await step(store, prioritize(task, 20))
    task = await step(store, prioritize(await step(store, ready_again(task)), 30, rank=-5))
    task = await step(store, lose(await step(store, start(await step(store, grant(task))))))
    task = await step(store, prioritize(task, 1))
    await step(store, settle(await step(store, grant(task, fence=2, now=NOW + 9)), begun=False))


async def gets_another_priority_before_its_next_try(store: Store) -> None:
    task = await step(store, prioritize(await step(store, fail(await runs(store))), 100))
    await step(store, cancel(await step(store, prioritize(await step(store, ready_again(task)), 50))))


async def is_returned_and_granted_in_one_commit(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    assert task.attempt is not None
    left = Superseded(attempt=task.attempt, state="lost", ended_at=NOW + 5)
    again = moves.granted(moves.replayed(task, queue_deadline=None), agent_id="b", session=1, fence=2, now=NOW + 6)
    events = (EventName.TASK_PENDING, EventName.TASK_SENT)
    await step(store, Change(task=again, expected=task.revision, events=events, superseded=left))


async def is_lost_for_good(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    await step(store, after(task, moves.lost(task, message="it is gone", now=NOW + 5), EventName.TASK_LOST))


async def runs(store: Store) -> Task:
    return await step(store, start(await step(store, grant(await live(store, exclusive("t1"))))))


async def is_in_doubt(store: Store) -> None:
    await step(store, doubt(await runs(store)))


async def is_in_doubt_twice_and_completes(store: Store) -> None:
    task = await step(store, recover(await step(store, doubt(await runs(store), at=NOW + 3)), at=NOW + 4))
    task = await step(store, recover(await step(store, doubt(task, at=NOW + 5)), at=NOW + 6))
    await step(store, settle(task, now=NOW + 7))


async def is_in_doubt_before_it_begins(store: Store) -> None:
    task = await step(store, grant(await live(store, exclusive("t1"))))
    await step(store, settle(await step(store, doubt(task)), begun=False))


async def is_stopped_and_in_doubt_and_stopped_again(store: Store) -> None:
    task = await step(store, stop(await runs(store)))
    task = await step(store, recover(await step(store, doubt(task)), at=NOW + 4))
    await step(store, settle(task, replace(COMPLETED, outcome=Outcome.CANCELLED)))


def want_to_stop(task: Task, *, at: int = NOW + 4) -> Change:
    """Somebody wants what is in doubt to stop: nobody hears of that."""
    asked = Stop(reason=Reason.CANCELLED_BY_CALLER, message="enough", grace_ms=500, asked_at=at)
    return after(task, moves.stop_wanted(task, stop=asked))


async def is_to_be_stopped_while_it_is_in_doubt(store: Store) -> None:
    task = await step(store, doubt(await step(store, grant(await live(store, exclusive("t1"))))))
    task = await step(store, recover(await step(store, want_to_stop(task)), at=NOW + 5))
    await step(store, settle(await step(store, start(task, at=NOW + 6)), now=NOW + 7))


async def is_to_be_stopped_in_doubt_and_has_ended(store: Store) -> None:
    task = await step(store, doubt(await step(store, grant(await live(store, exclusive("t1"))))))
    await step(store, settle(await step(store, want_to_stop(task)), now=NOW + 7, begun=False))


async def had_begun_and_is_to_be_stopped_in_doubt_and_has_ended(store: Store) -> None:
    task = await step(store, want_to_stop(await step(store, doubt(await runs(store)))))
    await step(store, settle(task, now=NOW + 7))


async def is_to_be_stopped_in_its_second_doubt_and_is_run_again(store: Store) -> None:
    task = await step(store, doubt(await step(store, grant(await live(store, exclusive("t1"))))))
    task = await step(store, start(await step(store, recover(task, at=NOW + 4)), at=NOW + 5))
    task = await step(store, want_to_stop(await step(store, doubt(task, at=NOW + 6)), at=NOW + 7))
    task = await step(store, run_again(task, now=NOW + 8))
    task = await step(store, start(await step(store, grant(task, fence=2, now=NOW + 9)), at=NOW + 10))
    await step(store, settle(await step(store, stop(task, now=NOW + 11)), now=NOW + 12))


async def is_found_again_in_its_stop(store: Store) -> None:
    """Its agent has it, and is stopping it already: nothing tells of the stop once more."""
    task = await step(store, doubt(await step(store, stop(await runs(store)))))
    found = recover(task)
    await step(store, replace(found, events=(EventName.TASK_RECOVERED,)))


async def is_found_again_and_completes_in_one_commit(store: Store) -> None:
    task = await step(store, doubt(await runs(store)))
    found = recover(task)
    events = (EventName.TASK_RECOVERED, EventName.TASK_COMPLETED)
    ended = moves.settled(found.task, COMPLETED, now=NOW + 5)
    await step(store, replace(found, task=ended, events=events, finished=COMPLETED))


async def is_resolved_by_a_person(store: Store) -> None:
    await step(store, resolve(await step(store, doubt(await runs(store)))))


async def is_extended_while_it_runs(store: Store) -> None:
    task = await step(store, extend(await step(store, extend(await runs(store)))))
    await step(store, settle(task))


async def begins_and_is_extended_in_one_commit(store: Store) -> None:
    task = await step(store, grant(await live(store, waiting("t1"))))
    change = replace(extend(start(task).task), expected=task.revision, events=(EventName.TASK_STARTED,))
    await step(store, settle(await step(store, change)))


async def is_extended_and_ends_in_one_commit(store: Store) -> None:
    task = await runs(store)
    ended = replace(settle(extend(task).task), expected=task.revision, remark=extend(task).remark)
    await step(store, ended)


async def is_stopped_and_run_again_by_a_person(store: Store) -> None:
    task = await step(store, run_again(await step(store, doubt(await step(store, stop(await runs(store)))))))
    task = await step(store, start(await step(store, grant(task, fence=2, now=NOW + 6)), at=NOW + 7))
    await step(store, stop(task, now=NOW + 8, message="no, not again"))


async def begins_in_its_stop_and_is_run_again(store: Store) -> None:
    task = await step(store, stop(await step(store, grant(await live(store, exclusive("t1"))))))
    task = await step(store, doubt(await step(store, start(task))))
    task = await step(store, run_again(task))
    for number in (2, 3):
        task = await step(store, start(await step(store, grant(task, fence=number, now=NOW + 6)), at=NOW + 7))
        task = await step(store, run_again(await step(store, doubt(task, at=NOW + 8)), now=NOW + 9))
    await step(store, settle(await step(store, grant(task, fence=4, now=NOW + 10)), begun=False))


async def waits_too_long(store: Store) -> None:
    task = await live(store, waiting("t1", queue_deadline=5))
    gone = moves.expired(task, reason=Reason.QUEUE_TIMEOUT, message="no agent", now=NOW + 5)
    await step(store, after(task, gone, EventName.TASK_TIMEOUT))


async def is_skipped_when_it_comes(store: Store) -> None:
    task = moves.skipped(new("t1", limits={"k": 1}), now=NOW)
    await put(store, Change(task=task, expected=0, events=(EventName.TASK_CREATED, EventName.TASK_SKIPPED)))


async def is_skipped_when_it_is_due(store: Store) -> None:
    await step(store, skip(await live(store, moves.scheduled(new("t1"), due_at=NOW + 5))))


async def is_skipped_when_it_is_to_be_tried_again(store: Store) -> None:
    await step(store, skip(await step(store, fail(await runs(store)))))


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
    is_drained_and_lost_and_drained_again,
    is_drained_in_the_commit_that_tells_of_its_start,
    gets_other_priorities_on_its_way,
    gets_another_priority_before_its_next_try,
    is_returned_and_granted_in_one_commit,
    is_lost_for_good,
    is_in_doubt,
    is_in_doubt_twice_and_completes,
    is_to_be_stopped_in_doubt_and_has_ended,
    had_begun_and_is_to_be_stopped_in_doubt_and_has_ended,
    is_to_be_stopped_in_its_second_doubt_and_is_run_again,
    is_in_doubt_before_it_begins,
    is_stopped_and_in_doubt_and_stopped_again,
    is_to_be_stopped_while_it_is_in_doubt,
    is_found_again_in_its_stop,
    is_found_again_and_completes_in_one_commit,
    is_resolved_by_a_person,
    is_extended_while_it_runs,
    begins_and_is_extended_in_one_commit,
    is_extended_and_ends_in_one_commit,
    is_stopped_and_run_again_by_a_person,
    begins_in_its_stop_and_is_run_again,
    waits_too_long,
    is_skipped_when_it_comes,
    is_skipped_when_it_is_due,
    is_skipped_when_it_is_to_be_tried_again,
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


async def test_a_doubt_and_its_end_say_when_and_where_and_why(store: Store) -> None:
    task = await step(store, grant(await live(store, exclusive("t1"))))
    doubted = await put(store, doubt(task))
    (task,) = await store.find(["t1"])

    recovered = await put(store, recover(task))

    told = [*doubted.events, *recovered.events]
    assert told == [
        TaskEvent(
            4,
            "task.unknown",
            NOW + 3,
            "t1",
            AGENT,
            "unknown",
            "agent_lost",
            50,
            "echo",
            "default",
            1,
            {"message": "the agent is silent"},
        ),
        TaskEvent(5, "task.recovered", NOW + 4, "t1", AGENT, "in_progress", "", 50, "echo", "default", 1, None),
    ]


async def test_a_task_found_again_that_is_being_stopped_says_so(store: Store) -> None:
    await is_found_again_in_its_stop(store)

    found = (await store.events(0, 100))[-1]

    assert (found.name, found.status, found.reason) == ("task.recovered", "cancelling", "cancelled_by_caller")


async def test_the_task_of_a_stopped_start_keeps_its_status(store: Store) -> None:
    await begins_while_it_is_being_stopped(store)

    started = next(event for event in await store.events(0, 100) if event.name == "task.started")

    assert (started.status, started.reason) == ("cancelling", "cancelled_by_caller")

"""An agent comes back: what it is told about each attempt that it holds, and what becomes of each that it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nodelink.task import (
    AckDisposition,
    AttemptRef,
    HeldState,
    LogAck,
    LogStream,
    Outcome,
    Reason,
    TaskStatus,
    Verdict,
    VerdictAction,
)
from nodelink_server.core.losses import MOST_LOSSES
from nodelink_server.core.ports import EventName
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.wire_agent import held


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def given(door: AgentDoor, type: str = "echo", *, started: bool = False, **hello: Any) -> AttemptRef:
    """The attempt of a new task that an agent has received in a session that is over. Its session: 1, if not given."""
    async with door.agent(**hello) as agent:
        task_id = await door.submit(type)
        ref = (await agent.take()).ref
        assert ref.task_id == task_id
        if started:
            await agent.start(ref)
            await door.events.next(EventName.TASK_STARTED, task_id=task_id)
    await door.events.next(EventName.AGENT_DISCONNECTED)
    return ref


def acks(ref: AttemptRef, stdout: int = 0, stderr: int = 0) -> tuple[LogAck, LogAck]:
    """Where the output of a held attempt goes on."""
    return LogAck(ref, LogStream.STDOUT, stdout), LogAck(ref, LogStream.STDERR, stderr)


async def test_a_held_attempt_goes_on_and_its_result_counts(door: AgentDoor) -> None:
    ref = await given(door, started=True)
    async with door.agent(session=2, held=held(ref)) as agent:
        assert agent.verdicts == [Verdict(ref, VerdictAction.KEEP, acks(ref))]
        await agent.finish(ref)
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
    assert (await door.stored(ref.task_id)).task.grants == 1


async def test_an_attempt_is_kept_even_by_a_new_process_that_still_holds_it(door: AgentDoor) -> None:
    ref = await given(door, "shell", started=True)
    async with door.agent(session=2, remembers_since=2, held=held(ref)) as agent:
        assert agent.verdicts == [Verdict(ref, VerdictAction.KEEP, acks(ref))]
    assert await door.status(ref.task_id) == TaskStatus.IN_PROGRESS


async def test_the_verdict_tells_where_output_goes_on(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await door.submit()
        ref = (await agent.take()).ref
        await agent.print(ref, b"hello")
        await agent.log_acked()
        await agent.print(ref, b"oh", stream=LogStream.STDERR)
        await agent.log_acked()
    async with door.agent(session=2, held=held(ref)) as agent:
        assert agent.verdicts == [Verdict(ref, VerdictAction.KEEP, acks(ref, stdout=5, stderr=2))]


async def test_an_attempt_that_runs_has_started_whoever_said_so(door: AgentDoor) -> None:
    ref = await given(door)
    assert await door.status(ref.task_id) == TaskStatus.SENT
    async with door.agent(session=2, held=held(ref)):
        await door.events.next(EventName.TASK_STARTED, task_id=ref.task_id)
        assert await door.status(ref.task_id) == TaskStatus.IN_PROGRESS


async def test_an_attempt_that_still_waits_has_not_started(door: AgentDoor) -> None:
    ref = await given(door)
    async with door.agent(session=2, held=held(ref, state=HeldState.WAITING)) as agent:
        assert agent.verdicts == [Verdict(ref, VerdictAction.KEEP, acks(ref))]
        assert await door.status(ref.task_id) == TaskStatus.SENT


async def test_an_attempt_whose_result_was_settled_is_kept_until_its_agent_has_heard_so(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await door.submit()
        ref = (await agent.take()).ref
        await agent.finish(ref)
        await agent.acked()
    async with door.agent(session=2, held=held(ref, state=HeldState.ENDED)) as agent:
        assert agent.verdicts == [Verdict(ref, VerdictAction.KEEP, acks(ref))]
        await agent.finish(ref)
        assert await agent.disposition(ref) is AckDisposition.DUPLICATE


async def test_a_task_that_shall_stop_is_stopped_at_the_hello(door: AgentDoor) -> None:
    ref = await given(door, "shell", started=True)
    await door.manager.cancel(ref.task_id, grace_ms=2_500)
    async with door.agent(session=2, held=held(ref)) as agent:
        assert agent.verdicts == [Verdict(ref, VerdictAction.STOP, acks(ref))]
        command = await agent.told_to_stop()
        assert (command.ref, command.grace_ms, command.reason) == (ref, 2_500, Reason.CANCELLED_BY_CALLER)
        await agent.finish(ref, outcome=Outcome.CANCELLED)
        await agent.acked()
        assert await door.status(ref.task_id) == TaskStatus.CANCELLED


async def test_what_counts_no_more_is_stopped_if_it_runs_and_else_forgotten(door: AgentDoor) -> None:
    ref = await given(door, agent_id="a1")
    unknown = AttemptRef("01900000-0000-7000-8000-00000000ffff", 1, 1)
    superseded = ref._replace(fence=ref.fence - 1)
    async with door.agent(session=2, held=held(unknown, superseded, ref)) as agent:
        assert [verdict.action for verdict in agent.verdicts if verdict] == [
            VerdictAction.FORGET,
            VerdictAction.STOP,
            VerdictAction.KEEP,
        ]
    async with door.agent(agent_id="a2", held=held(ref), credit=0) as stranger:
        assert [verdict.action for verdict in stranger.verdicts if verdict] == [VerdictAction.STOP]
    assert await door.status(ref.task_id) == TaskStatus.IN_PROGRESS


async def test_the_verdicts_come_in_the_order_of_the_hello(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await door.submit_many(4)
        refs = [request.ref for request in await agent.take_many(4)]
    refs.reverse()
    async with door.agent(session=2, held=held(*refs)) as agent:
        assert [verdict.ref for verdict in agent.verdicts if verdict] == refs


@pytest.mark.parametrize("type", ["echo", "shell"])
async def test_what_the_same_process_does_not_know_never_began_and_waits_again(door: AgentDoor, type: str) -> None:
    ref = await given(door, type, session=3, remembers_since=2)
    async with door.agent(session=4, remembers_since=2) as agent:
        again = (await agent.take()).ref
    assert (again.task_id, again.attempt) == (ref.task_id, 2)
    record = await door.stored(ref.task_id)
    assert [(past.attempt.number, past.state) for past in record.earlier] == [(1, "void")]
    assert (record.task.losses, record.task.may_have_run) == (0, False)


async def test_a_replayable_task_that_a_new_process_does_not_know_waits_again(door: AgentDoor) -> None:
    ref = await given(door, started=True)
    async with door.agent(session=2, process_since=2) as agent:
        again = (await agent.take()).ref
    assert (again.task_id, again.attempt) == (ref.task_id, 2)
    assert again.fence > ref.fence
    record = await door.stored(ref.task_id)
    assert [(past.attempt.number, past.state) for past in record.earlier] == [(1, "lost")]
    assert record.task.losses == 1


async def test_a_task_that_has_started_once_and_that_a_new_process_does_not_know_is_lost(door: AgentDoor) -> None:
    ref = await given(door, "shell", started=True)
    async with door.agent(session=2, process_since=2):
        task = (await door.stored(ref.task_id)).task
    assert (task.status, task.reason, task.may_have_run) == (TaskStatus.LOST, Reason.AGENT_LOST, True)


async def test_a_replayable_task_is_not_lost_with_its_agent_for_ever(door: AgentDoor) -> None:
    ref = await given(door, started=True)
    for session in range(2, MOST_LOSSES + 2):
        async with door.agent(session=session, process_since=session) as agent:
            assert (await agent.take()).ref.attempt == session
    last = MOST_LOSSES + 2
    async with door.agent(session=last, process_since=last):
        task = (await door.stored(ref.task_id)).task
    assert (task.status, task.reason, task.may_have_run) == (TaskStatus.FAILED, Reason.INFRASTRUCTURE, True)


async def test_a_stop_that_a_new_process_cannot_confirm_is_shown_as_such(door: AgentDoor) -> None:
    once = await given(door, "shell", started=True)
    replayable = await given(door, started=True, session=2, held=held(once))
    for ref in (once, replayable):
        await door.manager.cancel(ref.task_id)
    async with door.agent(session=3, process_since=3):
        task = (await door.stored(once.task_id)).task
        assert (task.status, task.reason) == (TaskStatus.LOST, Reason.CANCEL_UNCONFIRMED)
        assert await door.status(replayable.task_id) == TaskStatus.CANCELLED


async def test_a_stop_of_what_never_began_is_confirmed(door: AgentDoor) -> None:
    ref = await given(door, "shell")
    await door.manager.cancel(ref.task_id)
    assert await door.status(ref.task_id) == TaskStatus.CANCELLING
    async with door.agent(session=2):
        assert await door.status(ref.task_id) == TaskStatus.CANCELLED


@pytest.mark.parametrize("type, status", [("echo", TaskStatus.SENT), ("shell", TaskStatus.LOST)])
async def test_what_has_started_and_is_gone_follows_its_class_even_in_the_same_process(
    door: AgentDoor, type: str, status: TaskStatus
) -> None:
    ref = await given(door, type, started=True)
    async with door.agent(session=2) as agent:
        if type == "echo":
            assert (await agent.take()).ref.attempt == 2
        assert await door.status(ref.task_id) == status


async def test_an_attempt_outlives_a_restart_of_the_server(door: AgentDoor) -> None:
    ref = await given(door, "shell", started=True)
    async with agent_door(store=door.store) as restarted:
        async with restarted.agent(session=2, held=held(ref)) as agent:
            assert agent.verdicts == [Verdict(ref, VerdictAction.KEEP, acks(ref))]
            await agent.finish(ref)
            assert await agent.disposition(ref) is AckDisposition.COMMITTED
        assert await restarted.status(ref.task_id) == TaskStatus.COMPLETED


async def test_the_slots_of_held_attempts_stay_taken(door: AgentDoor) -> None:
    ref = await given(door, slots=2, started=True)
    task_ids = await door.submit_many(2)
    async with door.agent(session=2, slots=2, held=held(ref), credit=1) as agent:
        assert (await agent.take()).ref.task_id == task_ids[0]
        assert await door.status(task_ids[1]) == TaskStatus.PENDING

"""What protocol 2 says on the wire: offers, acceptances, starts, leases, and attempts that count no more."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from nodelink.task import AckDisposition, AttemptRef, Declined, Execution, Gone, HeldState, TaskStatus, VerdictAction
from nodelink_server.core.ports import EventName
from tests.support.agent_door import AgentDoor, agent_door
from tests.support.wire_agent import held

HANDLERS = {"echo": Execution.REPLAYABLE, "shell": Execution.ONCE, "apply": Execution.EXCLUSIVE}


@pytest.fixture
async def door() -> AsyncIterator[AgentDoor]:
    async with agent_door() as door:
        yield door


async def test_what_may_run_again_comes_granted_and_with_a_lease(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await agent.beat(3)
        await agent.beat_acked()
        await door.submit("echo")
        request = await agent.take()
    assert (request.granted, request.lease_ms, request.basis) == (True, 600_000, 3)
    assert agent.frames[-1].starts == []


@pytest.mark.parametrize("type, execution", [("shell", Execution.ONCE), ("apply", Execution.EXCLUSIVE)])
async def test_what_may_start_once_is_offered_and_granted_when_it_is_accepted(
    door: AgentDoor, type: str, execution: Execution
) -> None:
    async with door.agent(handlers=HANDLERS) as agent:
        agent.accepts = False
        task_id = await door.submit(type)
        offer = await agent.offered()
        assert (offer.granted, offer.execution, offer.ref.task_id) == (False, execution, task_id)
        assert await door.status(task_id) == TaskStatus.PENDING
        await agent.accept(offer.ref)
        start = await agent.told_to_start()
        assert (start.ref, start.lease_ms, start.basis) == (offer.ref, 30_000, 0)
        assert await door.status(task_id) == TaskStatus.SENT


async def test_an_acceptance_of_what_is_not_offered_is_answered_with_a_stop(door: AgentDoor) -> None:
    async with door.agent() as agent:
        nothing = AttemptRef("01900000-0000-7000-8000-00000000ffff", 1, 1)
        await agent.accept(nothing)
        assert (await agent.told_to_stop()).ref == nothing


async def test_a_declined_offer_is_acknowledged_and_can_be_offered_again(door: AgentDoor) -> None:
    async with door.agent() as agent:
        agent.accepts = False
        task_id = await door.submit("shell")
        first = await agent.offered()
        await agent.say(first.ref, Declined(message="not now", just_this=True))
        assert await agent.disposition(first.ref) is AckDisposition.COMMITTED
        await agent.credit(5)
        second = await agent.offered()
        assert second.ref.task_id == task_id
        assert second.ref.fence > first.ref.fence


async def test_what_is_gone_is_acknowledged_and_follows_its_class(door: AgentDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit("shell")
        ref = (await agent.take()).ref
        await agent.start(ref)
        await door.events.next(EventName.TASK_STARTED, task_id=task_id)
        await agent.say(ref, Gone(message="the host was restarted"))
        assert await agent.disposition(ref) is AckDisposition.COMMITTED
        assert await door.status(task_id) == TaskStatus.LOST


async def test_a_heartbeat_is_told_which_of_its_attempts_count_no_more(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await door.submit("shell")
        ref = (await agent.take()).ref
        other = AttemptRef("01900000-0000-7000-8000-00000000ffff", 1, 1)
        await agent.beat(1, ref, other)
        assert await agent.beat_acked() == 1
        assert agent.unknown == [other]


async def test_an_accepted_offer_in_a_hello_is_forgotten_since_it_was_never_granted(door: AgentDoor) -> None:
    async with door.agent() as agent:
        agent.accepts = False
        task_id = await door.submit("shell")
        ref = (await agent.offered()).ref
    async with door.agent(session=2, held=held(ref, state=HeldState.ACCEPTED)) as agent:
        assert [verdict.action for verdict in agent.verdicts if verdict] == [VerdictAction.FORGET]
        assert (await agent.take()).ref.task_id == task_id


async def test_an_accepted_offer_whose_start_was_lost_is_started_again_after_a_hello(door: AgentDoor) -> None:
    async with door.agent() as agent:
        await door.submit("shell")
        ref = (await agent.take()).ref
    async with door.agent(session=2, held=held(ref, state=HeldState.ACCEPTED), credit=0) as agent:
        assert [verdict.action for verdict in agent.verdicts if verdict] == [VerdictAction.KEEP]
        assert (await agent.told_to_start()).ref == ref

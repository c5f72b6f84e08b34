"""What may start only once is offered first, and granted when its agent has accepted."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import NoAgent
from nodelink.task import (
    Accepted,
    AckDisposition,
    Declined,
    Execution,
    HeldAttempt,
    HeldState,
    TaskStatus,
    VerdictAction,
)
from nodelink_server.core.offers import ANSWER_SECONDS
from tests.support.core_parts import Core, Database, eventually, make_ref, make_submission, running_core
from tests.support.fake_agent import FakeAgent

ONCE = make_submission(execution=Execution.ONCE)


async def _offered(core: Core, *, slots: int = 1) -> FakeAgent:
    agent = FakeAgent(core, slots=slots)
    agent.accepts = False
    await agent.connect()
    return agent


@pytest.mark.parametrize("execution", [Execution.ONCE, Execution.EXCLUSIVE])
async def test_an_offered_task_waits_and_is_granted_when_it_is_accepted(execution: Execution) -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(make_submission(execution=execution))

        request = await agent.offer()
        assert not request.granted
        assert await core.status(task_id) is TaskStatus.PENDING
        assert core.database.disk.rows[1].task.attempt is None

        agent.say(request.ref, Accepted())
        assert (await agent.task()).ref == request.ref
        task = (await core.manager.get(task_id)).task
        assert (task.status, task.ref) == (TaskStatus.SENT, request.ref)


async def test_a_replayable_task_is_granted_in_the_commit_that_accepts_it() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        await core.submit()

        assert (await agent.task()).granted
        assert not agent.offers


async def test_an_agent_of_the_first_protocol_is_granted_what_starts_once_and_never_gets_what_is_exclusive() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        agent._session, _ = await core.manager.connect(agent.hello(protocol=1))
        feeding = asyncio.ensure_future(core.manager.feed(agent.session))
        agent.session.credit_given(2)
        await core.submit(ONCE)
        [exclusive] = await core.submit(
            make_submission("shell", payload=b'{"command":"x"}', execution=Execution.EXCLUSIVE)
        )

        frame = await agent.session.outgoing()
        assert [(r.granted, r.lease_ms) for r in frame.tasks] == [(True, None)]
        assert await core.status(exclusive) is TaskStatus.PENDING
        assert agent.session.room == 1
        feeding.cancel()


async def test_a_declined_offer_waits_again_and_is_acknowledged() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref

        agent.say(ref, Declined(just_this=True))
        assert await agent.acked(ref) is AckDisposition.COMMITTED
        assert await core.status(task_id) is TaskStatus.PENDING

        agent.session.credit_given(2)
        await eventually(lambda: len(agent.offers) == 2)
        second = list(agent.offers)[1]
        assert (second.task_id, second.attempt) == (task_id, 1)
        assert second.fence > ref.fence


async def test_an_agent_that_declines_a_whole_type_is_not_offered_it_again() -> None:
    async with running_core() as core:
        agent = await _offered(core, slots=2)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref

        agent.say(ref, Declined())
        await agent.acked(ref)
        await asyncio.sleep(5)

        assert len(agent.offers) == 1
        assert await core.status(task_id) is TaskStatus.PENDING


async def test_an_offer_ends_with_its_session_and_the_task_waits_again() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref
        await agent.hang_up()

        other = FakeAgent(core, agent_id="a2")
        await other.connect()
        assert (await other.task()).ref.task_id == task_id

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.ACCEPTED)], credit=0)
        assert verdict.action is VerdictAction.FORGET


async def test_a_grant_whose_start_was_lost_is_started_in_the_next_session() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref
        agent.say(ref, Accepted())
        await agent.task()
        await agent.hang_up()

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.ACCEPTED)], credit=0)

        assert verdict.action is VerdictAction.KEEP
        await eventually(lambda: [command.ref for command in agent.starts] == [ref, ref])
        assert await core.status(task_id) is TaskStatus.SENT
        assert not any(request.granted for request in agent.tasks)
        assert agent.session.room == 0


async def test_a_task_that_is_cancelled_while_it_is_offered_never_starts() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref

        await core.manager.cancel(task_id)
        assert await core.status(task_id) is TaskStatus.CANCELLED
        agent.say(ref, Accepted())

        assert (await agent.cancelled()).ref == ref
        assert not agent.starts


async def test_an_acceptance_of_what_was_never_offered_is_answered_with_a_stop() -> None:
    async with running_core() as core:
        agent = await _offered(core)

        agent.say(make_ref("nobody's"), Accepted())

        assert (await agent.cancelled()).ref == make_ref("nobody's")


async def test_an_acceptance_that_is_said_twice_is_granted_once() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        await core.submit(ONCE)
        ref = (await agent.offer()).ref

        agent.say(ref, Accepted(), Accepted())
        await agent.task()
        await asyncio.sleep(2)

        assert [command.ref for command in agent.starts] == [ref]
        assert not agent.cancels


async def test_an_offer_that_is_left_unanswered_is_withdrawn() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref
        other = FakeAgent(core, agent_id="a2")
        await other.connect()
        beating = asyncio.gather(_beat(agent), _beat(other))

        async with asyncio.timeout(ANSWER_SECONDS + 5):
            assert (await other.task()).ref.task_id == task_id
            assert (await agent.cancelled()).ref == ref

        agent.say(ref, Accepted())
        await eventually(lambda: len(agent.cancels) == 2)
        assert not agent.starts
        beating.cancel()


async def test_an_acceptance_whose_grant_cannot_be_made_durable_is_withdrawn_and_the_task_waits_again() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref

        core.database.failing.add("apply")
        agent.say(ref, Accepted())
        assert (await agent.cancelled()).ref == ref
        core.database.failing.clear()

        assert await core.status(task_id) is TaskStatus.PENDING
        agent.session.credit_given(2)
        await eventually(lambda: len(agent.offers) == 2)


async def test_a_task_that_must_not_wait_is_offered_at_once_or_refused() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        hasty = make_submission(execution=Execution.ONCE, queue_timeout_ms=0)
        await asyncio.sleep(1)  # it looks for work, and finds none

        [task_id] = await core.submit(hasty)
        ref = (await agent.offer()).ref
        assert isinstance(await core.refused(hasty), NoAgent)
        await asyncio.sleep(5)

        agent.say(ref, Accepted())
        await agent.task()
        assert await core.status(task_id) is TaskStatus.SENT


async def test_an_offer_leaves_nothing_behind_when_the_server_restarts() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        await agent.offer()
    async with running_core(database) as core:
        assert await core.status(task_id) is TaskStatus.PENDING
        again = FakeAgent(core)
        again.number = 1
        await again.connect()
        assert (await again.task()).ref.task_id == task_id


async def _beat(agent: FakeAgent) -> None:
    while True:
        agent.beat(*agent.offers)
        await asyncio.sleep(5)


async def test_a_grant_that_is_being_taken_back_is_not_started_as_well() -> None:
    async with running_core() as core:
        agent = await _offered(core)
        [task_id] = await core.submit(ONCE)
        ref = (await agent.offer()).ref
        core.database.hold("applied")
        agent.say(ref, Accepted())
        await core.database.until_held("applied")
        await agent.hang_up()
        core.database.let_go("applied")

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.ACCEPTED)], credit=0)
        await asyncio.sleep(5)

        started = [command.ref for command in agent.starts]
        task = (await core.manager.get(task_id)).task
        if verdict.action is VerdictAction.KEEP:
            assert (started, task.status) == ([ref], TaskStatus.SENT)
        else:
            assert (started, task.status) == ([], TaskStatus.PENDING)

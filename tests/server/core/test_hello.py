"""What a hello means: who is let in, and what becomes of the attempts that it lists or lacks."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import AgentNotFound, HandshakeRefused, Overloaded, SessionReplaced, StoreUnavailable
from nodelink.quantities import LARGEST_QUANTITY
from nodelink.task import (
    Execution,
    Finished,
    HeldAttempt,
    HeldState,
    Outcome,
    Reason,
    Started,
    TaskResponse,
    TaskStatus,
    VerdictAction,
)
from nodelink_server.core.losses import MOST_LOSSES
from tests.support.core_parts import COMPLETED, Core, Database, eventually, make_ref, make_submission, running_core
from tests.support.fake_agent import FakeAgent

CANCELLED = Finished(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER)
ONCE = make_submission(execution=Execution.ONCE)


async def test_the_newest_session_wins_and_ends_the_older_one() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        first = agent.session

        await agent.connect()

        assert isinstance(first.end, SessionReplaced)
        assert list(core.manager.agents.sessions()) == [agent.session]


@pytest.mark.parametrize("number", [1, 2])
async def test_a_session_number_that_is_not_greater_is_refused_with_the_last_one(number: int) -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        agent.number = 1
        await agent.connect()

        with pytest.raises(HandshakeRefused) as refused:
            await core.manager.connect(agent.hello(session=number))

        assert refused.value.last_session == 2


async def test_session_numbers_are_remembered_over_a_restart() -> None:
    database = Database()
    async with running_core(database) as core:
        await FakeAgent(core).connect()
    async with running_core(database) as core:
        with pytest.raises(HandshakeRefused) as refused:
            await FakeAgent(core).connect()
        assert refused.value.last_session == 1


async def test_another_secret_for_a_known_id_is_refused() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()

        with pytest.raises(HandshakeRefused, match="secret"):
            await core.manager.connect(agent.hello(secret=b"x" * 32))


async def test_the_same_identity_from_a_second_host_is_refused_while_the_first_one_lives() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()

        with pytest.raises(HandshakeRefused, match="another host"):
            await core.manager.connect(agent.hello(host_id="clone"))

        await agent.hang_up(left=True)
        await core.manager.connect(agent.hello(host_id="clone"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": b"short"},
        {"agent_id": ""},
        {"slots": 0},
        {"slots": 10_001},
        {"handlers": {}},
        {"handlers": {f"type{n}": Execution.ONCE for n in range(257)}},
        {"pool": ""},
        {"host_id": ""},
        {"remembers_since": 0},
        {"remembers_since": 99},
        {"name": "n" * 201},
        {"resources": {f"r{n}": 1_000 for n in range(65)}},
        {"resources": {"": 1_000}},
        {"resources": {"CPU": 1_000}},
        {"resources": {"r" * 64: 1_000}},
        {"resources": {"cpu": LARGEST_QUANTITY + 1}},
        {"resources": {"cpu": -1}},
        {"type_limits": {f"type{n}": 1 for n in range(257)}},
        {"type_limits": {"no type": 1}},
        {"type_limits": {"shell": 0}},
        {"type_limits": {"shell": 4_097}},
    ],
)
async def test_a_hello_that_says_nonsense_is_refused(wrong: dict[str, object]) -> None:
    async with running_core() as core:
        with pytest.raises(HandshakeRefused):
            await core.manager.connect(FakeAgent(core).hello(**wrong))  # type: ignore[arg-type]  # names of fields
        assert core.manager.agents.views() == []


async def test_what_an_agent_offers_is_kept_and_shown_over_a_restart_of_the_server() -> None:
    most = {"memory": LARGEST_QUANTITY, "r" * 63: 1, "nothing": 0, **{f"r{n}": 1_000 for n in range(61)}}
    limits = {"shell": 1, "echo": 4_096, **{f"type{n}": 1 for n in range(254)}}
    database = Database()
    async with running_core(database) as core:
        await FakeAgent(core).connect(resources=most, type_limits=limits)
        view = core.manager.agents.view("a1")
        assert (view.resources, view.type_limits) == (most, limits)
    async with running_core(database) as core:
        view = core.manager.agents.view("a1")
        assert (view.resources, view.type_limits) == (most, limits)


async def test_a_hello_that_cannot_be_made_durable_opens_no_session() -> None:
    async with running_core() as core:
        core.database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await FakeAgent(core).connect()
        assert core.manager.agents.sessions() == []


async def test_a_hello_that_cannot_be_answered_leaves_no_session_behind() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        core.database.failing.add("read")
        with pytest.raises(StoreUnavailable):
            await agent.connect(held=[HeldAttempt(make_ref(), HeldState.RUNNING)])
        assert core.manager.agents.sessions() == []


async def test_an_attempt_that_goes_on_is_kept_and_its_output_goes_on_where_it_is_durable() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        agent.print(ref, 0, b"hello")
        await agent.log_acked(ref, 5)
        await agent.hang_up()

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)])

        assert verdict.action is VerdictAction.KEEP
        assert [ack.offset for ack in verdict.logs] == [5, 0]
        assert await core.status(task_id) is TaskStatus.IN_PROGRESS


async def test_an_attempt_that_waits_at_its_agent_has_not_started() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await agent.hang_up()

        await agent.connect(held=[HeldAttempt(ref, HeldState.WAITING)], credit=0)

        assert await core.status(task_id) is TaskStatus.SENT


async def test_an_attempt_that_is_being_stopped_is_to_be_stopped() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await agent.hang_up()
        await core.manager.cancel(task_id, grace_ms=123)

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.RUNNING)], credit=0)

        assert verdict.action is VerdictAction.STOP
        assert (await agent.cancelled()).grace_ms == 123


async def test_a_stop_that_was_answered_while_the_hello_was_is_not_asked_for_again() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        await core.manager.cancel(task_id)
        before = agent.session
        core.database.hold("answer")
        hello = asyncio.ensure_future(agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)], credit=0))
        await core.database.until_held("answer")
        core.manager.channel.put(before, [TaskResponse(ref, CANCELLED)], 100)
        await eventually(lambda: _is(core, task_id, TaskStatus.CANCELLED))
        core.database.let_go("answer")
        [verdict] = await hello

        assert verdict.action is VerdictAction.KEEP
        assert not agent.session._stops


@pytest.mark.parametrize("execution", [Execution.ONCE, Execution.REPLAYABLE])
async def test_what_a_living_agent_lacks_never_began_and_waits_again(execution: Execution) -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(execution=execution))
        await agent.task()
        await agent.hang_up()

        await agent.connect(credit=0)

        record = await core.manager.get(task_id)
        assert (record.task.status, record.task.losses) == (TaskStatus.PENDING, 0)
        assert [past.state for past in record.earlier] == ["void"]


async def test_a_replayable_task_that_a_restarted_agent_lacks_runs_again() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        agent.say((await agent.task()).ref, Started())
        await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
        await agent.hang_up()

        await agent.connect(process_since=2)

        again = await agent.task(1)
        assert (again.ref.task_id, again.ref.attempt) == (task_id, 2)
        record = await core.manager.get(task_id)
        assert (record.task.losses, record.earlier[0].state) == (1, "lost")


async def test_a_once_task_that_a_restarted_agent_lacks_is_lost_and_may_have_run() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(ONCE)
        agent.say((await agent.task()).ref, Started())
        await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
        await agent.hang_up()

        await agent.connect(process_since=2)

        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason, task.may_have_run) == (TaskStatus.LOST, Reason.AGENT_LOST, True)


@pytest.mark.parametrize(
    "execution, status", [(Execution.REPLAYABLE, TaskStatus.CANCELLED), (Execution.ONCE, TaskStatus.LOST)]
)
async def test_a_stop_that_a_restart_left_unanswered_ends_by_the_class(
    execution: Execution, status: TaskStatus
) -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(execution=execution))
        agent.say((await agent.task()).ref, Started())
        await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
        await agent.hang_up()
        await core.manager.cancel(task_id)

        await agent.connect(process_since=2)

        assert await core.status(task_id) is status


@pytest.mark.parametrize("execution", list(Execution))
@pytest.mark.parametrize("elsewhere", [{"remembers_since": 2}, {"host_id": "another"}])
async def test_what_an_agent_cannot_know_of_is_left_to_its_lease(
    execution: Execution, elsewhere: dict[str, object]
) -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(make_submission(execution=execution))
        agent.say((await agent.task()).ref, Started())
        await eventually(lambda: _is(core, task_id, TaskStatus.IN_PROGRESS))
        await agent.hang_up()
        await asyncio.sleep(20)

        await agent.connect(**elsewhere)  # type: ignore[arg-type]  # names of fields

        assert await core.status(task_id) is TaskStatus.IN_PROGRESS


async def test_what_was_granted_on_another_host_is_left_to_its_lease_also_after_a_restart_of_the_server() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit(ONCE)
        await agent.task()
    async with running_core(database) as core:
        agent = FakeAgent(core)
        agent.number = 1
        await agent.connect(host_id="another")
        await agent.hang_up()
        await agent.connect(host_id="another")
        assert await core.status(task_id) is TaskStatus.SENT


async def test_another_host_has_to_wait_until_the_first_one_has_been_silent() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await agent.hang_up()
        with pytest.raises(Overloaded) as refused:
            await core.manager.connect(agent.hello(host_id="another"))
        assert refused.value.retry_after is not None
        await asyncio.sleep(refused.value.retry_after)
        await core.manager.connect(agent.hello(host_id="another"))


async def test_another_process_has_to_wait_while_the_first_one_is_connected_and_is_told_of_if_it_goes_on() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect(instance_id="one")
        before, answers = core.manager.events.newest, []
        for _ in range(20):
            agent.beat()
            with pytest.raises((Overloaded, HandshakeRefused)) as answer:
                await core.manager.connect(agent.hello(instance_id="two"))
            answers.append(answer.type)
            await asyncio.sleep(1)
        assert answers[0] is Overloaded
        assert answers.count(HandshakeRefused) == 1
        told = [event.name for event in await core.database.store().events(before, 100)]
        assert told == ["agent.error", "alert.raised"]

        await agent.hang_up()
        await core.manager.connect(agent.hello(instance_id="two"))


async def test_a_task_that_is_lost_with_its_agent_again_and_again_fails() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        [task_id] = await _echo(core, agent)
        for loss in range(MOST_LOSSES + 1):
            await agent.task(loss)
            await agent.hang_up()
            await agent.connect(process_since=agent.number + 1)

        task = (await core.manager.get(task_id)).task
        assert (task.status, task.reason) == (TaskStatus.FAILED, Reason.INFRASTRUCTURE)


async def _echo(core: Core, agent: FakeAgent) -> list[str]:
    await agent.connect()
    return await core.submit()


async def test_attempts_that_count_no_more_are_to_be_stopped_and_those_of_nobody_forgotten() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await core.submit()
        ref = (await agent.task()).ref
        await agent.hang_up()
        held = [make_ref("nobody's"), ref._replace(fence=ref.fence + 1), ref._replace(attempt=2)]

        verdicts = await agent.connect(held=[HeldAttempt(each, HeldState.RUNNING) for each in held], credit=0)

        expected = [VerdictAction.FORGET, VerdictAction.STOP, VerdictAction.STOP]
        assert [verdict.action for verdict in verdicts] == expected


async def test_an_attempt_that_ended_and_whose_output_is_owed_is_kept() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await core.submit()
        ref = (await agent.task()).ref
        await agent.finish(ref)
        await agent.hang_up()

        [verdict] = await agent.connect(held=[HeldAttempt(ref, HeldState.LOGS_ONLY)])

        assert verdict.action is VerdictAction.KEEP


async def test_a_hello_says_nothing_about_grants_that_are_newer_than_itself() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        await agent.task()
        await agent.hang_up()
        core.database.hold("read")
        overtaken = asyncio.ensure_future(core.manager.connect(agent.hello()))
        await core.database.until_held("read")
        held, core.database._held = core.database._held, {}

        await agent.connect()
        second = (await agent.task(1)).ref
        for event in held.values():
            event.set()
        await asyncio.gather(overtaken, return_exceptions=True)

        task = (await core.manager.get(task_id)).task
        assert (task.status, task.ref) == (TaskStatus.SENT, second)
        agent.say(second, COMPLETED)
        await agent.acked(second)


async def test_what_was_never_handed_to_the_stream_waits_again_without_a_hello() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        hello = agent.hello()
        session, _ = await core.manager.connect(hello)
        feeder = asyncio.ensure_future(core.manager.feed(session))
        session.credit_given(1)
        [task_id] = await core.submit()
        await asyncio.sleep(1)

        feeder.cancel()
        core.manager.disconnect(session, left=False)

        await eventually(lambda: _is(core, task_id, TaskStatus.PENDING))


async def test_a_grant_that_was_committed_after_its_session_ended_is_taken_back() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        core.database.hold("applied")
        submit = asyncio.ensure_future(core.submit())
        await core.database.until_held("applied")

        await agent.hang_up()
        core.database.let_go("applied")
        [task_id] = await submit

        await eventually(lambda: _is(core, task_id, TaskStatus.PENDING))
        await agent.connect()
        assert (await agent.task()).ref.attempt == 2


async def test_granted_tasks_survive_a_restart_of_the_server() -> None:
    database = Database()
    async with running_core(database) as core:
        agent = FakeAgent(core)
        await agent.connect()
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
    async with running_core(database) as core:
        agent.manager = core.manager
        await agent.connect(held=[HeldAttempt(ref, HeldState.ENDED)], credit=0)
        agent.say(ref, Finished(outcome=Outcome.COMPLETED))
        await agent.acked(ref)
        assert await core.status(task_id) is TaskStatus.COMPLETED


async def test_agents_are_shown_as_they_stand() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        await agent.connect()
        [task_id] = await core.submit()
        await agent.task()
        view = core.manager.agents.view("a1")
        assert (view.status, view.free_slots, view.current_tasks) == ("online", 1, [task_id])
        assert view.last_heartbeat_at == core.manager.agents.last_contact("a1")

        agent.beat(draining=True)
        assert core.manager.agents.view("a1").status == "draining"
        await agent.hang_up(left=True)
        assert core.manager.agents.view("a1").status == "offline"
        await agent.connect(credit=0)
        await agent.hang_up()
        [view] = core.manager.agents.views()
        assert (view.status, view.free_slots) == ("unreachable", 0)

        assert core.manager.agents.last_contact("nobody") is None
        with pytest.raises(AgentNotFound):
            core.manager.agents.view("nobody")


def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return core.database.disk.rows[core.database.disk.keys[task_id]].task.status is status


async def test_of_two_hellos_with_one_number_that_come_at_once_only_the_first_is_written_down() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        core.database.hold("apply")
        first = asyncio.ensure_future(core.manager.connect(agent.hello(host_id="one")))
        await core.database.until_held("apply")
        agent.number = 0
        with pytest.raises(HandshakeRefused) as refused:
            await core.manager.connect(agent.hello(host_id="two"))
        core.database.let_go("apply")
        await first

        assert refused.value.last_session == 1
        assert core.database.disk.agents["a1"].host_id == "one"
